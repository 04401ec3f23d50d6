"""Diagnoses that are asked again over the wire: of the same teacher, of a second one, of the exact one."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from teacher_words import skills_of

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.tasks.arithmetic import world
from stat_train.teacher.second import second_teacher

POOL, VALIDATION, SAMPLE = 12, 60, 40
SKILLS = {
    "algebra": ["factoring", "solving_equations", "graphing", "inequalities"],
    "geometry": ["angles", "areas", "volumes", "circles"],
}
DIAGNOSING = "This is the student's answer"
KEY, SECOND_KEY = "sk-the-first-secret", "sk-the-second-secret"
Start = Callable[..., ChatServer]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a teacher; the working folder holds questions and wrong answers to them."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("THE_SECOND_KEY", SECOND_KEY)
    _write("pool.jsonl", [_row(f"p{n}", n) for n in range(POOL)])
    _write("test.jsonl", [_row(f"t{n}", 1000 + n) for n in range(VALIDATION + 5)])
    _write("student.jsonl", [{"id": f"t{n}", "responses": [f"It is \\boxed{{{n}}}"]} for n in range(VALIDATION)])
    Path("skills.json").write_text(json.dumps(SKILLS))
    started: list[ChatServer] = []

    def server(**plan: object) -> ChatServer:
        folder = tmp_path / f"server{len(started)}"
        started.append(ChatServer(folder, {"words": "teacher", "latency_seconds": 0.001} | plan))
        return started[-1]

    yield server
    for one in started:
        one.stop()


def _row(id: str, number: int) -> dict[str, object]:
    subject = ("algebra", "geometry", None)[number % 3]
    return {"id": id, "subject": subject, "question": f"What is {number} + 1?", "answer": str(number + 1)}


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _run(server: ChatServer, *more: str, run: str = "runs/one") -> int:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    student = ["student=recorded", "student.path=student.jsonl", "difficulty=gold", "until=profile"]
    return main([*task, *teacher, *student, f"audit.sample={SAMPLE}", f"run_dir={run}", *more])


def _audit(run: str = "runs/one") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "audit.json").read_text())
    return found


def _diagnosed(server: ChatServer) -> list[str]:
    """Return the prompts that asked for a diagnosis, in the order in which they were answered."""
    return [row["prompt"] for row in server.log() if DIAGNOSING in row["prompt"] and row["done"] == "ok"]


def _listed(prompt: str) -> list[str]:
    return prompt.split("one a line:\n", 1)[1].split("\n\n")[0].split("\n")


def _without_list(prompt: str) -> str:
    """Return the question and the answer of a prompt; the code in the tags depends on the whole."""
    question = prompt.split("<question-", 1)[1].split(">\n", 1)[1].split("\n</question-")[0]
    return question + prompt.split("<student-", 1)[1].split(">\n", 1)[1].split("\n</student-")[0]


def _alpha(units: list[tuple[bool, bool]]) -> float:
    """Return alpha for two raters and two values, from its definition: 1 - observed / expected disagreement."""
    values = Counter(value for unit in units for value in unit)
    every = 2 * len(units)
    observed = 2 * sum(one != two for one, two in units) / every
    return 1 - observed / (2 * values[True] * values[False] / (every * (every - 1)))


# -- the same teacher -------------------------------------------------------------------------------------------------


def test_a_teacher_that_does_not_mind_the_order_of_the_list_agrees_with_itself(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    assert _run(server) == 0
    prompts = _diagnosed(server)
    first, again = prompts[:VALIDATION], prompts[VALIDATION:]
    assert len(again) == SAMPLE and set(first).isdisjoint(again)
    lists = {_without_list(prompt): _listed(prompt) for prompt in first}
    other_order = [(lists[_without_list(prompt)], _listed(prompt)) for prompt in again]
    assert all(sorted(one) == sorted(two) for one, two in other_order)
    assert all(one != two for one, two in other_order)
    found = _audit()
    assert (found["sample"], found["compared"]) == (SAMPLE, SAMPLE)
    assert found["asked"] == "the same teacher, skill list shuffled"
    assert [found[name] for name in ("alpha", "agreement", "identical", "jaccard", "judgement_agreement")] == [1.0] * 5
    assert {row["alpha"] for row in found["skills"]} == {1.0}
    said = capsys.readouterr().out
    table, audit = said.index("rate [95 %]"), said.index(f"{SAMPLE} of {SAMPLE} diagnoses compared")
    assert table < audit < said.index("alpha over all 1.00")


def test_a_second_run_asks_nothing_and_the_ledger_alone_gives_the_same(start: Start) -> None:
    server = start()
    assert _run(server) == 0
    found, asked = _audit(), len(server.log())
    assert _run(server) == 0
    shutil.rmtree("runs/cache/artifacts")
    assert _run(server) == 0
    assert (_audit(), len(server.log())) == (found, asked)
    # Ten more are ten more calls: the sample grows.
    assert _run(server, f"audit.sample={SAMPLE + 10}") == 0
    assert (_audit()["compared"], len(server.log())) == (SAMPLE + 10, asked + 10)
    assert _run(server, "audit.sample=0", run="runs/two") == 0
    assert not Path("runs/two/audit.json").exists() and len(server.log()) == asked + 10


def test_a_teacher_that_errs_gets_the_alpha_of_its_own_record(start: Start) -> None:
    """Three replies in ten, by the hash of their prompt, name other skills; what they name is worked out again here."""
    server = start(errs=0.3)
    assert _run(server) == 0
    prompts = _diagnosed(server)
    named = [
        {_without_list(p): set(skills_of(p, 0.3)) for p in part}
        for part in (prompts[:VALIDATION], prompts[VALIDATION:])
    ]
    pairs = [(named[0][key], skills) for key, skills in named[1].items()]
    skills = {skill for pair in pairs for each in pair for skill in each}
    # A skill that is not on a question's list could not be named.
    listed = {_without_list(prompt): _listed(prompt) for prompt in prompts[VALIDATION:]}
    pairs_of = [(listed[key], named[0][key], skills_named) for key, skills_named in named[1].items()]
    units = {s: [(s in one, s in two) for of, one, two in pairs_of if s in of] for s in skills}
    found = _audit()
    assert found["alpha"] == pytest.approx(_alpha([unit for each in units.values() for unit in each]), abs=1e-6)
    assert {row["skill"]: row["alpha"] for row in found["skills"]} == {
        skill: pytest.approx(_alpha(each), abs=1e-6) for skill, each in units.items()
    }
    assert found["identical"] == pytest.approx(sum(one == two for one, two in pairs) / SAMPLE)
    # Both as usual in 0.7 * 0.7, both of the other kind in 0.3 * 0.3: 58 % of 40, deviation 8 %.
    assert 0.26 < found["identical"] < 0.9 and found["alpha"] < 0.9


def test_refused_diagnoses_are_left_out_and_counted(start: Start) -> None:
    server = start(fault_share=0.3, faults=["refusal"], seed=3)
    assert _run(server, "teacher.max_attempts=1") == 0
    rows = map(json.loads, Path("runs/one/dropped.jsonl").read_text().splitlines())
    left_out = Counter(row["reason"] for row in rows if row["stage"] == "audit")
    diagnoses = [json.loads(line) for line in Path("runs/one/diagnoses.jsonl").read_text().splitlines()]
    usable = sum(each["judgement"] != "unscored" for each in diagnoses)
    second = left_out["not compared: the second diagnosis is unscored"]
    assert usable < len(diagnoses) and second > 0
    assert _audit()["sample"] == min(SAMPLE, usable)
    assert _audit()["compared"] == min(SAMPLE, usable) - second


# -- a second teacher -------------------------------------------------------------------------------------------------


def test_a_second_model_is_asked_the_same_with_its_own_key(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = start(api_key=KEY), start(api_key=SECOND_KEY, errs=0.5)
    other = ["audit.model=n", f"audit.base_url={second.url}", "audit.api_key_env=THE_SECOND_KEY"]
    assert _run(first, "teacher.api_key_env=THE_KEY", *other) == 0
    assert len(_diagnosed(first)) == VALIDATION and len(second.log()) == SAMPLE
    assert set(_diagnosed(second)) < set(_diagnosed(first))
    found = _audit()
    assert found["asked"] == "n" and 0 < found["alpha"] < 0.9
    said = capsys.readouterr()
    files = [path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()]
    for secret in (KEY, SECOND_KEY):
        assert secret not in said.out + said.err and not any(secret.encode() in text for text in files)
    # Both are charged to the run.
    assert f"Paid for by this run so far: {len(first.log()) + SAMPLE} calls" in said.out


def test_the_teacher_s_key_is_not_sent_to_another_address(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """The second address takes the teacher's key, so it would reply if it were given it."""
    first, second = start(api_key=KEY), start(api_key=KEY)
    settings = ["teacher.api_key_env=THE_KEY", "audit.model=n", f"audit.base_url={second.url}"]
    assert _run(first, *settings) == 2
    assert {row["done"] for row in second.log()} == {"unauthorized"}
    said = capsys.readouterr().err
    assert f"audit.base_url = {second.url}: refused with HTTP 401" in said
    assert "the environment variable that audit.api_key_env names" in said
    assert _run(first, *settings, "audit.api_key_env=THE_KEY") == 0


