"""A language model as the teacher of the whole method: labels, diagnoses, rewrites over the wire, paid for once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import ChatServer

from stat_train.cli import main
from stat_train.models.ledger import Ledger
from stat_train.teacher.prompt_files import SHIPPED, read_prompts

KEY = "sk-a-secret-that-must-not-be-seen"
POOL, VALIDATION, PAIRS = 90, 20, 60
SKILLS = {"algebra": ["factoring", "solving_equations", "graphing"], "geometry": ["angles", "areas", "volumes"]}
# Words that only one prompt holds.
MARKS = {
    "label": "Which of the listed skills",
    "diagnose": "This is the student's answer",
    "rewrite": "Write the solution in your own words",
    "name": "Name the skills that a person",
    "group": "Place every one of these names",
}
Start = Callable[..., ChatServer]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a teacher; the working folder holds questions without labels, and recordings."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _write("pool.jsonl", [_row(f"p{n}", n) for n in range(POOL)])
    _write("test.jsonl", [_row(f"t{n}", 1000 + n) for n in range(VALIDATION + 5)])
    _write("student.jsonl", [{"id": f"t{n}", "responses": [f"It is \\boxed{{{n}}}"]} for n in range(VALIDATION)])
    _write("another.jsonl", [{"id": f"t{n}", "responses": [f"I say \\boxed{{{n}}}"]} for n in range(VALIDATION)])
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
    subject = ("algebra", "geometry")[number % 2]
    text = {"question": f"What is {number} + 1?", "answer": str(number + 1), "solution": f"It is {number + 1}."}
    return {"id": id, "subject": subject} | text


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _run(server: ChatServer, *more: str, run: str = "runs/one", student: str = "student") -> int:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    teacher += ["teacher.max_wait_seconds=1.0", "teacher.timeout_seconds=5.0"]
    other = ["student=recorded", f"student.path={student}.jsonl", "difficulty=gold", f"data_recipe.pairs={PAIRS}"]
    return main([*task, *teacher, *other, "until=curate", f"run_dir={run}", *more])


def _rows(name: str, run: str = "runs/one") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / name).read_text().splitlines()]


def _asked(server: ChatServer, since: int = 0) -> Counter[str]:
    """Return how often each kind of prompt was asked, after the first `since` requests."""
    prompts = [row["prompt"] for row in server.log()[since:]]
    kinds = [[kind for kind, words in MARKS.items() if words in prompt] for prompt in prompts]
    assert all(len(kind) == 1 for kind in kinds)
    return Counter(kind for (kind,) in kinds)


# -- the whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["supported", "ignored", "refused"])
def test_from_questions_without_labels_to_a_training_set(schema: str, start: Start) -> None:
    server = start(schema=schema)
    assert _run(server) == 0
    rewrites = {(row["origin"]["seed_ids"][0], row["answer"]) for row in _rows("training_set.jsonl")}
    asked = _asked(server)
    # A server that does not hold to a schema is asked once in vain.
    assert asked["label"] - (schema != "supported") == POOL + VALIDATION
    assert asked["diagnose"] == VALIDATION
    assert len({row["origin"]["call_ids"][0] for row in _rows("training_set.jsonl")}) == asked["rewrite"] <= PAIRS
    assert len(rewrites) <= asked["rewrite"]
    labels = {row["id"]: row for row in _rows("skill_map.jsonl")}
    subjects = {row["id"]: row["subject"] for row in map(json.loads, Path("pool.jsonl").read_text().splitlines())}
    assert len(labels) == POOL + VALIDATION
    assert all(set(labels[id]["skills"]) <= set(SKILLS[subject]) for id, subject in subjects.items())
    assert {row["reason"] for row in labels.values()} == {"the reason"}
    diagnoses = _rows("diagnoses.jsonl")
    assert {(row["judgement"], row["explanation"]) for row in diagnoses} == {("wrong", "the explanation")}


def test_every_teacher_call_behind_a_result_is_in_the_ledger_with_its_prompt(start: Start) -> None:
    assert _run(start()) == 0
    behind = {
        "required_skills": [id for row in _rows("skill_map.jsonl") for id in row["call_ids"]],
        "missing_skills": [id for row in _rows("diagnoses.jsonl") for id in row["call_ids"]],
        "rewrite": [id for row in _rows("training_set.jsonl") for id in row["origin"]["call_ids"]],
    }
    kept = {
        row["key"]: row
        for path in Path("runs/cache/ledger").glob("*.jsonl")
        for row in map(json.loads, path.read_text().splitlines())
        if row.get("kind") == "reply"
    }
    for name, ids in behind.items():
        assert ids and {kept[id]["prompt_version"] for id in ids} == {read_prompts(None)[name].version}
    assert set(kept) == {id for ids in behind.values() for id in ids}


def test_the_same_results_with_a_schema_and_with_tags(start: Start) -> None:
    assert _run(start(), "cache_dir=runs/cache1") == 0
    assert _run(start(schema="refused"), "cache_dir=runs/cache2", run="runs/two") == 0
    without = {"call_ids", "origin"}
    for name in ("skill_map.jsonl", "diagnoses.jsonl", "training_set.jsonl"):
        first, second = (
            [{k: v for k, v in row.items() if k not in without} for row in _rows(name, run)]
            for run in ("runs/one", "runs/two")
        )
        assert first == second


def test_through_faults_nothing_is_lost_and_all_counts_add_up(start: Start) -> None:
    """A reply is of no use with a chance of 2 in 5, and so in both attempts: 17.6 of 110 labels, deviation 3.8."""
    server = start(fault_share=0.5, seed=5, faults=["length", "refusal", "error_500"])
    assert _run(server, "teacher.max_attempts=2") == 0
    dropped = Counter((row["stage"], row["reason"]) for row in _rows("dropped.jsonl"))
    without_label = dropped["label", "no label: no usable reply of the teacher"]
    assert len(_rows("skill_map.jsonl")) + without_label == POOL + VALIDATION
    unscored = [row for row in _rows("diagnoses.jsonl") if row["judgement"] == "unscored"]
    assert len(_rows("diagnoses.jsonl")) == VALIDATION
    assert len(unscored) == dropped["diagnose", "diagnosis unscored: no usable reply of the teacher"]
    assert 3 <= without_label <= 32 and len(unscored) > 0 and len(_rows("training_set.jsonl")) == PAIRS
    assert all("attempt 2" in row["detail"] for row in _rows("dropped.jsonl") if "no usable" in row["reason"])


# -- what is paid for again -------------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_another_student_no_label(start: Start) -> None:
    server = start()
    assert _run(server) == 0
    first = len(server.log())
    assert _run(server) == 0
    # The stages forgotten, the ledger alone answers.
    shutil.rmtree("runs/cache/artifacts")
    assert _run(server) == 0
    assert len(server.log()) == first
    assert _run(server, run="runs/two", student="another") == 0
    again = _asked(server, first)
    assert (again["label"], again["diagnose"]) == (0, VALIDATION)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("required_skills", "label", POOL + VALIDATION),
        ("missing_skills", "diagnose", VALIDATION),
        ("rewrite", "rewrite", 0),
    ],
)
def test_an_edited_prompt_asks_its_own_calls_anew_and_no_other(name: str, kind: str, count: int, start: Start) -> None:
    server = start()
    assert _run(server) == 0
    first = len(server.log())
    Path("prompts").mkdir()
    prompt = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())
    Path(f"prompts/{name}.yaml").write_text(yaml.safe_dump(prompt | {"system": prompt["system"] + " Be brief."}))
    assert _run(server, "teacher.prompts=prompts", run="runs/two") == 0
    again = _asked(server, first)
    assert set(again) == {kind}
    assert again[kind] == (
        count or len({row["origin"]["call_ids"][0] for row in _rows("training_set.jsonl", "runs/two")})
    )
    # Back to the shipped prompts: all is there.
    assert _run(server) == 0
    assert sum(again.values()) + first == len(server.log())


def test_another_seed_shares_labels_and_diagnoses(start: Start) -> None:
    server = start()
    assert _run(server) == 0
    first = len(server.log())
    assert _run(server, "seed=1", run="runs/two") == 0
    assert set(_asked(server, first)) == {"rewrite"}


def test_the_budget_ends_the_run_cleanly_and_the_next_one_pays_the_rest(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    assert _run(server, "budget.max_calls=100") == 3
    said = capsys.readouterr().err
    assert len(server.log()) == 100 and "10 requests have no reply yet" in said
    assert _run(server, "budget.max_calls=400") == 0
    asked = _asked(server)
    assert (asked["label"], asked["diagnose"]) == (POOL + VALIDATION, VALIDATION)
    assert {count for prompt, count in server.served().items() if MARKS["rewrite"] not in prompt} == {1}
    assert f"Paid for by this run so far: {sum(asked.values())} calls" in capsys.readouterr().out


# -- the list of skills -----------------------------------------------------------------------------------------------


def test_without_a_list_one_is_discovered_and_kept(start: Start) -> None:
    server = start()
    assert _run(server, "task.skills=null", "teacher.discovery_questions=30") == 0
    asked = _asked(server)
    assert (asked["name"], asked["group"], asked["label"]) == (30, 2, POOL + VALIDATION)
    (label,) = Path("runs/cache/artifacts").glob("label-*")
    skills = json.loads((label / "skills.json").read_text())
    found = json.loads((label / "discovery.json").read_text())
    assert set(skills) == {"algebra", "geometry"}
    assert {subject: sorted(groups) for subject, groups in found.items()} == skills
    assert {skill for row in _rows("skill_map.jsonl") for skill in row["skills"]} <= {
        s for names in skills.values() for s in names
    }


def test_questions_that_have_labels_are_not_asked_for_and_give_the_list(start: Start) -> None:
    rows = [
        _row(f"p{n}", n) | {"skills": SKILLS[("algebra", "geometry")[n % 2]][:2] if n < 60 else None}
        for n in range(POOL)
    ]
    _write("pool.jsonl", rows)
    server = start()
    assert _run(server, "task.skills=null") == 0
    asked = _asked(server)
    assert (asked["name"], asked["label"]) == (0, POOL - 60 + VALIDATION)
    assert "volumes" not in {skill for row in _rows("skill_map.jsonl") for skill in row["skills"]}


def test_a_list_is_known_by_what_it_says_and_stands_in_the_manifest(start: Start) -> None:
    """The same list in a folder runs nothing; one name more labels anew."""
    server = start()
    assert _run(server, "until=label") == 0
    first, asked = _manifest("runs/one"), len(server.log())
    digest = hashlib.sha256(Path("runs/one/skills.json").read_bytes()).hexdigest()
    assert first["skills"] == {"sha256": digest, "names": 6, "subjects": 2}
    paid = first["costs"]["paid"]
    # No price was given, so what the calls cost is not known; that is not nothing.
    assert (paid["calls"], paid["usd"], paid["at_most"]) == (POOL + VALIDATION, None, False)
    assert paid["tokens"] > 0 and first["costs"]["device_seconds"] == {}
    Path("lists").mkdir()
    for subject, names in SKILLS.items():
        Path(f"lists/{subject}.txt").write_text("\n".join(names))
    assert _run(server, "task.skills=lists", "until=label", run="runs/two") == 0
    assert _manifest("runs/two")["skills"] == first["skills"]
    nothing = {"calls": 0, "tokens": 0, "usd": 0.0, "at_most": False}
    assert _manifest("runs/two")["costs"]["paid"] == nothing
    assert [stage["artifact"] for stage in _manifest("runs/two")["stages"]] == [
        stage["artifact"] for stage in first["stages"]
    ]
    assert len(server.log()) == asked
    Path("lists/algebra.txt").write_text("\n".join([*SKILLS["algebra"], "inequalities"]))
    assert _run(server, "task.skills=lists", "until=label", run="runs/three") == 0
    assert _manifest("runs/three")["skills"]["names"] == 7
    # The subject whose list is as before is not paid for again.
    assert len(server.log()) == asked + (POOL + VALIDATION) // 2


def _manifest(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "manifest.json").read_text())
    return found


def test_questions_without_a_list_of_their_own_are_shown_every_name(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    _write("pool.jsonl", [_row(f"p{n}", n) | {"subject": [None, "counting", "algebra"][n % 3]} for n in range(POOL)])
    Path("skills.json").write_text(json.dumps(SKILLS))
    server = start()
    assert _run(server, "until=label") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{2 * POOL // 3} questions choose from the names of every list" in said
    assert said.count("no subject (30), counting (30)") == 1
    every = "\n".join([*SKILLS["algebra"], *SKILLS["geometry"]])
    shown = Counter(every in row["prompt"] for row in server.log())
    assert shown == {True: 2 * POOL // 3, False: POOL // 3 + VALIDATION}
    assert {skill for row in _rows("skill_map.jsonl") for skill in row["skills"]} == set(every.split("\n"))


# -- what a user can mend ---------------------------------------------------------------------------------------------


def test_prompts_that_cannot_be_used_are_refused_before_anything_is_asked(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    assert _run(server, "teacher.prompts=absent") == 2
    Path("prompts").mkdir()
    Path("prompts/rewrite.yaml").write_text("system: a\nuser: b\n")
    assert _run(server, "teacher.prompts=prompts") == 2
    said = capsys.readouterr().err
    assert "teacher.prompts = absent: no such folder" in said and "does not hold {question}, {solution}" in said
    assert server.log() == [] and not Path("runs").exists()


def test_the_key_is_in_no_file_and_no_message(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    good, bad = start(api_key=KEY), start(api_key="another")
    assert _run(bad, "teacher.api_key_env=THE_KEY") == 2
    assert _run(good, "teacher.api_key_env=THE_KEY") == 0
    said = capsys.readouterr()
    assert "HTTP 401: Incorrect API key provided: [API key]" in said.err and KEY not in said.out + said.err
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert any("ledger" in path.parts for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_results_that_are_there_need_no_key_and_no_server(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    assert _run(server) == 0
    server.stop()
    monkeypatch.delenv("THE_KEY", raising=False)
    assert _run(server, "teacher.api_key_env=THE_KEY") == 0
    with Ledger(Path("runs/cache")) as ledger:
        assert ledger.spent(str(Path("runs/one").absolute())).calls == len(server.log())


def test_lists_of_other_subjects_are_refused_before_anything_is_asked(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    Path("skills.json").write_text(json.dumps({"topology": ["knots"], "analysis": ["limits"]}))
    assert _run(server) == 2
    said = capsys.readouterr().err
    assert "none of its subjects (analysis, topology) is one of the questions' (algebra, geometry)" in said
    assert server.log() == []
