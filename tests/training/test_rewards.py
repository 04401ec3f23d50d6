"""What an answer is worth, and what is told of a batch of them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from stat_train.errors import UserError
from stat_train.models.transformers import load_tokenizer
from stat_train.records import Question
from stat_train.training.rewards import batch_numbers, open_grader, reply_text, rewards

HALF = Question(id="half", question="What is 1/2?", answer=r"\frac{1}{2}")


def question(answer: str | None) -> Question:
    return Question(id="q", question="What is 1 + 1?", answer=answer)


@pytest.mark.parametrize(
    ("grader", "gold", "text", "reward"),
    [
        ("exact", "2", "1 + 1 = 2\n\nThe answer is 2.", 1.0),
        ("exact", "2", "The answer is 3.", 0.0),
        ("exact", "2", "It is 2", 0.0),  # states no final answer
        ("exact", None, "The answer is 2.", None),
        ("numeric", "two", "The answer is 2.", None),  # the gold answer is no number
        ("numeric", "2", "The answer is 2.00.", 1.0),
        ("choice", "B", "(B) it is", 1.0),  # a letter is often all that is said
    ],
)
def test_the_graders_verdict_is_the_reward(grader: str, gold: str | None, text: str, reward: float | None) -> None:
    with open_grader(grader, 5.0) as opened:
        assert rewards([question(gold)], [text], opened) == [reward]


def test_mathematics_is_compared_in_worker_processes() -> None:
    with open_grader("math", 10.0) as grader:
        texts = [r"\boxed{0.5}", r"\boxed{\frac{2}{4}}", r"\boxed{2}", "no idea"]
        assert rewards([HALF] * 4, texts, grader) == [1.0, 1.0, 0.0, 0.0]


def test_a_judge_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.grader = judge: would ask the teacher .*; expected math, exact"):
        open_grader("judge", 5.0)


def test_an_unknown_function_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UserError, match="no_such_module cannot be imported"):
        open_grader("no_such_module:same", 5.0)


def test_a_batch_is_counted() -> None:
    """Three questions, two answers each: one right and one wrong; both right; one right and one unscored."""
    found = [1.0, 0.0, 1.0, 1.0, 1.0, None]
    skills = [["addition"], ["addition"], ["division", "addition"], ["division", "addition"], [], []]
    assert batch_numbers(found, skills, 2) == {
        "reward": 4 / 5,
        "unscored_share": pytest.approx(1 / 6),
        "same_reward_share": pytest.approx(2 / 3),
        "reward/skill/addition": 3 / 4,
        "reward/skill/division": 1.0,
    }


def test_a_batch_of_which_nothing_is_scored_has_no_reward() -> None:
    numbers = batch_numbers([None, None], [["addition"], ["addition"]], 2)
    assert numbers == {
        "reward": None,
        "unscored_share": 1.0,
        "same_reward_share": None,
        "reward/skill/addition": None,
    }


def test_a_reply_is_read_up_to_its_end() -> None:
    tokenizer = load_tokenizer("tiny", None)
    said, end = tokenizer("The answer is 2.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id
    assert reply_text([*said, end, *said], {end}, tokenizer) == "The answer is 2."
    assert reply_text(said, {end}, tokenizer) == "The answer is 2."
