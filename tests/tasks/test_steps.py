"""How an answer is cut into steps."""

from __future__ import annotations

import pytest

from stat_train.tasks.steps import split_steps


@pytest.mark.parametrize(
    "text",
    ["first\n\nsecond\nline", "\n\nfirst\n \t\n\n\nsecond\nline\n\n", "first\r\n\r\nsecond\nline"],
)
def test_steps_are_paragraphs(text: str) -> None:
    assert split_steps(text) == ["first", "second\nline"]


@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_nothing_has_no_steps(text: str) -> None:
    assert split_steps(text) == []


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("3 + 4 = 7\n\nSo we get \\boxed{7}.", "7"),
        ("The answer is 7.\n\nThat is the sum.", "7"),
        ("We find \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("She has 3 + 4 = 7 apples.\n#### 7", "7"),
        ("Then x - 1 = 6, so the answer is 7.", "7"),
    ],
)
def test_the_final_answer_becomes_a_step_of_its_own(text: str, final: str) -> None:
    assert split_steps(text) == [*text.split("\n\n"), f"The final answer is: \\boxed{{{final}}}"]


@pytest.mark.parametrize(
    "last",
    [
        "The answer is 7.",
        "The final answer is: \\boxed{7}",
        "$\\boxed{7}$",
        "#### 7",
        "Therefore, the final answer is $\\boxed{\\frac{1}{2}}$.",
        # Answers that occur in the words around them.
        "The answer is s.",
        "The answer is $\\boxed{x}$.",
        "So the final answer is \\boxed{e}",
    ],
)
def test_a_paragraph_that_states_only_the_answer_is_that_step(last: str) -> None:
    assert split_steps(f"3 + 4 = 7\n\n{last}") == ["3 + 4 = 7", last]


def test_without_a_final_answer_no_step_is_added() -> None:
    assert split_steps("3 + 4\n\nI do not know") == ["3 + 4", "I do not know"]
