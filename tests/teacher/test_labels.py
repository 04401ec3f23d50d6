"""The teacher that reads labels."""

from __future__ import annotations

import pytest

from stat_train.records import Answer, Question
from stat_train.teacher.contract import RewriteRequest
from stat_train.teacher.labels import LabelReader

LABELLED = Question(id="q", question="?", skills=["b", "a", "b"])
UNLABELLED = Question(id="r", question="?")


def _answer(question: Question) -> Answer:
    return Answer(
        question_id=question.id,
        attempt=3,
        text="",
        final=None,
        finish_reason="stop",
        output_tokens=0,
        prompt_hash="",
    )


def test_a_difficult_question_misses_what_it_is_labelled_with() -> None:
    pairs = [(question, _answer(question)) for question in (LABELLED, UNLABELLED)]
    found = list(LabelReader().missing_skills(pairs, {}))
    assert [(d.question_id, d.attempt, d.missing_skills) for d in found] == [("q", 3, ["b", "a"]), ("r", 3, [])]


def test_a_question_requires_what_it_is_labelled_with() -> None:
    found = list(LabelReader().required_skills([UNLABELLED, LABELLED], {}))
    assert [(row.id, row.skills) for row in found] == [("r", []), ("q", ["b", "a", "b"])]


def test_labels_cannot_rewrite() -> None:
    assert not LabelReader.can_rewrite
    with pytest.raises(TypeError, match="cannot rewrite"):
        LabelReader().rewrite([RewriteRequest(LABELLED, 0)])
