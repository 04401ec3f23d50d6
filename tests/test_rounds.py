"""Rounds with the tiny student: real trainings of a few steps, which change next to nothing, shared by all tests."""

from __future__ import annotations

import json
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stat_train import pipeline, rounds
from stat_train.cli import main
from stat_train.compose import Settings, read_settings
from stat_train.errors import BudgetReached
from stat_train.evaluation.round_gain import Ending
from stat_train.models.budget import Budget
from stat_train.models.ledger import Ledger, Spent
from stat_train.models.places import Weights, model_name
from stat_train.pipeline import Finished
from stat_train.records import Question, TrainingExample
from stat_train.run import Round, Run
from stat_train.store import read_records

PAIRS, VALIDATION = 32, 40
# So slow a training changes no answer, so no round is worth it.
SETTINGS = [
    *("task.pool=400", f"task.validation={VALIDATION}", "task.benchmark=30", "evaluate.log_probabilities=false"),
    *("student.max_new_tokens=48", f"data_recipe.pairs={PAIRS}", "train.epochs=1", "train.learning_rate=1e-12"),
]
pytestmark = pytest.mark.slow


class Place:
    """A cache, and run folders beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def given(self, name: str, *more: str) -> list[str]:
        return [*SETTINGS, f"run_dir={self.folder / name}", f"cache_dir={self.folder / 'cache'}", *more]

    def run(self, name: str, *more: str) -> tuple[Path, str]:
        """Carry out a run in this process (its trainings are others); return its folder and what it said."""
        said = Console(file=(words := StringIO()), width=110, color_system=None)
        return rounds.carry_out(read_settings(self.given(name, *more)), ["stat-train"], said), words.getvalue()

    def artifacts(self) -> set[str]:
        return {path.name for path in (self.folder / "cache" / "artifacts").iterdir()}

    def identity(self, folder: Path, stage: str) -> dict[str, Any]:
        """Return what the artifact of a stage is known by, as a run folder's manifest names it."""
        name = artifact_of(folder, stage)
        found: dict[str, Any] = read(self.folder / "cache" / "artifacts" / name / "manifest.json")
        return found


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def artifact_of(folder: Path, stage: str) -> str:
    (name,) = (each["artifact"] for each in read(folder / "manifest.json")["stages"] if each["stage"] == stage)
    return str(name)


def stages(artifacts: set[str]) -> Counter[str]:
    return Counter(name.rpartition("-")[0] for name in artifacts)


def go_on(number: int, before: Path, now: Path) -> Ending | None:
    """Find every round worth it."""
    return None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("rounds"))


@pytest.fixture(scope="module")
def two(place: Place) -> Path:
    """Return the folder of two rounds that were both carried out, whatever they gained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "why_to_end", go_on)
        folder, words = place.run("two", "rounds=2")
    assert "rounds.count = 2 is reached. The result is the model of round 2." in " ".join(words.split())
    return folder


def test_what_the_model_of_a_round_answers_is_not_asked_again_in_the_next(place: Place, two: Path) -> None:
    """One student and two models answer the benchmark, so there are three files of answers; the profile is of two."""
    made = stages(place.artifacts())
    assert {name: made[name] for name in ("questions", "label", "answer", "train", "benchmark")} == {
        "questions": 1,
        "label": 1,
        "answer": 2,
        "train": 2,
        "benchmark": 3,
    }
    first, second = (place.identity(two / name, "evaluate")["inputs"] for name in ("round_1", "round_2"))
    assert second[1] == first[2]


def test_a_round_profiles_and_trains_the_model_of_the_round_before(place: Place, two: Path) -> None:
    trained = artifact_of(two / "round_1", "train")
    for stage in ("answer", "train"):
        assert place.identity(two / "round_2", stage)["identity"]["model"] == trained
    settings = (two / "round_2" / "config.yaml").read_text()
    assert f"{trained}/checkpoint" in settings and "count: 1" in settings
    card = (two / "round_2" / "checkpoint" / "README.md").read_text()
    assert f"{trained}/checkpoint" in card and str(place.folder) not in card


def test_the_whole_shows_its_result_beside_the_first_student(two: Path) -> None:
    about = read(two / "rounds.json")
    assert (about["result"], [row["round"] for row in about["rounds"]]) == (2, [1, 2])
    assert (two / "checkpoint").resolve() == (two / "round_2" / "checkpoint").resolve()
    first, second, whole = (read(two / name / "evaluation.json") for name in ("round_1", "round_2", "."))
    assert whole["arms"] == {"base": first["arms"]["base"], "sft": second["arms"]["sft"]}
    gain = whole["differences"]["sft - base"]["standard"]
    assert {key: gain[key] for key in ("n", "difference", "low", "high")} == {
        key: about["rounds"][1]["gain_from_first"][key] for key in ("n", "difference", "low", "high")
    }
    costs = [read(two / name / "manifest.json")["costs"] for name in (".", "round_1", "round_2")]
    assert costs[0]["fine_tuning_tokens"] == costs[1]["fine_tuning_tokens"] + costs[2]["fine_tuning_tokens"]
    page = (two / "rounds.html").read_text()
    assert 'href="round_2/report.html"' in page and "The result is the model of round 2." in page


def test_rounds_are_compared_as_runs(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(two / "round_1"), str(two / "round_2"), str(two)]) == 0
    assert "student.model" in capsys.readouterr().out
    assert main(["profiles", str(two / "round_1"), str(two / "round_2")]) == 0
    row = json.loads((two / "training_set.jsonl").read_text().splitlines()[0])["id"]
    assert main(["trace", str(two), row]) == 0


def test_the_rounds_end_by_themselves_and_give_up_what_was_not_worth_it(
    place: Place, two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made for it: what decides are the profiles, which are there, and the third round is not begun."""
    before = place.artifacts()
    for _ in range(2):
        folder, words = place.run("ended", "rounds=5")
        said = " ".join(words.split())
        assert "The rounds ended: round 1 had no credible gain" in said
        assert "The result is the student as it was." in said
    assert stages(place.artifacts() - before) <= Counter(["report"])
    about = read(folder / "rounds.json")
    assert (about["result"], [row["pairs"] for row in about["rounds"]]) == (None, [PAIRS, None])
    assert not (folder / "round_3").exists() and not (folder / "checkpoint").exists()
    assert main(["compare", str(folder)]) == 2
    assert f"give its rounds: {folder / 'round_1'} {folder / 'round_2'}" in capsys.readouterr().err


