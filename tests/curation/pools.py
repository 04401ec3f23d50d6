"""Small pools and profiles for tests of recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datasets import Dataset

from stat_train.curation.decontamination import Hit
from stat_train.curation.near_copies import NearCopies
from stat_train.curation.rows import Check, Tools
from stat_train.curation.source import Source, make_source
from stat_train.diagnosis.profile import skill_profile
from stat_train.records import Diagnosed, Diagnosis, Question
from stat_train.tasks.graders import PlainGrader
from stat_train.teacher.contract import Teacher


def source_of(questions: Sequence[Question]) -> Source:
    """Return a source in which all questions with a solution may be drawn, with their own skills."""
    pool = Dataset.from_list([question.model_dump() for question in questions])
    return make_source(pool, Dataset.from_dict({"skills": [question.skills or [] for question in questions]}), [])[0]


def diagnosed_of(
    missed: Mapping[str, Sequence[str]],
    required: Mapping[str, Sequence[str]] | None = None,
    difficult: Sequence[Question] = (),
) -> Diagnosed:
    """Return what curation learns of a student that missed these skills in these questions."""
    found = [
        Diagnosis(question_id=id, attempt=0, judgement="wrong", missing_skills=list(skills), explanation="")
        for id, skills in missed.items()
    ]
    profile = skill_profile("s", "t", {**missed, **(required or {})}, found, missed, {})
    return Diagnosed(difficult=list(difficult), diagnoses=found, profile=profile)


def nothing_held_out(questions: Sequence[str]) -> list[Hit | None]:
    """Find no copy of a held-out question."""
    return [None] * len(questions)


def tools_of(teacher: Teacher, check: Check = nothing_held_out) -> Tools:
    """Return what recipes work with: answers are compared as texts, and only equal questions are copies."""
    return Tools(teacher, PlainGrader("exact"), check, NearCopies(None))
