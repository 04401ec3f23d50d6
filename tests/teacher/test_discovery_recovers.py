"""Skills that are discovered over the wire are the true ones: those of the embedded task, which its questions tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from stat_train.cli import main
from stat_train.models.segments import Row
from stat_train.records import Question
from stat_train.tasks.arithmetic import world
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.teacher.discovery import NAMES_PER_CALL
from stat_train.teacher.prompt_files import read_prompts

POOL, BENCHMARK, VALIDATION = 600, 60, 40
Start = Callable[..., ChatServer]


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Write questions of one skill each into the working folder, without labels; return their skills by id."""
    monkeypatch.chdir(tmp_path)
    one_step = world.Family(steps=(1, 1))
    pool = list(world.questions("0", "pool", "pool", POOL, one_step))
    benchmark = list(world.questions("0", "benchmark", "benchmark", BENCHMARK, one_step))
    for name, questions in (("pool", pool), ("test", benchmark)):
        rows = [{"id": q.id, "question": q.question, "answer": q.answer} for q in questions]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = [*pool, *benchmark]
    Path("truth.json").write_text(json.dumps({q.question: _skill(q) for q in every}))
    return {q.id: _skill(q) for q in every}


def _skill(question: Question) -> str:
    ((name, _),) = world.Chain.parse(question.source or "").steps
    return name


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a model which knows the true skills."""
    started: list[ChatServer] = []

    def server(**namer: Any) -> ChatServer:
        plan = {"latency_seconds": 0.0, "namer": {"truth": str(tmp_path / "truth.json")} | namer}
        started.append(ChatServer(tmp_path / "server", plan))
        return started[-1]

    yield server
    for one in started:
        one.stop()


def _discover(server: ChatServer) -> None:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", f"task.validation={VALIDATION}"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    more = ["teacher.discovery_questions=1000", "difficulty=gold", "until=label", "run_dir=runs/one"]
    assert main([*task, *teacher, *more]) == 0


def _labels() -> dict[str, str]:
    """Return the skill that each question has in the end."""
    rows = map(json.loads, Path("runs/one/skill_map.jsonl").read_text().splitlines())
    return {row["id"]: row["skills"][0] for row in rows}


def _free_names() -> dict[str, str]:
    """Return the name that each question was given freely, from the ledger."""
    version = read_prompts(None)["name_skills"].version
    rows: list[Row] = [json.loads(line) for path in Path("runs/cache/ledger").glob("*.jsonl") for line in path.open()]
    named = [row for row in rows if row["kind"] == "reply" and row["prompt_version"] == version]
    return {row["request"]["id"]: json.loads(row["text"])["skills"][0] for row in named}


def _group_of() -> dict[str, str]:
    """Return the group that each free name was put in."""
    (label,) = Path("runs/cache/artifacts").glob("label-*")
    groups = json.loads((label / "discovery.json").read_text())[""]
    return {name: group for group, names in groups.items() for name in names}


def _information(truth: dict[str, str], labels: dict[str, str]) -> float:
    """Return the normalised mutual information between the true skills and labels, over all questions with a label."""
    from sklearn.metrics import normalized_mutual_info_score

    assert len(labels) == POOL + VALIDATION
    return float(normalized_mutual_info_score([truth[id] for id in labels], list(labels.values())))


@pytest.mark.parametrize(("wordings", "forgets", "grouping_calls"), [(3, False, 1), (12, False, 3), (12, True, 3)])
def test_naming_grouping_and_labelling_recover_the_true_skills(
    wordings: int, forgets: bool, grouping_calls: int, truth: dict[str, str], start: Start
) -> None:
    """The namer says another skill in 10 % of the questions, and each skill in several wordings.

    With names N and skills S the mutual information is H(S) - H(S|N) = ln 18 - (0.9 ln (1/0.9) + 0.1 ln (17/0.1)) =
    2.28 nats. Free names have 3 wordings a skill, so H(N) = ln 54 and the normalised value is 2 * 2.28 / (ln 18 +
    ln 54) = 0.66 (600 questions add a little by chance); their groups, H(N) = ln 18, get 0.79. Grouping mends the
    wordings, and labelling with the list mends the wrong names.

    With 12 wordings there are too many names for one grouping call: two place them, and a third brings the groups of
    both together. Without it, a namer that does not use the groups it is shown would leave two names for each skill,
    H(N) = ln 36, and labels that take either: 2 * ln 18 / (ln 18 + ln 36) = 0.89.
    """
    server = start(wordings=wordings, forgets=forgets)
    _discover(server)
    names, group_of = _free_names(), _group_of()
    assert (len(group_of) > NAMES_PER_CALL) == (grouping_calls > 1)
    asked = [row["prompt"] for row in server.log() if "Place every one of these names" in row["prompt"]]
    assert len(asked) == grouping_calls
    assert len(set(group_of.values())) == len(SKILL_NAMES)
    raw = _information(truth, names)
    grouped = _information(truth, {id: group_of[name] for id, name in names.items()})
    final = _information(truth, _labels())
    assert final >= 0.9
    assert raw < 0.8 and grouped < 0.88
