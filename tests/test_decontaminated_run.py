"""What a run does with copies of held-out questions: never trained on, said where they are, whatever the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stat_train.cli import main

TWIN = "Ann has 7 apples and gives away 3. How many are left?"
POOL = [f"Which number comes {n} places after {word} on this list?" for n in range(2, 12) for word in ("ten", "six")]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a pool with a copy of each kind of held-out question into the working folder, and two twins."""
    monkeypatch.chdir(tmp_path)
    planted = {
        "validation": "  What IS 1 +\n1? ",
        "benchmark": "Read this: “Name the capital city of the country Peru.” Then answer.",
        "against": "how long does it take the 3 slow trains to meet?",
        "twin": TWIN.replace("7", "70").replace("3", "12"),
        "twin of the file": "How long does it take the 9 slow trains to meet?",
    }
    pool = [{"id": id, "question": text} for id, text in planted.items()]
    pool += [{"id": f"p{n}", "question": text} for n, text in enumerate(POOL)]
    _write("pool.jsonl", [row | {"solution": "So.", "answer": "1", "skills": ["s"]} for row in pool])
    tests = {"t1": "What is 1 + 1?", "t2": "Name the capital city of the country Peru.", "t3": TWIN}
    _write("test.jsonl", [{"id": id, "question": text, "answer": "2", "skills": ["s"]} for id, text in tests.items()])
    _write("more.jsonl", [{"id": "m1", "question": "How long does it take the 3 slow trains to meet?"}])
    _write("student.jsonl", [{"id": "t1", "responses": ["\\boxed{3}"]}])


def _write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _run(*more: str) -> dict[str, Any]:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "teacher=labels", "difficulty=gold"]
    student = ["student=recorded", "student.path=student.jsonl", "until=curate", "run_dir=run"]
    assert main([*task, *student, "data_recipe.pairs=400", "data_recipe.allow_short=true", *more]) == 0
    (found,) = (json.loads(Path("run/curation.json").read_text())["decontamination"],)
    return dict(found)


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path("run") / name).read_text().splitlines()]


@pytest.mark.parametrize("recipe", ["stat_sel", "pool", "random", "uniform_skill", "embed_sel", "difficulty_tuning"])
def test_no_recipe_trains_on_a_leak(recipe: str) -> None:
    certificate = _run(f"data_recipe={recipe}", "decontaminate.against=[more.jsonl]")
    leaks = {row["id"]: row for row in _rows("dropped.jsonl") if row["stage"] == "decontaminate"}
    assert {id: (row["reason"], row["detail"].split(":")[0]) for id, row in leaks.items()} == {
        "validation": ("leak, equal", "validation t1"),
        "benchmark": ("leak, contained", "jsonl t2"),
        "against": ("leak, equal", "more.jsonl m1"),
    }
    trained = {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}
    assert trained == {f"p{n}" for n in range(len(POOL))} | {"twin", "twin of the file"}
    assert certificate["pool_hits"] == {
        "leak, equal": 2,
        "template twin, equal but for numbers": 2,
        "leak, contained": 1,
    }
    assert certificate["against"] == {"validation": 1, "jsonl": 2, "more.jsonl": 1}


def test_twins_are_dropped_where_that_is_wanted() -> None:
    certificate = _run("data_recipe=pool", "decontaminate.template_twins=drop")
    trained = {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}
    assert "twin" not in trained and "against" in trained
    assert certificate["template_twins"] == "drop"
    (row,) = (row for row in _rows("dropped.jsonl") if row["id"] == "twin")
    assert row["detail"] == f"jsonl t3: {TWIN}"


def test_another_benchmark_makes_another_training_set_and_the_old_one_is_kept() -> None:
    _run("data_recipe=pool")
    assert "against" in {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}
    _run("data_recipe=pool", "decontaminate.against=[more.jsonl]")
    assert "against" not in {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}
    assert len(list(Path("runs/cache/artifacts").glob("decontaminate-*"))) == 2
    Path("more.jsonl").write_text('{"id": "m1", "question": "Quite another one?"}\n')
    _run("data_recipe=pool", "decontaminate.against=[more.jsonl]")
    assert "against" in {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}


def test_the_questions_of_a_chosen_benchmark_are_held_out() -> None:
    certificate = _run("data_recipe=pool", "benchmark.mine.path=more.jsonl")
    (row,) = (row for row in _rows("dropped.jsonl") if row["id"] == "against")
    assert (row["reason"], row["detail"].split(":")[0]) == ("leak, equal", "mine m1")
    assert "against" not in {row["origin"]["seed_ids"][0] for row in _rows("training_set.jsonl")}
    assert certificate["against"] == {"validation": 1, "jsonl": 2, "mine": 1}


def test_a_benchmark_with_a_row_that_cannot_be_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It might be the one that leaks; nothing is asked before that is known."""
    Path("more.jsonl").write_text('{"id": "m1"}\n')
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "teacher=labels", "difficulty=gold"]
    student = ["student=recorded", "student.path=student.jsonl", "until=curate", "run_dir=run"]
    assert main([*task, *student, "decontaminate.against=[more.jsonl]"]) == 2
    said = capsys.readouterr()
    assert "decontaminate.against = more.jsonl: 1 of 1 rows cannot be used" in said.err
    assert "\nlabel" not in said.out


def test_hard_without_levels_is_refused_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "teacher=labels", "difficulty=gold"]
    student = ["student=recorded", "student.path=student.jsonl", "until=curate", "run_dir=run"]
    assert main([*task, *student, "data_recipe=hard"]) == 2
    said = capsys.readouterr()
    assert "data_recipe = hard: the pool's questions have no level" in said.err and "\nlabel" not in said.out
