"""Run folders up to their profile, written by a test, for all that reads profiles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from stat_train.diagnosis.profile import skill_profile
from stat_train.records import Diagnosis, Difficulty

Skills = Mapping[str, Sequence[str]]


def diagnoses_of(missed: Skills) -> list[Diagnosis]:
    return [
        Diagnosis(question_id=id, attempt=0, judgement="wrong", missing_skills=list(skills), explanation="")
        for id, skills in missed.items()
        if skills
    ]


def write_run(
    run_dir: Path,
    required: Skills,
    missed: Skills,
    listed: Sequence[str] = (),
    task: str = "math",
    judged: Sequence[str] | None = None,
    difficulty: str = "gold",
) -> Path:
    """Write a run folder up to its profile: what each validation question requires, and what was missing in it."""
    (run_dir / "questions").mkdir(parents=True)
    found = diagnoses_of(missed)
    hard = {row.question_id for row in found}
    judgements = [
        Difficulty(question_id=id, difficult=id in hard, rule="gold/first", attempt=0) for id in judged or required
    ]
    needed = {row.question_id: required[row.question_id] for row in judgements}
    profile = skill_profile("tiny", task, needed, found, hard, {})
    map_rows = [{"id": id, "skills": list(skills)} for id, skills in required.items()]
    pool_rows = [{"id": "pool-1", "skills": ["only in the pool"]}]
    _lines(run_dir / "questions/validation.jsonl", [{"id": id, "question": f"{task} {id}"} for id in required])
    _lines(run_dir / "skill_map.jsonl", map_rows + pool_rows)
    _lines(run_dir / "difficulty.jsonl", [row.model_dump(exclude_none=True) for row in judgements])
    _lines(run_dir / "diagnoses.jsonl", [row.model_dump() for row in found])
    (run_dir / "skills.json").write_text(json.dumps({"": list(listed)}))
    (run_dir / "profile.json").write_text(profile.model_dump_json())
    config = {
        "task": {"name": task, "grader": "math"},
        "difficulty": {"name": difficulty},
        "teacher": {"name": "labels"},
    }
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    return run_dir


def _lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