def test_the_budget_holds_for_both_and_nothing_is_paid_twice(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = start(), start()
    other = ["audit.model=n", f"audit.base_url={second.url}"]
    before = POOL + VALIDATION + VALIDATION
    assert _run(first, *other, f"budget.max_calls={before + 15}") == 3
    assert (len(first.log()), len(second.log())) == (before, 15)
    assert not Path("runs/one/audit.json").exists()
    assert _run(first, *other, f"budget.max_calls={before + SAMPLE}") == 0
    assert (len(first.log()), len(second.log())) == (before, SAMPLE)
    assert set(second.served().values()) == {1}


# -- who is asked -----------------------------------------------------------------------------------------------------

TEACHER = ["teacher=openai", "teacher.model=m", "teacher.revision=r", "audit.sample=5"]
TEACHER += ["teacher.usd_per_million_input_tokens=1.0", "teacher.usd_per_million_output_tokens=2.0"]


def _second(*more: str) -> tuple[Any, ...]:
    second = second_teacher(read_settings([*TEACHER, *more]).config)
    model: Any = second.settings
    prices = model.usd_per_million_input_tokens, model.usd_per_million_output_tokens
    return second.role, second.same_model, model.model, model.revision, model.api_key_env, prices, model.sampling_seed


def test_what_is_not_given_is_the_teacher_s_own() -> None:
    """Except what cannot be known of another model, and the key of another address."""
    own = ("m", "r", "OPENAI_API_KEY", (1.0, 2.0))
    assert _second() == ("teacher", True, *own, 1)
    assert _second("audit.model=m", "audit.revision=r")[1:3] == (True, "m")
    assert _second("audit.revision=s") == ("teacher", False, "m", "s", *own[2:], 0)
    assert _second("audit.model=n") == ("audit", False, "n", None, "OPENAI_API_KEY", (None, None), 0)
    assert _second("audit.base_url=http://h/v1") == ("audit", True, "m", "r", None, (1.0, 2.0), 1)


# -- the exact teacher ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error_rate", [0.0, 0.3])
def test_the_exact_teacher_s_errors_are_seen_as_disagreement(
    error_rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer fails in the one skill of its question, so two diagnoses are alike when both are right (0.7 * 0.7) or
    both name the same of the 17 others (0.3 * 0.3 / 17): 49.5 % of 300, four deviations are 11.5 %.
    """
    monkeypatch.chdir(tmp_path)
    questions = list(world.questions("0", "validation", "validation", 300, world.Family(steps=(1, 1))))
    _write(
        "student.jsonl",
        [{"id": q.id, "responses": ["It is 9999.\n\nThe final answer is: \\boxed{9999}"]} for q in questions],
    )
    task = ["task.min_steps=1", "task.max_steps=1", "task.validation=300", "task.pool=300", "task.benchmark=5"]
    more = ["student=recorded", "student.path=student.jsonl", "difficulty=gold", "until=profile", "run_dir=runs/one"]
    assert main([*task, *more, f"teacher.error_rate={error_rate}", "audit.sample=300"]) == 0
    found = _audit()
    assert (found["compared"], found["asked"]) == (300, "the same teacher, another sampling_seed")
    diagnoses = map(json.loads, Path("runs/one/diagnoses.jsonl").read_text().splitlines())
    assert {len(row["missing_skills"]) for row in diagnoses} == {1}
    if error_rate == 0:
        assert (found["alpha"], found["identical"]) == (1.0, 1.0)
    else:
        assert found["identical"] == pytest.approx(0.495, abs=0.115) and found["alpha"] < 0.65
