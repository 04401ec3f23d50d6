"""Tasks without answers, the whole way: the teacher judges each answer on its own, and the rest is as with answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import ChatServer

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.plan.asked import asked_of
from stat_train.plan.look import Look
from stat_train.teacher.prompt_files import SHIPPED

JUDGED = "what a good answer to this question has to hold"
COMPARED = "This is the reference answer"
ROWS = 12


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put questions without answers, and recorded ones to them, into the working folder.

    The server finds whole sentences right: the first five answers are, the next six are not, the last one is empty. The
    boxes in some of them are no sign: the whole answer counts.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    rows = [
        {"id": f"t{n}", "question": f"How do I refuse invitation {n} politely?", "answer": None} for n in range(ROWS)
    ]
    texts = [f"You thank \\boxed{{them}} and say no, {n} times." for n in range(5)]
    texts += [f"\\boxed{{no.}} {n}" for n in range(5, 11)] + [""]
    _write("test.jsonl", [*rows, {"id": "t99", "question": "How do I accept?", "answer": None}])
    _write("pool.jsonl", [row | {"id": f"p{row['id']}", "question": f"{row['question']} Now?"} for row in rows])
    _write("student.jsonl", [{"id": f"t{n}", "responses": [text]} for n, text in enumerate(texts)])
    Path("skills.json").write_text(json.dumps(["tact", "brevity", "honesty", "empathy"]))


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _settings(server: ChatServer, *more: str) -> list[str]:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    student = ["student=recorded", "student.path=student.jsonl", "task.grader=judge", "difficulty=gold"]
    return [*task, *teacher, *student, "until=profile", "run_dir=runs/one", *more]


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path("runs/one") / name).read_text().splitlines()]


def _asked(server: ChatServer, words: str) -> list[str]:
    return [row["prompt"] for row in server.log() if words in row["prompt"]]


def test_from_questions_without_answers_to_a_profile(server: ChatServer) -> None:
    assert main(_settings(server)) == 0
    verdicts = {row["question_id"]: (row["verdict"], row.get("reason")) for row in _rows("grades.jsonl")}
    assert Counter(verdict for verdict, _ in verdicts.values()) == {"correct": 5, "wrong": 7}
    assert verdicts["t0"] == ("correct", "the reason") and verdicts["t11"] == ("wrong", "no answer")
    # One call for each answer that is there, and the whole of it is shown.
    judged = _asked(server, JUDGED)
    assert len(judged) == ROWS - 1
    assert sum("You thank \\boxed{them} and say no, 3 times." in prompt for prompt in judged) == 1
    assert _asked(server, COMPARED) == []
    difficult = {row["question_id"] for row in _rows("difficulty.jsonl") if row["difficult"]}
    assert difficult == {f"t{n}" for n in range(5, ROWS)}
    profile = json.loads(Path("runs/one/profile.json").read_text())
    assert (profile["questions"], profile["difficult"]) == (ROWS, 7)
    assert sum(gap["missing"] for gap in profile["skills"]) >= 7


def test_the_plan_counts_the_verdicts_and_renders_them(server: ChatServer) -> None:
    planned = {asked.stage: asked for asked in asked_of(Look(read_settings(_settings(server))))}
    assert planned["grade"].calls == ROWS - 1
    assert server.log() == []
    assert main(_settings(server)) == 0
    prompts = [request.messages[-1]["content"] for request in planned["grade"].requests]
    judged = _asked(server, JUDGED)
    assert sorted(prompts) == sorted(prompt.partition("\n\nGive your answer")[0] for prompt in judged)


def test_the_plan_counts_verdicts_on_answers_that_are_not_there_yet(server: ChatServer) -> None:
    student = ["student=endpoint", f"student.base_url={server.url}", "student.model=s", "student.api_key_env=null"]
    asked = [each for each in _settings(server) if not each.startswith("student")]
    more = [*asked, *student, "task.validation=4", "student.attempts=2", "plan.answer_tokens=50"]
    planned = {each.stage: each for each in asked_of(Look(read_settings(more)))}
    assert planned["grade"].calls == 8
    assert all("x" * 200 in request.messages[-1]["content"] for request in planned["grade"].requests)
    assert any("answers without a gold one are 50 tokens long" in note for note in planned["grade"].assumed)


def test_an_edited_rubric_judges_anew(server: ChatServer) -> None:
    assert main(_settings(server)) == 0
    Path("prompts").mkdir()
    prompt = yaml.safe_load((SHIPPED / "judge_freely.yaml").read_text())
    Path("prompts/judge_freely.yaml").write_text(yaml.safe_dump(prompt | {"system": "Be strict."}, sort_keys=False))
    before = len(server.log())
    assert main(_settings(server, "teacher.prompts=prompts")) == 0
    again = [row["prompt"] for row in server.log()[before:]]
    assert len(again) == ROWS - 1 and all(JUDGED in each for each in again)


def test_samples_are_compared_with_each_other_and_not_judged(server: ChatServer) -> None:
    """Each question has two samples: the same in other letters, which the server finds, for the first six alone."""
    samples = [[f"Say no {n}", f"SAY NO {n}"] if n < 6 else [f"Say no {n}", "Go there"] for n in range(ROWS)]
    _write("student.jsonl", [{"id": f"t{n}", "responses": pair} for n, pair in enumerate(samples)])
    more = ["difficulty=consistency", "difficulty.samples=2", "until=diagnose"]
    asked = [each for each in _settings(server) if each != "difficulty=gold"]
    assert main([*asked, *more]) == 0
    assert {row["question_id"] for row in _rows("difficulty.jsonl") if row["difficult"]} == {
        f"t{n}" for n in range(6, ROWS)
    }
    assert len(_asked(server, COMPARED)) == ROWS


def test_length_needs_neither_answers_nor_verdicts(server: ChatServer) -> None:
    asked = [each for each in _settings(server) if each != "difficulty=gold"]
    assert main([*asked, "difficulty=length", "difficulty.min_words=5", "task.grader=exact"]) == 0
    assert Counter(row["verdict"] for row in _rows("grades.jsonl")) == {"unscored": ROWS}
    assert {row["question_id"] for row in _rows("difficulty.jsonl") if row["difficult"]} == {f"t{n}" for n in range(5)}
    assert _asked(server, JUDGED) == []


def test_a_function_of_the_users_judges_whole_answers_too(server: ChatServer) -> None:
    Path("own_free_grader.py").write_text(
        "def polite(question, gold, given):\n    return gold is None and given.startswith('You thank')\n"
    )
    assert main(_settings(server, "task.grader=own_free_grader:polite")) == 0
    assert Counter(row["verdict"] for row in _rows("grades.jsonl")) == {"correct": 5, "wrong": 7}
