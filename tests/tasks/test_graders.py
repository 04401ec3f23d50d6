"""Grading through one interface: what is joined to what."""

from __future__ import annotations

from stat_train.records import Answer, Question
from stat_train.tasks.graders import PlainGrader, agreements, grade


def test_grade_joins_question_and_attempt() -> None:
    question = Question(id="q", question="?", answer="5")
    answer = Answer(
        question_id="q", attempt=2, text="", final=None, finish_reason="length", output_tokens=9, prompt_hash="h"
    )
    (found,) = grade({"q": question}, [answer], PlainGrader("math"))
    assert found.model_dump() == {
        "question_id": "q",
        "attempt": 2,
        "verdict": "wrong",
        "reason": "no final answer",
    }


def test_an_answer_that_never_came_is_neither_right_nor_wrong() -> None:
    question = Question(id="q", question="?", answer="5")
    never = Answer(question_id="q", attempt=0, text="", finish_reason="error", output_tokens=0, prompt_hash="h")
    silent = never.model_copy(update={"attempt": 1, "finish_reason": "stop"})
    found = grade({"q": question}, [never, silent], PlainGrader("exact"))
    assert [(row.verdict, row.reason) for row in found] == [
        ("unscored", "no answer came"),
        ("wrong", "no final answer"),
    ]


def test_agreements_are_counted_up_to_what_is_enough() -> None:
    """Equal texts take no comparison; 1/2 joins 0.5 by mathematics. Two are enough, so b stops there."""
    questions = {id: Question(id=id, question="?") for id in "abc"}
    answers = {"a": ["1/2", "3", "0.5", "0.50"], "b": ["1", "1", "1.0"], "c": ["1", "2", "3"]}
    assert agreements(questions, answers, PlainGrader("math"), enough=9) == {"a": 3, "b": 3, "c": 1}
    assert agreements(questions, answers, PlainGrader("math"), enough=2) == {"a": 2, "b": 2, "c": 1}
    assert agreements({}, {}, PlainGrader("math"), enough=2) == {}
