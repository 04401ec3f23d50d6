"""The final answer of a text, and when two answers are the same."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stat_train.tasks.answers import compare, extract_final

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{4}, no: \boxed{5}", "5"),
        (r"\boxed{4}, no: \boxed{5", "4"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"a stray { and \boxed{7}", "7"),
        (r"a stray } and \boxed{7}", "7"),
        (r"$\boxed 2$.", "2"),
        (r"$\boxed {17}$.", "17"),
        (r"$\boxed\frac12$", r"\frac12"),
        (r"\fbox{9}", "9"),
        (r"= 5 \\\boxed{5}", "5"),
        (r"written twice: \\boxed{5}", "5"),
        ("\\boxed{3}\n#### 4\nThe answer is 5", "3"),
        ("The answer is 5\n#### 4", "4"),
        ("#### 3\nmore\n#### 1,234.\n", "1,234"),
        (r"put it in \boxed{} please. The answer is 8", "8"),
        (r"put it in \boxed format" + "\n#### 7", "7"),
        (r"The final answer is: $\frac{1}{2}$.", r"\frac{1}{2}"),
        ("**The final answer is:** 5", "5"),
        ("The correct answer is (C).", "(C)"),
        ("It is odd.\n\nAnswer: 12", "12"),
        ("**Final Answer:** $\\frac12$", "\\frac12"),
        ("### Answer:\n", None),
        ("my answer: none", None),
        ("THE ANSWER IS 3\nthe answer is: 4\nor so", "4"),
        ("the answer is the answer is 5", "5"),
        ("The final answer is $5$. I hope it is correct.", "5"),
        (r"the answer is \$18.", r"\$18"),
        (r"so the answer is $\boxed{}$.", None),
        (r"so the answer is $\boxed{5", None),
        ("it is 5", None),
        ("", None),
    ],
)
def test_extracts_the_final_answer(text: str, final: str | None) -> None:
    assert extract_final(text) == final


@pytest.mark.parametrize(
    "unit",
    [
        "answer:",
        "\nanswer",
        "* ",
        "\\",
        "\\boxed{",
        "\\boxed{}",
        "\\boxed ",
        "{",
        "}",
        "#",
        "#### ",
        "#### \n",
        "the ",
        "the answer is ",
        " ",
        "$",
    ],
)
def test_extraction_is_linear(unit: str) -> None:
    """One MB takes well under a second; a quadratic scan of it would take hours."""
    start = time.perf_counter()
    for before, after in (("the answer is \\boxed", ""), ("", "\\boxed{")):
        extract_final(before + unit * (MEGABYTE // len(unit)) + after)
    assert time.perf_counter() - start < 10


def test_extraction_of_deeply_nested_boxes_is_linear() -> None:
    start = time.perf_counter()
    assert extract_final("\\boxed{" * 100_000 + "1" + "}" * 100_000) == "1"
    assert time.perf_counter() - start < 10


SAME = [
    ("exact", "a  b\n", "a b"),
    ("numeric", "18", "18.0"),
    ("numeric", "1,234", "$1234."),
    ("numeric", "1{,}234", r"\$1,\!234"),
    ("numeric", "50%", r"50\%"),
    ("numeric", "0.75", "3/4"),
    ("numeric", "0.1", "1e-1"),
    ("numeric", "-3", "\u22123"),
    ("math", r"\frac{1}{2}", "0.5"),
    ("math", r"\frac12", "1/2"),
    ("math", "1,000", "1000"),
    ("math", r"11,\! 111,\! 100", "11111100"),
    ("math", r"\frac{12}{5,\!525}", "12/5525"),
    ("math", "x=5", "5"),
    ("math", r"10\text{ cm}", "10"),
    ("math", r"90^\circ", "90"),
    ("math", r"\$18", "18"),
    ("math", r"50\%", "50"),
    ("math", "x^2+2x+1", "(x+1)^2"),
    ("math", r"\sqrt{8}", r"2\sqrt2"),
    ("math", "(1,2)", r"\left(1, 2\right)"),
    ("math", r"\{1,2\}", r"\{2,1\}"),
    ("math", "5,6", "$5$ and $6$"),
    ("math", "a + b + c", "c + b + a"),
    ("math", r"\text{Monday}", "monday"),
    ("math", "increasing", "Increasing"),
    ("math", r"\text{(C)}", "(C)"),
    ("math", "(C)", "C"),
    ("math", r"-\frac{5}{3}.", "-5/3"),
    ("math", "?!", "?!"),
]
DIFFERENT = [
    ("exact", "a b", "A b"),
    ("exact", "1.0", "1"),
    ("numeric", "18", "18 dollars"),
    ("numeric", "0.5", "50%"),
    ("numeric", "1000", "1,00,0"),
    ("numeric", "3", "3/0"),
    ("numeric", "3", "9" * 5000),
    ("numeric", "3", "nan"),
    ("math", "5", "6"),
    ("math", "5", "5 or 6"),
    ("math", "0.333", "1/3"),
    ("math", "(1,2)", "(2,1)"),
    ("math", r"\text{Monday}", r"\text{Tuesday}"),
    ("math", "(C)", "(D)"),
    ("math", r"\sin^2 t", r"\sin^2 x"),
    ("math", "a + b + c", "a + b + d"),
    ("math", "5", r"\frac{5}"),
    ("math", "7", "__import__('os').system('true')"),
]


@pytest.mark.parametrize(("grader", "gold", "given"), SAME)
def test_same_answer(grader: Any, gold: str, given: str) -> None:
    assert compare(gold, given, grader) == ("correct", None)


@pytest.mark.parametrize(("grader", "gold", "given"), DIFFERENT)
def test_different_answer(grader: Any, gold: str, given: str) -> None:
    assert compare(gold, given, grader)[0] == "wrong"


@pytest.mark.parametrize("grader", ["exact", "numeric", "math"])
def test_no_final_answer_is_wrong(grader: Any) -> None:
    assert compare("5", None, grader) == ("wrong", "no final answer")
    assert compare("5", " ", grader) == ("wrong", "no final answer")


@pytest.mark.parametrize("given", ["5", None])
@pytest.mark.parametrize(
    ("grader", "gold", "reason"),
    [
        ("exact", None, "no gold answer"),
        ("math", " ", "no gold answer"),
        ("numeric", "Monday", "the gold answer is not a number: 'Monday'"),
        ("numeric", "1/0", "the gold answer is not a number: '1/0'"),
    ],
)
def test_a_gold_answer_that_cannot_be_compared_is_unscored(
    grader: Any, gold: str | None, reason: str, given: str | None
) -> None:
    assert compare(gold, given, grader) == ("unscored", reason)


@pytest.mark.parametrize("gold", [r"\text{}", "?!", r"\unknown\unread{"])
def test_a_gold_answer_that_cannot_be_read_is_unscored(gold: str) -> None:
    """It is neither mathematics nor, once unwrapped, words to compare with: never wrong."""
    assert compare(gold, "5", "math")[0] == "unscored"
    assert compare("5", gold, "math")[0] == "wrong"


@pytest.mark.parametrize(
    "pair", [("x<3", r"(-\infty,3)"), ("[2,3]", r"2\le x\le3"), (r"\{1,2\}", "1, 2"), ("0.5", r"\frac12")], ids=str
)
def test_the_order_of_two_answers_does_not_matter(pair: tuple[str, str]) -> None:
    assert [compare(*each, "math")[0] for each in (pair, pair[::-1])] == ["correct", "correct"]


def test_math_works_off_the_main_thread() -> None:
    """A timeout by signal would raise in any thread but the main one."""
    verdicts: list[object] = []
    thread = threading.Thread(target=lambda: verdicts.append(compare("1/2", "0.5", "math")))
    thread.start()
    thread.join()
    assert verdicts == [("correct", None)]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_agrees_with_the_recorded_verdicts(shared_data: Path) -> None:
    """The data's README: 363 of 400 answers right; 4 questions wrong at first, 8 in any attempt."""
    rows = _lines(shared_data / "math" / "responses.jsonl")
    verdicts = [[compare(row["answer"], extract_final(text), "math")[0] for text in row["responses"]] for row in rows]
    assert [[verdict == "correct" for verdict in of] for of in verdicts] == [row["correct"] for row in rows]
    assert sum(of.count("correct") for of in verdicts) == 363
    assert sum(of[0] == "wrong" for of in verdicts) == 4
    assert sum("wrong" in of for of in verdicts) == 8


