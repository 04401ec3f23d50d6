"""What curation reads of the stages before it."""

from __future__ import annotations

from stat_train.curation.decontamination import HeldOut
from stat_train.records import Diagnosed, Diagnosis, Difficulty, Question, SkillProfile
from stat_train.store import Artifact, read_records
from stat_train.tasks.load import validation_files


def read_diagnosed(questions: Artifact, diagnoses: Artifact, profiled: Artifact) -> Diagnosed:
    """Return all that curation learns of the student."""
    hard = {row.question_id for row in diagnoses.records("difficulty.jsonl", Difficulty) if row.difficult}
    return Diagnosed(
        difficult=[q for q in questions.records("validation.jsonl", Question) if q.id in hard],
        diagnoses=diagnoses.records("diagnoses.jsonl", Diagnosis),
        profile=read_profile(profiled),
    )


def read_profile(profiled: Artifact) -> SkillProfile:
    """Return the student's missing-skill profile."""
    return SkillProfile.model_validate_json((profiled.folder / "profile.json").read_text())


def held_out(questions: Artifact, more: Artifact | None = None) -> list[HeldOut]:
    """Return the questions that must not be trained on: those of validation sets and of the benchmarks.

    `more` has those of benchmarks beside the task's own.
    """
    places = [*validation_files(questions.folder), *sorted((questions.folder / "benchmarks").iterdir())]
    places += sorted((more.folder / "benchmarks").iterdir()) if more else []
    return [HeldOut(each.id, each.question, place.stem) for place in places for each in read_records(place, Question)]
