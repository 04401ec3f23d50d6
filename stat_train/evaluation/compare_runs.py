"""What a comparison reads of finished runs, and which of them may be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.errors import UserError, did_you_mean
from stat_train.evaluation.results import SCORES_FILE
from stat_train.evaluation.summary import BASE, PROMPTED, headline_benchmark, trained_arms
from stat_train.evaluation.tables import plain
from stat_train.records import Question
from stat_train.store import read_records

# arm -> benchmark -> question -> score
ScoresOfRun = dict[str, dict[str, dict[str, float | None]]]
# Where a run shows the questions of its benchmarks, a file each.
QUESTION_FOLDERS = ("benchmark_questions", "questions/benchmarks")
EVALUATION_FILE = "evaluation.json"
EVERY = "all"
REMEDY = "run it with until=evaluate"
DAMAGED = (ValueError, KeyError, TypeError)


class RunResult(NamedTuple):
    """What a comparison needs of a finished run; `arms` are those beside the base, the last trained first.

    `log_probabilities` are those of the reference answers, where they are known. `costs` are the manifest's, None in
    runs that were made before it had them.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    evaluation: dict[str, Any]
    scores: ScoresOfRun
    log_probabilities: ScoresOfRun
    arms: list[str]
    pairs: int
    costs: dict[str, Any] | None

    @property
    def training(self) -> str:
        """Return the choice of `train=`."""
        return str(self.config.get("train", {}).get("name", "sft"))


def load_run(run_dir: Path) -> RunResult:
    """Read the results in a run folder; raises UserError when it is none, or was not trained and evaluated."""
    require_run(run_dir)
    names = (EVALUATION_FILE, SCORES_FILE)
    if absent := [name for name in names if not (run_dir / name).is_file()]:
        raise UserError(
            f"{run_dir}: has no {absent[0]}, so there is nothing to compare; "
            f"{rounds_of(run_dir) or _ended_here(run_dir) or REMEDY}"
        )
    try:
        return _read_run(run_dir)
    except DAMAGED as error:
        raise UserError(f"{run_dir}: its results cannot be read ({error}); run it again with until=evaluate") from error


def _ended_here(run_dir: Path) -> str | None:
    """Return what to do where several rounds ended at this one, before it trained."""
    whole = run_dir.absolute().parent / "rounds.json"
    if not whole.is_file() or not json.loads(whole.read_text(encoding="utf-8")).get("ended"):
        return None
    return f"the rounds ended here, before this one trained; give the rounds before it, or {whole.parent}"


def load_runs(run_dirs: Sequence[Path]) -> list[RunResult]:
    """Read the results of runs, each under a name of its own: its folder's, or where two are alike, the whole path."""
    if not run_dirs:
        raise UserError("no run to compare; give one or more run folders")
    places = [run_dir.resolve() for run_dir in run_dirs]
    if twice := [str(given) for given, place in zip(run_dirs, places, strict=True) if places.count(place) > 1]:
        raise UserError(f"{twice[0]}: named twice; give each run once")
    runs = [load_run(run_dir) for run_dir in run_dirs]
    if len({run.name for run in runs}) < len(runs):
        runs = [run._replace(name=str(run_dir)) for run, run_dir in zip(runs, run_dirs, strict=True)]
    return runs


def rounds_of(run_dir: Path) -> str | None:
    """Return what to give in place of a folder of rounds that shows no result: its rounds, each a run folder."""
    rounds = sorted(run_dir.glob("round_*/config.yaml"), key=lambda path: int(path.parent.name.rpartition("_")[2]))
    return f"give its rounds: {' '.join(str(path.parent) for path in rounds)}" if rounds else None


def require_run(run_dir: Path) -> None:
    """Raise UserError when a folder is no run folder; its message names the run that was meant, if one is near."""
    if not (run_dir / "config.yaml").is_file():
        siblings = [path.parent.name for path in run_dir.absolute().parent.glob("*/config.yaml")]
        near = did_you_mean(run_dir.absolute().name, siblings)
        raise UserError(f"{run_dir}: no run folder (it has no config.yaml); give the run_dir of a run.{near}")


def shared_benchmarks(compared: Sequence[tuple[RunResult, str]], wanted: str | None) -> list[str]:
    """Return the benchmarks to compare runs on, each by the arm it is judged by, which is the last one trained.

    They are the one that is wanted, all that all of these arms were scored on, or the first run's own.
    Raises UserError when there is none, or when runs measure different things on it under one name.
    """
    runs = [run for run, _ in compared]
    per_run = [run.evaluation["differences"][f"{arm} - {BASE}"] for run, arm in compared]
    shared = [name for name in per_run[0] if all(name in benchmarks for benchmarks in per_run)]
    if not shared:
        raise UserError("the runs have no benchmark in common; compare runs of the same task")
    if wanted not in (None, EVERY, *shared):
        known = plain(", ".join(shared))
        raise UserError(f"benchmark {wanted}: not one that all runs have ({known}).{did_you_mean(str(wanted), shared)}")
    headline = headline_benchmark(runs[0].config, shared) or shared[0]
    ordered = sorted(shared, key=lambda name: name != headline)
    chosen = ordered if wanted == EVERY else [wanted or headline]
    for name in chosen:
        _require_same_measure(runs, name)
    return chosen


