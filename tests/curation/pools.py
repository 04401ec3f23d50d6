"""Small pools and profiles for tests of recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datasets import Dataset

from stat_train.curation.source import Source, make_source
from stat_train.diagnosis.profile import skill_profile
from stat_train.records import Diagnosed, Diagnosis, Question


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