def test_two_rounds_again_make_nothing(place: Place, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "why_to_end", go_on)
    before = place.artifacts()
    _, words = place.run("two", "rounds=2")
    assert place.artifacts() == before
    assert words.count("all stages were done before") == 2


def test_until_is_of_the_last_round(place: Place, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole round; of the second its training set, for the model of the first, which is the result."""
    monkeypatch.setattr(rounds, "why_to_end", go_on)
    before = place.artifacts()
    folder, _ = place.run("until", "rounds=2", "until=curate")
    assert stages(place.artifacts() - before) == Counter(["report"])
    assert read(folder / "rounds.json")["result"] == 1
    assert (folder / "checkpoint").resolve() == (two / "round_1" / "checkpoint").resolve()
    assert (folder / "round_2" / "training_set.jsonl").is_file()
    assert not (folder / "round_2" / "checkpoint").exists()


def test_a_budget_that_ends_in_a_round_leaves_the_table_of_those_before(
    place: Place, two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spend(number: int, before: Path, now: Path) -> Ending | None:
        raise BudgetReached("budget.max_calls = 5 is reached")

    monkeypatch.setattr(rounds, "why_to_end", spend)
    assert main(place.given("poor", "rounds=3")) == 3
    said = capsys.readouterr()
    assert "The rounds ended: the budget is reached. The result is the model of round 1." in " ".join(said.out.split())
    assert "budget.max_calls = 5 is reached" in said.err
    assert [row["round"] for row in read(place.folder / "poor" / "rounds.json")["rounds"]] == [1]
    # What is not complete has no manifest.
    assert not (place.folder / "poor" / "manifest.json").exists()


def test_rounds_that_were_asked_to_stop_go_on_where_they_were(
    place: Place, two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file STOP is the whole's: it stops the second round at its next stage, and the next start takes it away."""
    stop = place.folder / "stopped" / "STOP"

    def go_on_until_stopped(number: int, before: Path, now: Path) -> Ending | None:
        stop.touch()
        return None

    monkeypatch.setattr(rounds, "why_to_end", go_on_until_stopped)
    assert main(place.given("stopped", "rounds=2")) == 75
    assert f"stopped before stage decontaminate, as asked ({stop})" in capsys.readouterr().err
    monkeypatch.setattr(rounds, "why_to_end", go_on)
    before = place.artifacts()
    folder, words = place.run("stopped", "rounds=2")
    assert f"removed {stop}" in words and not stop.exists()
    assert stages(place.artifacts() - before) == Counter(["report"])
    assert read(folder / "rounds.json")["result"] == 2


def test_one_round_is_a_run_as_ever(place: Place, two: Path) -> None:
    before = place.artifacts()
    folder, _ = place.run("one", "rounds=1")
    assert stages(place.artifacts() - before) == Counter(["report"])
    assert not list(folder.glob("round*"))


def test_from_the_base_the_first_model_is_trained_on_the_rows_of_all_rounds(
    place: Place, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "why_to_end", go_on)
    folder, _ = place.run("base", "rounds=2", "rounds.start=base", "until=train")
    own = [read_records(folder / name / "training_set.jsonl", TrainingExample) for name in ("round_1", "round_2")]
    rows = read_records(folder / "round_2" / "training_set_of_all_rounds.jsonl", TrainingExample)
    assert [row.model_copy(update={"id": row.id.partition("-")[2]}) for row in rows] == [*own[0], *own[1]]
    assert len({row.id for row in rows}) == 2 * PAIRS
    first, second = (place.identity(folder / name, "train")["identity"] for name in ("round_1", "round_2"))
    assert first["model"] == second["model"]
    # It was the model of the first round that was asked.
    trained = artifact_of(folder / "round_1", "train")
    assert place.identity(folder / "round_2", "answer")["identity"]["model"] == trained
    # The result is shown without scores, as its round has none yet.
    assert not (folder / "evaluation.json").exists()
    assert (folder / "checkpoint").resolve() == (folder / "round_2" / "checkpoint").resolve()


def test_new_validation_questions_leave_pool_and_benchmark_and_hold_out_those_before(
    place: Place, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "why_to_end", go_on)
    before = place.artifacts()
    folder, _ = place.run("new", "rounds=2", "rounds.validation=new", "until=curate")
    assert "train" not in stages(place.artifacts() - before), "the first round is the same"
    first, second = (folder / name / "questions" for name in ("round_1", "round_2"))
    asked = [read_records(each / "validation.jsonl", Question) for each in (first, second)]
    assert [len({row.question for row in rows}) for rows in asked] == [VALIDATION, VALIDATION]
    assert not {row.question for row in asked[0]} & {row.question for row in asked[1]}
    for name in ("pool.arrow", "benchmarks/standard.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    certificate = read(folder / "round_2" / "curation.json")["decontamination"]
    assert certificate["against"] == {"validation": VALIDATION, "validation-1": VALIDATION, "standard": 30}


def test_the_whole_is_asked_to_stop(tmp_path: Path) -> None:
    settings = read_settings([f"run_dir={tmp_path / 'whole/round_2'}", f"cache_dir={tmp_path / 'cache'}"])
    run = Run(settings, [], Console(quiet=True), Round(number=2, whole=tmp_path / "whole"))
    assert run.stop_file == tmp_path / "whole" / "STOP"


def test_the_first_round_pays_as_the_whole_which_a_job_of_its_own_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch job carries the first round out as a run that is alone; both rounds have the same accounts in all."""
    begun = list[Run]()

    def begin(settings: Settings, command: list[str], console: Console, round: Round, ends: object) -> Finished:
        begun.append(Run(settings, command, console, round))
        return Finished(begun[-1].folder.folder, [], {"base": Weights("m", None, "m")}, {}, None)

    monkeypatch.setattr(pipeline, "run", begin)
    for name in ("_show", "_show_result", "_tell"):
        monkeypatch.setattr(rounds, name, lambda *_: None)
    given = read_settings([f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}", "rounds=2"])
    rounds.carry_out(given, [], Console(quiet=True))
    first, second = begun
    assert first.pays_as == Run(given, [], Console(quiet=True)).pays_as != second.pays_as
    assert [str(each) for each in first.round.beside] == [second.pays_as]
    assert [str(each) for each in second.round.beside] == [first.pays_as]


def test_rounds_have_names_of_their_own_where_they_are_shown_to_others(tmp_path: Path) -> None:
    given = [f"run_dir={tmp_path / 'mine'}", "track=wandb", "push_to_hub=me/rows", "rounds=3", "until=train"]
    config = read_settings(given).config
    second, third = (rounds.settings_of(config, number, None).config for number in (2, 3))
    assert second.track.name == "wandb" and second.track.run_name == "mine-round_2"
    assert (second.run_dir, second.push_to_hub) == (str(tmp_path / "mine" / "round_2"), "me/rows-round_2")
    assert (second.until, third.until, third.rounds.count) == ("report", "train", 1)


def test_the_budget_is_of_all_rounds(tmp_path: Path) -> None:
    caps = read_settings(["budget.max_calls=5"]).config.budget
    with Ledger(tmp_path) as ledger:
        budget = Budget(caps, "round_2", ledger, Spent(4, 400, 0.0))
        assert budget.reserve(Spent(1, 100, 0.0))
        with pytest.raises(BudgetReached, match=r"max_calls = 5 is reached: .*, and other rounds for 5 calls, 400 tok"):
            Budget(caps, "round_3", ledger, Spent(5, 400, 0.0)).reserve(Spent(1, 100, 0.0))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("tiny", "tiny"),
        ("owner/name", "owner/name"),
        ("/data/models/mine", "mine"),
        ("/data/cache/artifacts/train-12ab/checkpoint", "train-12ab/checkpoint"),
        ("/data/cache/artifacts/train-12ab/checkpoints/step-10", "train-12ab/checkpoints/step-10"),
    ],
)
def test_a_checkpoint_is_called_by_the_training_that_made_it(place: str, name: str) -> None:
    assert model_name(place) == name
