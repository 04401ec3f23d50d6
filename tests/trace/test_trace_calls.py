"""The calls behind training rows, where a served model is the teacher: also of a run that was killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from killing import TIMEOUT_SECONDS, kill_when_served

from stat_train.cli import main
from stat_train.models.calls import Call, Payment, find_calls
from stat_train.models.ledger import Ledger, Spent
from stat_train.trace.lineage import Downstream, RowTrace, trace

REPOSITORY = Path(__file__).parents[2]
POOL, VALIDATION, PAIRS, CONCURRENCY = 60, 20, 40, 8
USD_PER_MILLION = {"input": 150.0, "output": 600.0}
HOSTILE = "It is [bold]\x1b[31m\\boxed{0}"
PROMPTS = {"label": "required_skills", "diagnosis": "missing_skills", "text": "rewrite"}


@dataclass(frozen=True)
class Place:
    """A folder with questions without labels and a recorded student, and a teacher."""

    folder: Path
    server: ChatServer

    def settings(self, name: str) -> list[str]:
        task = ["task=jsonl", *(f"task.{key}={self.folder / file}" for key, file in FILES.items())]
        teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={self.server.url}"]
        teacher += ["teacher.api_key_env=null", "teacher.max_attempts=5", f"teacher.max_concurrency={CONCURRENCY}"]
        teacher += [f"teacher.usd_per_million_{kind}_tokens={usd}" for kind, usd in USD_PER_MILLION.items()]
        student = ["student=recorded", f"student.path={self.folder / 'student.jsonl'}", "difficulty=gold"]
        places = [f"run_dir={self.folder / name}", f"cache_dir={self.folder / 'cache'}"]
        return [*task, *teacher, *student, *places, f"data_recipe.pairs={PAIRS}", "until=curate"]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stat_train.cli", *self.settings(name)]
        with (self.folder / "log").open("ab") as log:
            environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=environment)


FILES = {"pool": "pool.jsonl", "benchmark": "test.jsonl", "skills": "skills.json"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name, first, count in (("pool", 0, POOL), ("test", 1000, VALIDATION + 5)):
        rows = [
            {"id": f"{name}{n}", "question": f"What is {n} + 1?", "answer": str(n + 1), "solution": f"It is {n + 1}."}
            for n in range(first, first + count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "skills.json").write_text(json.dumps(["adding", "counting", "carrying", "reading"]))
    recorded = [json.dumps({"id": f"test{1000 + n}", "responses": [HOSTILE]}) for n in range(VALIDATION)]
    (tmp_path / "student.jsonl").write_text("\n".join(recorded))
    # Some replies are cut off, so that calls have several attempts.
    plan = {"words": "teacher", "latency_seconds": 0.05, "fault_share": 0.2, "faults": ["length"], "seed": 3}
    server = ChatServer(tmp_path / "server", plan)
    yield Place(tmp_path, server)
    server.stop()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def total(calls: Iterable[Call], run_dir: Path, settled: tuple[bool, ...] = (True, False)) -> Spent:
    """Return what a run paid for calls."""
    sum_ = Spent()
    for payment in (each for call in calls for each in call.payments if each.settled in settled):
        sum_ = sum_.plus(Spent(1, payment.tokens, payment.usd) if payment.run == str(run_dir) else Spent())
    return sum_


def check(place: Place, name: str) -> None:
    """Check that rows and calls lead to each other, and that what was paid for calls is what the run paid."""
    run_dir = place.folder / name
    rows = {row["id"]: row for row in lines(run_dir / "training_set.jsonl")}
    diagnoses = {row["question_id"]: row["call_ids"] for row in lines(run_dir / "diagnoses.jsonl")}
    labels = {row["id"]: row["call_ids"] for row in lines(run_dir / "skill_map.jsonl")}
    assert len(rows) == PAIRS and len(labels) == POOL + VALIDATION
    lists: dict[str, set[str]] = {}
    known: dict[str, Call] = {}
    for id, row in rows.items():
        found, question = trace(run_dir, {"row": id}), row["origin"]["question_id"]
        assert isinstance(found, RowTrace) and found.wrong and found.wrong.answer
        assert found.wrong.answer.text == HOSTILE and found.wrong.answer.question_id == question
        (seed,) = row["origin"]["seed_ids"]
        behind = [*labels[question], *diagnoses[question], *labels[seed], *row["origin"]["call_ids"]]
        assert [call.id for call in found.calls] == behind
        for call in found.calls:
            assert call.known and call.known.prompt_name == PROMPTS[call.purpose.split()[0]]
            known[call.id] = call.known
            lists.setdefault(call.id, set()).add(id)
    for call_id, expected in lists.items():
        downstream = trace(run_dir, {"call": call_id})
        assert isinstance(downstream, Downstream) and {row.id for row in downstream.rows} == expected
    skills = {row["origin"]["skill"] for row in rows.values()}
    downstream = [trace(run_dir, {"skill": skill}) for skill in skills]
    assert {row.id for found in downstream if isinstance(found, Downstream) for row in found.rows} == set(rows)
    everything = {*known, *(id for ids in [*labels.values(), *diagnoses.values()] for id in ids)}
    calls = find_calls(place.folder / "cache", everything)
    assert known.items() <= calls.items()
    with Ledger(place.folder / "cache") as ledger:
        run = str(run_dir)
        for paid, expected_total in (
            (total(calls.values(), run_dir), ledger.spent(run)),
            (total(calls.values(), run_dir, settled=(False,)), ledger.unsettled(run)),
        ):
            assert paid[:2] == expected_total[:2] and paid.usd == pytest.approx(expected_total.usd)


def test_rows_and_calls_lead_to_each_other_and_prices_add_up(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.settings("one")) == 0
    check(place, "one")
    (one, two), id = (place.folder / name for name in ("one", "two")), "stat_sel-00000"
    found = trace(one, {"row": id})
    assert isinstance(found, RowTrace)
    # What the server counts, at the prices of the settings; each attempt of a call has the same input.
    for call in (each.known for each in found.calls):
        assert call and [payment.attempt for payment in call.payments] == list(range(1, call.attempts + 1))
        last = call.payments[-1]
        usd = (USD_PER_MILLION["input"] * call.input_tokens + USD_PER_MILLION["output"] * call.output_tokens) / 1e6
        assert last == Payment(str(one), call.attempts, call.input_tokens + call.output_tokens, last.usd, settled=True)
        assert last.usd == pytest.approx(usd)
    # Another run finds all in the ledger.
    assert main(place.settings("two")) == 0
    capsys.readouterr()
    assert main(["trace", str(one), id]) == main(["trace", str(two), id]) == 0
    said = capsys.readouterr().out
    assert said.count("paid by this run") == said.count(f"paid by {one} (this run found it in the ledger)")
    assert said.count("paid by this run") == len(found.calls)
    # A text of a model is neither markup nor able to steer the terminal.
    assert said.count("It is [bold]?[31m\\boxed{0}") == 2 and "\x1b" not in said


def test_a_call_that_this_run_does_not_have_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.settings("one")) == 0
    (first, *_) = lines(place.folder / "one" / "diagnoses.jsonl")
    capsys.readouterr()
    assert main(["trace", str(place.folder / "one"), "--call", first["call_ids"][0][:-1]]) == 2
    assert f"no model call of {place.folder / 'one'}; it has" in (said := capsys.readouterr().err)
    assert f'Did you mean "{first["call_ids"][0]}"?' in said


@pytest.mark.slow
def test_a_run_that_was_killed_while_diagnosing_and_rewriting_traces_as_one_that_was_not(place: Place) -> None:
    labels, diagnoses = POOL + VALIDATION, POOL + 2 * VALIDATION
    for moment in (labels + VALIDATION // 2, diagnoses + PAIRS // 4):
        kill_when_served(place.start("killed"), place.server, moment)
    process = place.start("killed")
    assert process.wait(TIMEOUT_SECONDS) == 0, (place.folder / "log").read_text()[-2000:]
    with Ledger(place.folder / "cache") as ledger:
        assert ledger.unsettled(str(place.folder / "killed")).calls > 0, "no call was under way at a kill"
    check(place, "killed")
