"""Grading through one interface: what is joined to what."""

from __future__ import annotations

from stat_train.records import Answer, Question
from stat_train.tasks.graders import PlainGrader, grade


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