def questions_of(runs: Sequence[RunResult], benchmark: str) -> list[Question]:
    """Return the questions of a benchmark as the first run that shows them has them; none where no run does.

    Raises UserError when two runs have another question under the same id.
    """
    known: dict[str, Question] = {}
    for run in runs:
        for question in _own_questions(run, benchmark):
            first = known.setdefault(question.id, question)
            if first.question != question.question:
                what = plain(f"benchmark {benchmark}: question {question.id} of {run.name}")
                raise UserError(
                    f"{what} is another one than that of the run before it; runs are paired by question, so compare "
                    "runs that were asked the same ones"
                )
    return list(known.values())


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change what a run makes, each under its full key.

    Of a run of another version, whose settings are not those of this one, all are taken.
    """
    from pydantic import ValidationError

    from stat_train.compose import leaves
    from stat_train.config import NOT_OF_A_RUN, Config

    try:
        values = Config.model_validate(config).identity()
    except ValidationError:
        values = dict(config)
    return {key: value for key, value in leaves(values) if key not in NOT_OF_A_RUN}


def _read_run(run_dir: Path) -> RunResult:
    config = _config(run_dir / "config.yaml")
    evaluation = json.loads((run_dir / EVALUATION_FILE).read_text(encoding="utf-8"))
    arms = [arm for arm in (*trained_arms(evaluation["arms"]), PROMPTED) if arm in evaluation["arms"]]
    if not arms:
        raise UserError(f"{run_dir}: only its base was evaluated; run it with train=sft until=evaluate")
    if absent := [arm for arm in arms if f"{arm} - {BASE}" not in evaluation["differences"]]:
        raise ValueError(f"{EVALUATION_FILE} has no difference {absent[0]} - {BASE}")
    scores, known = _scores(run_dir / SCORES_FILE)
    manifest = run_dir / "manifest.json"
    costs = json.loads(manifest.read_text(encoding="utf-8")).get("costs") if manifest.is_file() else None
    run = RunResult(run_dir.absolute().name, run_dir, config, evaluation, scores, known, arms, 0, costs)
    return run._replace(pairs=_pairs(run))


def _config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"config.yaml: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("config.yaml: expected settings")
    return config


def _scores(path: Path) -> tuple[ScoresOfRun, ScoresOfRun]:
    """Return the scores, and the log-probabilities of those questions that have one."""
    scores: ScoresOfRun = {}
    known: ScoresOfRun = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            arm, benchmark, id = row["arm"], row["benchmark"], row["question_id"]
            scores.setdefault(arm, {}).setdefault(benchmark, {})[id] = row.get("score")
            if row.get("log_probability") is not None:
                known.setdefault(arm, {}).setdefault(benchmark, {})[id] = row["log_probability"]
    return scores, known


def _pairs(run: RunResult) -> int:
    """Return how many pairs were trained on: fewer than drawn when some are longer than train.max_length."""
    if run.training in ("none", "external"):
        return 0
    trained = run.folder / "training.json"
    if trained.is_file():
        return int(json.loads(trained.read_text(encoding="utf-8"))["rows"])
    path = run.folder / "training_set.jsonl"
    if not path.is_file():
        return int(run.config["data_recipe"]["pairs"])
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def _require_same_measure(runs: Sequence[RunResult], benchmark: str) -> None:
    measures = {run.name: run.evaluation["arms"][BASE][benchmark].get("measure", "accuracy") for run in runs}
    if len(set(measures.values())) > 1:
        told = ", ".join(f"{measure} in {name}" for name, measure in measures.items())
        what = plain(f"benchmark {benchmark}: the runs measure different things under this name ({told})")
        raise UserError(f"{what}; compare runs that were evaluated alike, or another --benchmark")


def _own_questions(run: RunResult, benchmark: str) -> list[Question]:
    places = [run.folder / folder / f"{benchmark}.jsonl" for folder in QUESTION_FOLDERS]
    place = next((place for place in places if place.is_file()), None)
    try:
        return read_records(place, Question) if place else []
    except ValueError as error:
        raise UserError(f"{place}: cannot be read ({error}); run {run.name} again with until=evaluate") from error
