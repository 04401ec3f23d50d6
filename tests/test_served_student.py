"""A student that is served answers the pipeline's questions: within its budget, through faults, its key kept secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer, reply_to

from stat_train.cli import main

ROOT = Path(__file__).parents[1]
KEY = "sk-a-secret-that-must-not-be-seen"
QUESTIONS = 60
SETTINGS = [
    "task.pool=300",
    f"task.validation={QUESTIONS}",
    "task.benchmark=20",
    "difficulty=gold",
    "until=profile",
    "student=endpoint",
    "student.model=m",
    "student.max_wait_seconds=1.0",
    "student.timeout_seconds=5.0",
]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatServer]]:
    """Return a function that starts a server; the working folder is an empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    started: list[ChatServer] = []

    def server(**plan: object) -> ChatServer:
        started.append(ChatServer(tmp_path / f"server{len(started)}", {"words": "boxed"} | plan))
        return started[-1]

    yield server
    for one in started:
        one.stop()


def rows(name: str) -> list[dict[str, object]]:
    (run,) = (path for path in Path("runs").iterdir() if path.name != "cache")
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_the_pipeline_runs_to_the_profile(start: Callable[..., ChatServer], capsys: pytest.CaptureFixture[str]) -> None:
    server = start()
    assert main([*SETTINGS, f"student.base_url={server.url}"]) == 0
    assert f"of {QUESTIONS} questions were difficult for endpoint" in capsys.readouterr().out
    answers = rows("answers.jsonl")
    prompts = {row["prompt"] for row in server.log()}
    assert {answer["text"] for answer in answers} == {reply_to(prompt, "boxed") for prompt in prompts}
    assert all(answer["call_id"] and answer["final"] in ("0", "1", "2") for answer in answers)
    # Somewhere else, with other limits: the same answers, and not one of them asked for.
    assert main([*SETTINGS, "student.base_url=http://127.0.0.1:9/v1", "student.max_concurrency=1", "seed=0"]) == 0
    assert len(server.log()) == QUESTIONS


def test_an_interrupted_or_new_run_pays_for_what_is_missing_only(start: Callable[..., ChatServer]) -> None:
    server = start()
    here = [*SETTINGS, f"student.base_url={server.url}", "budget.max_calls=20"]
    assert main(here) == 3
    assert len(server.log()) == 20
    assert main(here) == 3
    assert len(server.log()) == 20
    # Another run of the same student pays from a budget of its own.
    assert main([*here[:-1], f"budget.max_calls={QUESTIONS - 20}", "run_dir=runs/other"]) == 0
    assert len(server.log()) == QUESTIONS


def test_a_run_that_reaches_its_budget_says_how_to_go_on(
    start: Callable[..., ChatServer], capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    assert main([*SETTINGS, f"student.base_url={server.url}", "budget.max_calls=20"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("stat-train: budget.max_calls = 20 is reached: this run has paid for 20 calls")
    assert "40 requests have no reply yet" in said and "the same command goes on" in said


@pytest.mark.parametrize("accepted", [True, False])
def test_the_key_is_in_no_file_and_no_message(
    accepted: bool, start: Callable[..., ChatServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is sent back by the server, as some providers do."""
    monkeypatch.setenv("THE_KEY", KEY)
    server = start(api_key=KEY if accepted else "another", fault_share=0.2, seed=4)
    given = [*SETTINGS, f"student.base_url={server.url}", "student.api_key_env=THE_KEY"]
    command = [sys.executable, "-m", "stat_train.cli", *given]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == (0 if accepted else 2), done.stderr
    assert ("HTTP 401: Incorrect API key provided: [API key]" in done.stderr) != accepted
    assert KEY not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert any("ledger" in path.parts for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("api_key_env", "expected the NAME of an environment variable"),
        ("api_key", 'Did you mean "student.api_key_env"?'),
    ],
)
def test_a_key_among_the_settings_is_not_repeated(setting: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SETTINGS, "student.base_url=http://h/v1", f"student.{setting}={KEY}"]) == 2
    message = capsys.readouterr().err
    assert f"student.{setting} = (not shown): " in message and said in message
    assert KEY not in message


def test_several_answers_to_a_question_are_several_calls(start: Callable[..., ChatServer]) -> None:
    server = start()
    asked = ["difficulty=consistency", "difficulty.samples=3", "difficulty.min_agreement=2"]
    assert main([*SETTINGS, *asked, f"student.base_url={server.url}"]) == 0
    assert Counter(Counter(row["prompt"] for row in server.log()).values()) == {3: QUESTIONS}
