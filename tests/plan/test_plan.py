"""The plan of a run: it says what the run then does, from the very requests where it can, and makes no call."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.models.ledger import Ledger, call_key
from stat_train.models.replies import model_identity
from stat_train.plan.asked import asked_of
from stat_train.plan.look import Look

ROOT = Path(__file__).parents[2]
POOL, VALIDATION = 60, 20
NOWHERE = "http://127.0.0.1:9/v1"
PRICES = ["teacher.usd_per_million_input_tokens=1.0", "teacher.usd_per_million_output_tokens=2.0"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put questions without labels, and wrong answers to some of them, into the working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _write("pool.jsonl", [_row(f"p{n}", n) for n in range(POOL)])
    _write("test.jsonl", [_row(f"t{n}", 1000 + n) for n in range(VALIDATION + 5)])
    # Half of the recorded answers are right.
    answers = [f"\\boxed{{{1001 + n if n % 2 else 0}}}" for n in range(VALIDATION)]
    _write("student.jsonl", [{"id": f"t{n}", "responses": [text]} for n, text in enumerate(answers)])
    Path("skills.json").write_text(json.dumps(["factoring", "solving_equations", "angles"]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    started = ChatServer(tmp_path / "server", {"words": "teacher", "latency_seconds": 0.001})
    yield started
    started.stop()


def _row(id: str, number: int) -> dict[str, str]:
    return {
        "id": id,
        "question": f"What is {number} + 1?",
        "answer": f"{number + 1}",
        "solution": f"It is {number + 1}.",
    }


def _write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _settings(url: str, *more: str) -> list[str]:
    task = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={url}", "teacher.api_key_env=null"]
    student = ["student=recorded", "student.path=student.jsonl", "difficulty=gold", "data_recipe.pairs=40"]
    return [*task, *teacher, *student, "until=curate", "run_dir=runs/one", *more]


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Return a function that gives the plan of settings."""

    def made(*settings: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["plan", "--json", *settings]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return made


Plan = Callable[..., dict[str, Any]]


def _calls(made: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {stage["stage"]: (stage["calls"], stage["in_ledger"]) for stage in made["stages"]}


# -- before anything was asked ----------------------------------------------------------------------------------------


def test_a_plan_of_a_run_that_has_nothing_yet(plan: Plan) -> None:
    """Labels are known exactly; 0.6 of 20 questions are taken to be difficult; a rewrite for each pair."""
    made = plan(*_settings(NOWHERE, *PRICES))
    assert _calls(made) == {"label": (POOL + VALIDATION, 0), "diagnose": (12, 0), "curate": (40, 0)}
    assert [bool(stage["assumed"]) for stage in made["stages"]] == [False, True, True]
    assert any("60% of 20 validation questions are difficult (plan.difficult_share)" in note for note in made["notes"])
    assert made["total"]["calls"] == 132


@pytest.mark.parametrize("strategy", ["consistency", "length"])
def test_answers_that_a_strategy_samples_are_counted(strategy: str, plan: Plan) -> None:
    """Both ask 5 times; student.attempts is for the strategies that take the answers as they come."""
    asked = [setting for setting in _settings(NOWHERE) if not setting.startswith(("student", "difficulty"))]
    student = ["student=endpoint", f"student.base_url={NOWHERE}", "student.model=s"]
    student += ["student.attempts=2", f"task.validation={VALIDATION}"]
    assert _calls(plan(*asked, *student, "difficulty=gold"))["answer"] == (2 * VALIDATION, 0)
    assert _calls(plan(*asked, *student, f"difficulty={strategy}"))["answer"] == (5 * VALIDATION, 0)
    more = ["difficulty.samples=7", "difficulty.temperature=0.5"]
    assert _calls(plan(*asked, *student, f"difficulty={strategy}", *more))["answer"] == (7 * VALIDATION, 0)


def test_the_assumptions_are_settings(plan: Plan) -> None:
    more = ["plan.difficult_share=0.25", "plan.diagnosis_tokens=1000", "teacher.max_new_tokens=1500"]
    (_, diagnose, _) = plan(*_settings(NOWHERE, *more))["stages"]
    assert diagnose["calls"] == 5
    # Half of it, it, and twice it, but no more than a reply may be.
    assert diagnose["output_tokens"] == {"low": 2500, "expected": 5000, "high": 7500}


def test_dollars_are_tokens_times_prices(plan: Plan) -> None:
    for stage in plan(*_settings(NOWHERE, *PRICES))["stages"]:
        for end in ("low", "expected", "high"):
            expected = (stage["input_tokens"][end] * 1.0 + stage["output_tokens"][end] * 2.0) / 1e6
            assert stage["usd"][end] == pytest.approx(expected, abs=6e-5)


def test_an_unknown_price_is_said_and_never_nothing(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    made = plan(*_settings(NOWHERE, PRICES[0]))
    assert {stage["usd"] for stage in made["stages"]} == {None} and made["total"]["usd"] is None
    assert any(
        "THE PRICE IS UNKNOWN" in n and "give teacher.usd_per_million_output_tokens (0" in n for n in made["notes"]
    )
    assert main(["plan", *_settings(NOWHERE)]) == 0
    assert capsys.readouterr().out.count("unknown") == 4


@pytest.mark.parametrize(
    ("limits", "limit", "hours"),
    [
        # 80 labels of 120 tokens at 50 a second, 8 at a time: 24 s.
        (["teacher.max_concurrency=8"], "max_concurrency", 24 / 3600),
        (["teacher.requests_per_minute=4"], "requests_per_minute", 20 / 60),
    ],
)
def test_hours_are_those_of_the_limit_that_holds_up_most(
    limits: list[str], limit: str, hours: float, plan: Plan
) -> None:
    label = plan(*_settings(NOWHERE, *limits))["stages"][0]
    assert (label["limit"], label["hours"]) == (limit, pytest.approx(hours, abs=1e-4))


def test_hours_by_tokens_a_minute(plan: Plan) -> None:
    label = plan(*_settings(NOWHERE, "teacher.tokens_per_minute=500"))["stages"][0]
    tokens = label["input_tokens"]["expected"] + label["output_tokens"]["expected"]
    assert (label["limit"], label["hours"]) == ("tokens_per_minute", pytest.approx(tokens / 500 / 60, rel=0.01))


def test_caps_that_will_not_do_are_said(plan: Plan) -> None:
    notes = plan(
        *_settings(NOWHERE, *PRICES, "budget.max_calls=131", "budget.max_usd=0.001", "budget.max_tokens=10000000")
    )["notes"]
    assert [note.partition(" will")[0] for note in notes if note.startswith("budget")] == [
        "budget.max_calls = 131",
        "budget.max_usd = 0.001",
    ]


def test_a_stage_beyond_the_last_one_is_not_planned(plan: Plan) -> None:
    assert set(_calls(plan(*_settings(NOWHERE, "until=diagnose")))) == {"label", "diagnose"}
    assert set(_calls(plan(*_settings(NOWHERE, "until=label")))) == {"label"}
    assert set(_calls(plan(*_settings(NOWHERE, "data_recipe.answers=own")))) == {"label", "diagnose"}


def test_a_list_that_has_to_be_discovered_is_planned(plan: Plan) -> None:
    made = plan(*_settings(NOWHERE, "task.skills=null", "teacher.discovery_questions=15", "until=label"))
    assert [stage["calls"] for stage in made["stages"]] == [16, POOL + VALIDATION]


def test_a_served_student_is_planned_with_its_own_price(plan: Plan) -> None:
    student = [
        "student=endpoint",
        f"student.base_url={NOWHERE}",
        "student.model=s",
        "student.attempts=3",
        "task.validation=10",
    ]
    prices = ["student.usd_per_million_input_tokens=0.0", "student.usd_per_million_output_tokens=1.0"]
    base = [text for text in _settings(NOWHERE) if not text.startswith("student")]
    made = plan(*base, *student, *prices, "plan.answer_tokens=200")
    answer = next(stage for stage in made["stages"] if stage["stage"] == "answer")
    assert (answer["role"], answer["calls"], answer["output_tokens"]["expected"]) == ("student", 30, 6000)
    assert answer["usd"]["expected"] == 0.006


def test_tokens_are_counted_with_the_model_s_own_tokenizer_when_it_is_here(plan: Plan) -> None:
    """One whose tokens are words: those of both messages and of the schema, and 8 for each message."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = Tokenizer(WordLevel({"[unknown]": 0}, unk_token="[unknown]"))
    words.pre_tokenizer = WhitespaceSplit()
    Path("model").mkdir()
    words.save("model/tokenizer.json")
    here = _settings(NOWHERE, "until=label", "teacher.model=./model")
    made = plan(*here)
    with Look(read_settings(here)) as look:
        (label,) = asked_of(look)
    texts = [[*(m["content"] for m in r.messages), json.dumps(r.schema)] for r in label.requests]
    expected = sum(16 + sum(len(text.split()) for text in each) for each in texts)
    assert made["stages"][0]["input_tokens"] == {"low": expected, "expected": expected, "high": expected}
    assert any("its own tokenizer" in note for note in made["notes"])


def test_of_own_answers_and_rewrites_only_these_are_paid_for(plan: Plan) -> None:
    """Three of four pairs are rewrites."""
    assert _calls(plan(*_settings(NOWHERE, "data_recipe.answers=both")))["curate"] == (30, 0)


def test_diagnoses_with_a_list_that_is_not_there_yet_are_assumed(plan: Plan, server: ChatServer) -> None:
    """Answers and grades are there from a run with another teacher, so it is known which are difficult."""
    settings = _settings(server.url, "task.skills=null")
    assert main([*settings, "until=grade", "run_dir=runs/two"]) == 0
    made = plan(*settings, "teacher.model=another", "plan.difficult_share=0.9")
    diagnose = next(stage for stage in made["stages"] if stage["stage"] == "diagnose")
    assert diagnose["calls"] == 10
    assert diagnose["assumed"] == ["diagnose: the list to be found has 20 names for each subject"]


def test_a_served_student_s_answers_are_found_in_the_ledger(plan: Plan, server: ChatServer, tmp_path: Path) -> None:
    """Arguments of the chat template are part of what is asked."""
    served = ChatServer(tmp_path / "student", {"words": "boxed"})
    student = ["student=endpoint", f"student.base_url={served.url}", "student.model=s", "task.validation=10"]
    student += ["student.prompt.chat_template_arguments={enable_thinking: false}"]
    here = [text for text in _settings(server.url) if not text.startswith("student")] + student
    assert _calls(plan(*here))["answer"] == (10, 0)
    assert main([*here, "until=answer"]) == 0
    served.stop()
    for made in Path("runs/cache/artifacts").glob("answer-*"):
        shutil.rmtree(made)
    assert _calls(plan(*here))["answer"] == (0, 10)


def test_nothing_to_pay_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 0
    assert "Nothing in this run is paid for" in capsys.readouterr().out


# -- the plan and the run ---------------------------------------------------------------------------------------------


def _asked(settings: list[str]) -> dict[str, set[str]]:
    """Return the keys of the calls that the plan foresees, by stage."""
    config = read_settings(settings).config
    model = model_identity(config.teacher, config.teacher.sampling_seed)  # type: ignore[union-attr, arg-type]
    with Look(read_settings(settings)) as look:
        return {asked.stage: {call_key(request, model) for request in asked.requests} for asked in asked_of(look)}


def test_the_plan_foresees_the_very_calls_of_the_run(plan: Plan, server: ChatServer) -> None:
    """Stage by stage: once its inputs are there, the plan's requests are those that the run makes, and no other."""
    here = _settings(server.url)
    labels = _asked(here)["label"]
    assert main([*here, "until=label"]) == 0
    assert _kept() == labels
    # Now answers and grades; half of the recorded answers are wrong.
    assert main([*here, "until=grade"]) == 0
    assert _calls(plan(*here))["diagnose"] == (10, 0)
    diagnoses = _asked(here)["diagnose"]
    assert main([*here, "until=profile"]) == 0
    assert _kept() == labels | diagnoses
    rewrites = _asked(here)["curate"]
    assert _calls(plan(*here)) == {"curate": (len(rewrites), 0)}
    assert main(here) == 0
    assert _kept() == labels | diagnoses | rewrites
    assert _calls(plan(*here)) == {}


def _kept() -> set[str]:
    with Ledger(Path("runs/cache")) as ledger:
        return set(ledger.index.replies)


def test_what_the_ledger_has_is_not_counted_again(plan: Plan, server: ChatServer) -> None:
    assert main([*_settings(server.url), "budget.max_calls=30", "until=label"]) == 3
    made = plan(*_settings(server.url))
    assert _calls(made)["label"] == (POOL + VALIDATION - 30, 30)
    assert made["total"]["in_ledger"] == 30


def test_what_was_asked_in_vain_as_often_as_may_be_is_not_counted_again(plan: Plan, tmp_path: Path) -> None:
    refusing = ChatServer(tmp_path / "refusing", {"words": "teacher", "fault_share": 1.0, "faults": ["refusal"]})
    assert main([*_settings(refusing.url), "until=label", "teacher.max_attempts=1"]) == 2
    refusing.stop()
    assert _calls(plan(*_settings(NOWHERE, "teacher.max_attempts=1")))["label"] == (0, POOL + VALIDATION)
    assert _calls(plan(*_settings(NOWHERE, "teacher.max_attempts=2")))["label"] == (POOL + VALIDATION, 0)
    again = plan(*_settings(NOWHERE, "teacher.max_attempts=1", "teacher.retry_bad=true"))
    assert _calls(again)["label"] == (POOL + VALIDATION, 0)


def test_a_plan_makes_no_call_and_no_run_and_needs_no_key(plan: Plan, server: ChatServer) -> None:
    plan(*_settings(server.url, "teacher.api_key_env=NO_SUCH_VARIABLE"))
    assert server.log() == [] and not Path("runs/one").exists()
    # What it leaves behind is what a run would have made of the same settings.
    kinds = Counter(path.name.partition("-")[0] for path in Path("runs/cache/artifacts").iterdir())
    assert kinds == {"questions": 1, "answer": 1}


def test_torch_is_not_imported() -> None:
    script = (
        "import sys\nfrom stat_train.cli import main\nassert main(sys.argv[1:]) == 0\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "plan", *_settings(NOWHERE)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("No call was made.")


def test_the_real_pool(plan: Plan, shared_data: Path) -> None:
    """Labels for 7,498 + 50 questions, diagnoses for a share of 50, rewrites for each of 9,500 pairs."""
    math = shared_data / "math"
    task = [
        "task=math",
        f"task.pool={math}/train.jsonl",
        f"task.benchmark={math}/test.jsonl",
        f"task.skills={math}/skills.json",
    ]
    student = ["student=recorded", f"student.path={math}/responses.jsonl", "difficulty=gold", "until=curate"]
    teacher = ["teacher=openai", "teacher.model=m", *PRICES, "data_recipe.pairs=9500"]
    made = plan(*task, *student, *teacher, "task.fields.skills=null")
    assert _calls(made) == {"label": (7548, 0), "diagnose": (30, 0), "curate": (9500, 0)}
    assert all(stage["usd"]["low"] < stage["usd"]["expected"] < stage["usd"]["high"] for stage in made["stages"])
    # The labels that most questions have are kept; only those without are asked for.
    assert _calls(plan(*task, *student, *teacher))["label"] == (948, 0)
