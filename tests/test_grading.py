"""The grader that a task names, the whole way: who is asked, what is paid, what is graded again."""

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

JUDGED = "This is the reference answer"
ROWS = 12


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put questions with labels, and recorded answers, into the working folder.

    Of 12 answers the first four equal the gold one, the next four say the same in capitals and state it nowhere, the
    last four are wrong.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    rows = [{"id": f"t{n}", "question": f"Which word is number {n}?", "answer": f"word{n}"} for n in range(ROWS)]
    texts = [f"\\boxed{{word{n}}}" for n in range(4)] + [f"IT IS WORD{n}" for n in range(4, 8)] + ["\\boxed{no}"] * 4
    _write("test.jsonl", [row | {"skills": ["words"]} for row in rows])
    _write("pool.jsonl", [row | {"id": f"p{row['id']}", "skills": ["words"], "solution": "s"} for row in rows])
    _write("student.jsonl", [{"id": f"t{n}", "responses": [text]} for n, text in enumerate(texts)])


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _settings(*more: str) -> list[str]:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl"]
    student = [
        "student=recorded",
        "student.path=student.jsonl",
        "difficulty=gold",
        "until=diagnose",
        "run_dir=runs/one",
    ]
    return [*task, *student, *more]


def _judge(server: ChatServer, *more: str) -> list[str]:
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    return _settings(*teacher, "task.grader=judge", *more)


def _verdicts() -> Counter[str]:
    rows = [json.loads(line) for line in Path("runs/one/grades.jsonl").read_text().splitlines()]
    return Counter(row["verdict"] for row in rows)


def test_the_judge_is_asked_only_for_what_differs_and_only_once(server: ChatServer) -> None:
    """The server finds the gold answer in the four texts in capitals, and in none of the wrong ones."""
    assert main(_judge(server)) == 0
    assert _verdicts() == {"correct": 8, "wrong": 4}
    judged = [row for row in server.log() if JUDGED in row["prompt"]]
    assert len(judged) == 8
    before = len(server.log())
    assert main(_judge(server, "cache_dir=runs/cache", "difficulty.attempts=any")) == 0
    assert [row for row in server.log()[before:] if JUDGED in row["prompt"]] == []


def test_the_plan_counts_the_verdicts_that_the_run_then_asks_for(server: ChatServer) -> None:
    planned = {asked.stage: asked for asked in asked_of(Look(read_settings(_judge(server))))}
    assert planned["grade"].calls == 8
    assert server.log() == []
    assert main(_judge(server)) == 0
    prompts = {request.messages[-1]["content"] for request in planned["grade"].requests}
    asked = [row["prompt"] for row in server.log() if JUDGED in row["prompt"]]
    assert len(asked) == 8
    assert all(any(prompt in row for row in asked) for prompt in prompts)


def test_the_plan_of_a_run_that_compares_samples_by_the_judge_asks_nobody(server: ChatServer) -> None:
    more = ["difficulty=consistency", "difficulty.min_agreement=1", "task.grader=judge"]
    assert main(_judge(server, "until=grade")) == 0
    before = len(server.log())
    stages = [asked.stage for asked in asked_of(Look(read_settings(_judge(server, *more))))]
    assert "diagnose" in stages
    assert len(server.log()) == before


def test_the_judge_needs_a_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_settings("teacher=labels", "task.grader=judge")) == 2
    assert "task.grader = judge: asks the teacher, and needs teacher=openai" in capsys.readouterr().err


def test_a_function_of_the_users_grades_and_an_edited_one_grades_again(capsys: pytest.CaptureFixture[str]) -> None:
    own = Path("own_grader_of_words.py")
    own.write_text("def same(question, gold, given):\n    return gold in given.lower()\n")
    assert main(_settings("teacher=labels", "task.grader=own_grader_of_words:same")) == 0
    assert _verdicts() == {"correct": 8, "wrong": 4}
    own.write_text("def same(question, gold, given):\n    return None if given.isupper() else gold in given\n")
    assert main(_settings("teacher=labels", "task.grader=own_grader_of_words:same")) == 0
    assert _verdicts() == {"correct": 4, "wrong": 4, "unscored": 4}
    said = "left out: 4 x unscored, own_grader_of_words:same cannot tell"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grader", "code", "said"),
    [
        ("math", 0, "math, in worker processes"),
        ("no_such_module_at_all:same", 1, "no_such_module_at_all cannot be imported"),
        ("os.path:join", 0, "os.path:join is there"),
    ],
)
def test_doctor_checks_the_grader(grader: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *_settings("teacher=labels", f"task.grader={grader}")]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["no_such_module_at_all:same", "mathematics", "own.py:same"])
def test_a_grader_that_is_not_there_is_refused_before_any_work(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_settings("teacher=labels", f"task.grader={wrong}")) == 2
    said = capsys.readouterr().err
    assert f"task.grader = {wrong!r}" in said or f"task.grader = {wrong}" in said
    assert "package.module:function" in said
    assert not Path("runs/cache/artifacts").exists()


def test_another_grader_does_not_read_the_questions_again() -> None:
    for grader in ("exact", "math", "choice"):
        assert main(_settings("teacher=labels", f"task.grader={grader}", "until=grade")) == 0
    stages = Counter(path.name.split("-")[0] for path in Path("runs/cache/artifacts").iterdir())
    assert (stages["questions"], stages["answer"], stages["grade"]) == (1, 1, 3)


def test_a_run_in_which_nothing_can_be_judged_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in Path("test.jsonl").read_text().splitlines()]
    _write("test.jsonl", [row | {"answer": None} for row in rows])
    assert main(_settings("teacher=labels", "task.grader=exact")) == 2
    said = capsys.readouterr().err
    assert "difficulty = gold: none of the 12 validation questions has a gold answer to grade by" in said
    assert "task.grader=judge" in said
    # Before the student is asked, and by the plan as well.
    assert not list(Path("runs/cache/artifacts").glob("label-*"))
    asked = ["teacher=openai", "teacher.model=m", "teacher.base_url=http://127.0.0.1:9/v1", "teacher.api_key_env=null"]
    assert main(["plan", *_settings(*asked, "task.grader=exact")]) == 2
    # A question that has one cannot be compared: that is known only afterwards.
    _write("test.jsonl", [row | {"answer": "none at all"} for row in rows])
    assert main(_settings("teacher=labels", "task.grader=numeric")) == 2
    assert "no question could be judged; 12 x unscored, such as: the gold answer is not a" in capsys.readouterr().err
