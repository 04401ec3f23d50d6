"""The questions of a run: read as the run reads them, and kept in `cache_dir` as its own first stages keep them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stat_train import pipeline
from stat_train.benchmarks import benchmark_questions
from stat_train.compose import Settings
from stat_train.config import Config, is_local, local_path
from stat_train.errors import StatTrainError
from stat_train.evaluation.harness import hub_data, require_tasks
from stat_train.plan.look import Look
from stat_train.prefetch.item import Item
from stat_train.run import Build, Summary
from stat_train.store import Artifact
from stat_train.task_settings import TextTask
from stat_train.train_contradictions import PROMPTS
from stat_train.train_settings import GrpoTraining


class _Fetching(Look):
    """A look at a run that knows which artifacts it made or found, by stage."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.seen: dict[str, Artifact] = {}

    def make(
        self, name: str, version: int, inputs: Sequence[Artifact], identity: Summary, build: Build, *links: str
    ) -> Artifact:
        """Return a stage's result; what is made and found again was made."""
        found = super().make(name, version, inputs, identity, build, *links)
        return self.seen.setdefault(name, found)


def fetch_questions(settings: Settings) -> Iterator[Item]:
    """Read all questions as the run will; yield for each setting that names some what came of it."""
    places, failed = places_of(settings.config), {}
    with _Fetching(settings) as look:
        try:
            questions = pipeline.load(look)
            benchmark_questions(look, questions)
            if settings.config.reaches("curate"):
                pipeline.decontaminate(look, questions)
        except StatTrainError as error:
            named = next((each for each in places if str(error).startswith(" = ".join(each))), None)
            if named is None:
                # It is no matter of one place, so the run would end of it too.
                raise
            failed = {named: " ".join(str(error).partition(": ")[2].split())}
        seen = look.seen
    reached = True
    for key, place in places:
        reached = reached and (key, place) not in failed
        why = failed.get((key, place), "" if reached else "not tried: what is above failed")
        yield _item(key, place, seen, why)


def _item(key: str, place: str, seen: dict[str, Artifact], why: str) -> Item:
    if is_local(place) or local_path(place).exists():
        return Item(key, place, "questions", "local", str(local_path(place)))
    if why:
        return Item(key, place, "questions", "failed", why=why)
    stage = _kept_in(key)
    if stage is None or stage not in seen:
        # These are read again by the run, from the copy that the library for data sets keeps.
        from datasets.config import HF_DATASETS_CACHE

        return Item(key, place, "questions", "fetched", str(HF_DATASETS_CACHE))
    made = seen[stage]
    size = sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())
    return Item(key, place, "questions", "here" if made.reused else "fetched", str(made.folder), size)


def _kept_in(key: str) -> str | None:
    """Return the stage that keeps the questions of a setting."""
    if key.startswith(("task.", "rounds.")):
        return "questions"
    return {"benchmark": "benchmark_questions", "decontaminate": "decontaminate"}.get(key.partition(".")[0])


def places_of(config: Config) -> list[tuple[str, str]]:
    """Return the settings that name questions, in the order in which they are read, each with its place."""
    task, rl = config.task, config.rl
    found: list[tuple[str, str]] = []
    if isinstance(task, TextTask):
        later = config.rounds.validation if isinstance(config.rounds.validation, list) else []
        given = [("task.benchmark", task.benchmark), ("task.validation", task.validation)]
        given += [*(("rounds.validation", place) for place in later), ("task.pool", task.pool)]
        found += [(key, place) for key, place in given if isinstance(place, str)]
    found += [(f"benchmark.{name}.path", each.path) for name, each in config.benchmark.items() if each.path]
    if config.reaches("curate"):
        found += [("decontaminate.against", place) for place in config.decontaminate.against]
    if isinstance(rl, GrpoTraining) and rl.prompts not in PROMPTS and config.reaches("rl"):
        found.append(("rl.prompts", rl.prompts))
    return found


def fetch_harness(config: Config) -> Iterator[Item]:
    """Fetch the data of the tasks of lm-evaluation-harness, as far as they name data sets of the hub."""
    if not (config.evaluate.harness and config.reaches("evaluate")):
        return
    own = config.evaluate.harness_tasks
    folder = Path(own).expanduser().absolute() if own else None
    require_tasks(config.evaluate.harness, folder)
    for task in config.evaluate.harness:
        named = hub_data(task, folder)
        if not named:
            yield Item("evaluate.harness", task, "harness task", "local", "files of its own")
        for path, part in named:
            yield _harness_item(task, path, part)


def _harness_item(task: str, path: str, part: str | None) -> Item:
    import datasets

    name = f"{task}: {path}{f' ({part})' if part else ''}"
    try:
        datasets.load_dataset(path, part)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Item("evaluate.harness", name, "harness task", "failed", why=reason)
    return Item("evaluate.harness", name, "harness task", "fetched", str(datasets.config.HF_DATASETS_CACHE))