def test_extracts_what_the_recorded_grader_extracted(shared_data: Path) -> None:
    """The recorded extractions have no spaces. Their texts alone would give another verdict on 36 of the 400."""
    rows = _lines(shared_data / "math" / "responses.jsonl")
    ours = [[(extract_final(text) or "").replace(" ", "") for text in row["responses"]] for row in rows]
    assert ours == [row["extracted"] for row in rows]
    by_text = [
        (row["answer"].replace(" ", "") == final) == correct
        for row, finals in zip(rows, ours, strict=True)
        for final, correct in zip(finals, row["correct"], strict=True)
    ]
    assert (len(by_text), by_text.count(False)) == (400, 36)


@pytest.mark.parametrize(
    ("file", "grader", "rows"),
    [
        ("math/train.jsonl", "math", 7496),
        ("math/test.jsonl", "math", 5000),
        ("gsm8k/test.jsonl", "math", 1319),
        ("gsm8k/test.jsonl", "numeric", 1319),
    ],
)
def test_every_gold_answer_equals_itself_and_its_solution(shared_data: Path, file: str, grader: Any, rows: int) -> None:
    # Two rows of the training split have no answer.
    questions = [row for row in _lines(shared_data / file) if row["answer"]]
    pairs = [(row["answer"], given) for row in questions for given in (row["answer"], extract_final(row["solution"]))]
    assert len(pairs) == 2 * rows
    assert [pair for pair in pairs if compare(*pair, grader) != ("correct", None)] == []
