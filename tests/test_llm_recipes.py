"""A language model writes the training set: new questions and queries over the wire, paid for once, priced before."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.plan.asked import asked_of
from stat_train.plan.look import Look

POOL, VALIDATION, PAIRS = 240, 10, 48
# Words that only one prompt holds.
MARKS = {
    "label": "Which of the listed skills",
    "diagnose": "This is the student's answer",
    "question": "Then write two new questions",
    "solve": "Solve this step by step",
    "distinct": "really distinct",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put questions, and recorded answers that are all wrong, into the working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    rows = [
        {"id": f"p{n}", "question": f"What is {n} + 1?", "answer": f"{n + 1}", "solution": "So."} for n in range(POOL)
    ]
    tests = [
        {"id": f"t{n}", "question": f"Which number follows {n}?", "answer": f"{n + 1}"} for n in range(VALIDATION + 5)
    ]
    for name, content in (("pool", rows), ("test", tests)):
        _write(f"{name}.jsonl", content)
    _write("student.jsonl", [{"id": f"t{n}", "responses": ["\\boxed{-1}"]} for n in range(VALIDATION)])
    Path("skills.json").write_text(json.dumps([f"skill_{letter}" for letter in "abcdefghijklmnopqrstuvwx"]))


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _settings(server: ChatServer, recipe: str, *more: str) -> list[str]:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    teacher += ["teacher.usd_per_million_input_tokens=1.0", "teacher.usd_per_million_output_tokens=1.0"]
    student = ["student=recorded", "student.path=student.jsonl", "difficulty=gold", "until=curate"]
    # The server says the same of the same set of skills each time, so a model of two skills would soon be at its end.
    student += ["data_recipe.skills_from=all"] if recipe == "skillmix" else []
    return [*task, *teacher, *student, f"data_recipe={recipe}", f"data_recipe.pairs={PAIRS}", "run_dir=runs/one", *more]


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path("runs/one") / name).read_text().splitlines()]


def _asked(server: ChatServer) -> Counter[str]:
    prompts = [row["prompt"] for row in server.log()]
    return Counter(kind for prompt in prompts for kind, words in MARKS.items() if words in prompt)


@pytest.mark.parametrize("recipe", ["stat_syn", "embed_syn", "skillmix"])
def test_what_a_model_writes_is_paid_for_once_and_said_before(recipe: str, server: ChatServer) -> None:
    assert main(_settings(server, recipe)) == 0
    rows, made = _rows("training_set.jsonl"), len(server.log())
    assert len(rows) == PAIRS and all(row["origin"]["call_ids"] for row in rows)
    ledger = {
        json.loads(line)["key"]
        for path in Path("runs/cache/ledger").glob("*")
        for line in path.read_text().splitlines()
        if '"reply"' in line
    }
    assert {id for row in rows for id in row["origin"]["call_ids"]} <= ledger
    before = Path("runs/one/training_set.jsonl").read_bytes()
    for folder in Path("runs/cache/artifacts").glob("curate-*"):
        folder.rename(folder.with_name(f"gone-{folder.name}"))
    assert main(_settings(server, recipe)) == 0
    assert len(server.log()) == made, "every call is in the ledger"
    assert Path("runs/one/training_set.jsonl").read_bytes() == before
    assert [asked for asked in asked_of(Look(read_settings(_settings(server, recipe))))] == []


def test_stat_syn_asks_for_as_many_questions_and_solutions_as_it_takes(server: ChatServer) -> None:
    """All solutions agree: 48 pairs are 16 questions with three solutions each, of 8 replies.

    The plan, made when the profile is there, renders the very requests for questions.
    """
    assert main(_settings(server, "stat_syn", "until=profile")) == 0
    planned = {
        asked.stage: asked
        for asked in asked_of(Look(read_settings(_settings(server, "stat_syn", "plan.kept_share=1.0"))))
    }
    assert (planned["write"].calls, planned["solve"].calls) == (8, 48)
    assert main(_settings(server, "stat_syn")) == 0
    assert _asked(server) == {"label": POOL + VALIDATION, "diagnose": VALIDATION, "question": 8, "solve": 48}
    said = {request.messages[-1]["content"] for request in planned["write"].requests[:8]}
    sent = [row["prompt"] for row in server.log() if MARKS["question"] in row["prompt"]]
    assert all(any(each in prompt or prompt in each for each in said) for prompt in sent)


def test_a_budget_that_ends_the_writing_is_no_loss(server: ChatServer) -> None:
    """The run ends with exit code 3; with a higher cap it goes on, and nothing is asked twice."""
    assert main(_settings(server, "stat_syn", "budget.max_calls=300")) == 3
    assert len(server.log()) <= 300
    assert main(_settings(server, "stat_syn", "budget.max_calls=400")) == 0
    assert len(server.log()) == POOL + 2 * VALIDATION + 8 + 48
    assert len(_rows("training_set.jsonl")) == PAIRS


def test_skillmix_leaves_poor_answers_out(server: ChatServer) -> None:
    """The server scores one answer in five 2 of 10; their pairs are made anew."""
    assert main(_settings(server, "skillmix")) == 0
    poor = [row for row in _rows("dropped.jsonl") if row["reason"] == "score below 6"]
    assert poor and {row["item"] for row in poor} == {"answer"}
    manifest = json.loads(Path("runs/one/manifest.json").read_text())["stages"]
    (counts,) = (stage["counts"] for stage in manifest if stage["stage"] == "curate")
    assert counts["answer"]["kept"] == PAIRS and counts["answer"]["dropped"]["score below 6"] == len(poor)


def test_skillmix_needs_no_solution_of_the_pool(server: ChatServer) -> None:
    """Its skills are those of the task's list."""
    rows = [json.loads(line) for line in Path("pool.jsonl").read_text().splitlines()]
    _write("pool.jsonl", [{"id": row["id"], "question": row["question"]} for row in rows])
    assert main(_settings(server, "skillmix")) == 0
    assert len(_rows("training_set.jsonl")) == PAIRS
    assert {skill for row in _rows("training_set.jsonl") for skill in row["skills"]} <= {
        f"skill_{x}" for x in "abcdefghijklmnopqrstuvwx"
    }
