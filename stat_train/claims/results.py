"""The raw results of a run as one small file, so that a table can be made again without the run.

A file holds what each arm scored on every question, in the order of the questions' ids, packed: `1` right, `0` wrong,
`.` not scored, a character a question, deflated, in base 64. Scores in between are a list of numbers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train import __version__
from stat_train.errors import UserError
from stat_train.evaluation.compare_runs import RunResult, load_run, questions_of, settings_of
from stat_train.evaluation.summary import BASE, headline_benchmark
from stat_train.records import SkillProfile
from stat_train.store import write_text

Scores = list[float | None]
# A skill counts as one that was not missing when the profile has it missing in fewer of the questions that need it.
NOT_MISSING_BELOW = 0.1
# The questions of the benchmark `retention` that need no skill which was missing.
RETAINED, RETENTION = "not_missing", "retention"
CHARACTERS: dict[float | None, str] = {1.0: "1", 0.0: "0", None: "."}
VALUES = {character: score for score, character in CHARACTERS.items()}


class Result(NamedTuple):
    """What one run of a sweep came to.

    `varies` are the settings in which it differs from other runs than those of other seeds, `place` is its place among
    the runs. `settings` are all that make its results what they are, `with_seed` those that go with the seed. The
    questions of benchmarks in `only_difficult` were chosen by the untrained student's failures. `questions` is a hash
    of the questions of each benchmark, `scores` holds an arm's score on each of them (arm -> benchmark -> scores).
    `learning_rate` is the one that went on. Tokens are those trained on, over all epochs.
    """

    name: str
    place: int
    varies: dict[str, str]
    seed: int
    student: str
    recipe: str
    pairs: int
    learning_rate: float | None
    fine_tuning_tokens: int | None
    reinforcement_tokens: int | None
    difficult: int
    settings: dict[str, Any]
    with_seed: list[str]
    only_difficult: list[str]
    questions: dict[str, str]
    scores: dict[str, dict[str, Scores]]

    @property
    def arm(self) -> str:
        """Return the arm that the run is judged by, the last that was trained."""
        return list(self.scores)[-1]

    @property
    def headline(self) -> str:
        """Return the benchmark that the run is judged by."""
        return next(iter(self.questions))


def result_of(run_dir: Path, name: str, place: int, varies: Mapping[str, str], with_seed: Sequence[str] = ()) -> Result:
    """Return what a finished run came to; raises UserError when the folder holds none."""
    run, profile = load_run(run_dir), _profile(run_dir)
    ids = _ids_of(run, profile)
    arms = [BASE, *reversed(run.arms)]
    costs, scored = run.costs or {}, run.evaluation["arms"][BASE]
    return Result(
        name=name,
        place=place,
        varies=dict(varies),
        seed=int(run.config["seed"]),
        student=Path(run.config["student"]["model"]).name,
        recipe=str(run.config["data_recipe"]["name"]),
        pairs=run.pairs - _replayed(run_dir),
        learning_rate=_learning_rate(run),
        fine_tuning_tokens=costs.get("fine_tuning_tokens"),
        reinforcement_tokens=costs.get("reinforcement_tokens"),
        difficult=profile.difficult,
        settings=settings_of(run.config),
        with_seed=list(with_seed),
        only_difficult=[key for key in ids if scored.get(key, {}).get("only_difficult")],
        questions={key: _hash(run, key, each) for key, each in ids.items()},
        scores={arm: {key: _scores(run, arm, key, each) for key, each in ids.items()} for arm in arms},
    )


def _learning_rate(run: RunResult) -> float | None:
    """Return the rate that the validation questions chose, where several were tried, else the one that was set."""
    choice = run.folder / "choice.json"
    if not choice.is_file():
        rate: float | None = run.config["train"].get("learning_rate")
        return rate
    tried = json.loads(choice.read_text(encoding="utf-8"))["candidates"]
    return next(float(each["learning_rate"]) for each in tried if each["chosen"])


def _replayed(run_dir: Path) -> int:
    """Return how many rows were trained on beside those of the training set."""
    trained = run_dir / "training.json"
    return int(json.loads(trained.read_text(encoding="utf-8"))["replay_rows"]) if trained.is_file() else 0


def _profile(run_dir: Path) -> SkillProfile:
    file = run_dir / "profile.json"
    try:
        return SkillProfile.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no profile of a student ({error}); run it again with until=evaluate") from error


def _ids_of(run: RunResult, profile: SkillProfile) -> dict[str, list[str]]:
    """Return the ids of the questions of each benchmark, the one that the run is judged by first."""
    scored = run.scores[BASE]
    names = [name for name in scored if all(name in run.scores[arm] for arm in run.arms)]
    first = headline_benchmark(run.config, names)
    found = {name: sorted(scored[name]) for name in sorted(names, key=lambda name: name != first)}
    if RETENTION in found and (retained := _retained(run, profile)):
        found[RETAINED] = retained
    return found


def _retained(run: RunResult, profile: SkillProfile) -> list[str]:
    missing = {gap.skill for gap in profile.skills if gap.rate >= NOT_MISSING_BELOW}
    questions = questions_of([run], RETENTION)
    return sorted(question.id for question in questions if missing.isdisjoint(question.skills or []))


def _scores(run: RunResult, arm: str, benchmark: str, ids: Sequence[str]) -> Scores:
    scores = run.scores[arm][_asked_as(benchmark)]
    return [scores.get(id) for id in ids]


def _hash(run: RunResult, benchmark: str, ids: Sequence[str]) -> str:
    """Return what two runs share that were asked the same questions: one id may be another question in another run."""
    texts = {question.id: question.question for question in questions_of([run], _asked_as(benchmark))}
    return hashlib.sha256(json.dumps([[id, texts.get(id)] for id in ids]).encode()).hexdigest()[:16]


def _asked_as(benchmark: str) -> str:
    return RETENTION if benchmark == RETAINED else benchmark


# -- the file ---------------------------------------------------------------------------------------------------------


def write_result(folder: Path, result: Result) -> None:
    """Write a run's raw results to a file of its name."""
    packed = {arm: {key: pack(each) for key, each in found.items()} for arm, found in result.scores.items()}
    values = {"stat_train": __version__, **result._asdict(), "scores": packed}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{result.name}.json", json.dumps(values, indent=1) + "\n")


def read_results(folder: Path) -> list[Result]:
    """Return the raw results in a folder, in the order of the sweep; raises UserError when there are none."""
    found = [read_result(file) for file in sorted(folder.glob("*.json"))]
    if not found:
        raise UserError(f"{folder}: holds no raw results (*.json) of a sweep; expected those that sweep.results names")
    return sorted(found, key=lambda result: (result.place, result.name))


def read_result(file: Path) -> Result:
    """Return the raw results in a file; raises UserError when there are none."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        values.pop("stat_train")
        packed = values.pop("scores")
        scores = {arm: {key: unpack(each) for key, each in found.items()} for arm, found in packed.items()}
        return Result(**values, scores=scores)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise UserError(f"{file}: no raw results of a run ({error}); make it again, or take it away") from error


def pack(scores: Scores) -> str | Scores:
    """Return scores as they are written: a short text where each is right, wrong or absent."""
    if any(score not in CHARACTERS for score in scores):
        return scores
    text = "".join(CHARACTERS[score] for score in scores)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(written: str | Scores) -> Scores:
    """Return the scores that were written."""
    if not isinstance(written, str):
        return list(written)
    return [VALUES[character] for character in zlib.decompress(base64.b64decode(written)).decode()]
