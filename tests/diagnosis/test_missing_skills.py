"""What is kept of a teacher's diagnoses, and what is left out with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from stat_train.diagnosis.missing_skills import find_missing
from stat_train.records import Answer, Diagnosis, Question, Verdict
from stat_train.teacher.labels import LabelReader
from stat_train.teacher.skill_list import SkillList

KNOWN = {"algebra": ["a", "b"], "geometry": ["c"]}


class _Says(LabelReader):
    """A teacher that gives the same diagnosis of each answer."""

    def __init__(self, judgement: Verdict, *skills: str) -> None:
        self.judgement, self.skills = judgement, list(skills)

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]], known: SkillList) -> Iterator[Diagnosis]:
        for question, answer in answers:
            yield Diagnosis(
                question_id=question.id,
                attempt=answer.attempt,
                judgement=self.judgement,
                missing_skills=self.skills,
                explanation="why",
            )


def _pair(id: str, subject: str | None) -> tuple[Question, Answer]:
    answer = Answer(question_id=id, attempt=0, text="", finish_reason="stop", output_tokens=0, prompt_hash="")
    return Question(id=id, question="?", subject=subject), answer


def test_names_outside_the_subject_s_list_are_left_out_and_counted() -> None:
    pairs = [_pair("q", "algebra"), _pair("r", "geometry"), _pair("s", None)]
    found, dropped = find_missing(pairs, _Says("wrong", "a", "c", "x"), KNOWN)
    assert [(d.question_id, d.missing_skills) for d in found] == [("q", ["a"]), ("r", ["c"]), ("s", ["a", "c"])]
    assert [(row.stage, row.id, row.reason, row.detail) for row in dropped] == [
        ("diagnose", id, "missing skill outside the list", name)
        for id, name in [("q", "c"), ("q", "x"), ("r", "a"), ("r", "x"), ("s", "x")]
    ]


def test_without_a_list_every_name_counts() -> None:
    found, dropped = find_missing([_pair("q", None)], _Says("wrong", "x"), {})
    assert (found[0].missing_skills, dropped) == (["x"], [])


@pytest.mark.parametrize(
    ("judgement", "reason"),
    [
        ("unscored", "diagnosis unscored: no usable reply of the teacher"),
        ("correct", "difficult, judged correct by the teacher"),
        ("wrong", "difficult, no missing skill named"),
    ],
)
def test_a_diagnosis_without_a_skill_is_kept_and_counted_with_its_reason(judgement: Verdict, reason: str) -> None:
    found, dropped = find_missing([_pair("q", "algebra")], _Says(judgement), KNOWN)
    assert [d.judgement for d in found] == [judgement]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [("q", reason, "why")]
