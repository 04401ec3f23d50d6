"""Made-up questions in the place of those that nobody has read yet, so that a run is planned without network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from stat_train import pipeline
from stat_train.compose import Settings, changed
from stat_train.config import BenchmarkSettings, Config, RecordedStudent, local_path
from stat_train.models.recorded import read_recording
from stat_train.plan.known import CHARACTERS_PER_TOKEN
from stat_train.plan.look import Look
from stat_train.recipe_settings import HardRecipe
from stat_train.records import Dropped
from stat_train.store import write_text
from stat_train.task_settings import FieldNames, TextTask
from stat_train.tasks.skill_files import skill_list
from stat_train.train_contradictions import PROMPTS
from stat_train.train_settings import GrpoTraining

# Four characters and one token.
WORD = "and "
OWN_PLACES = ("pool", "validation", "benchmark")


class StandIns(NamedTuple):
    """What a file of made-up questions is like: how long they are, and from which subjects and levels in turn."""

    folder: Path
    question_tokens: int
    solution_tokens: int
    subjects: Sequence[str]
    levels: Sequence[int]


@contextmanager
def look_at(settings: Settings) -> Iterator[tuple[Look, list[str]]]:
    """Yield a look at the run, and what it takes for granted of questions.

    Numbers of questions in the settings (plan.pool_questions and its like) stand for those on the hub that no run with
    this `cache_dir` has read; all else is looked at as it is.
    """
    if not _far_sizes(settings.config) or _were_read(settings):
        with Look(settings) as look:
            yield look, []
        return
    with TemporaryDirectory() as folder:
        made = _with_stand_ins(settings, Path(folder))
        with Look(made, apart=Path(folder)) as look:
            yield look, [_in_words(settings.config)]


def benchmark_size(config: Config, name: str) -> int | None:
    """Return how many questions a benchmark is said to have; None where the settings do not say."""
    given = config.plan.benchmark_questions
    return given.get(name) if isinstance(given, dict) else given


def _far_sizes(config: Config) -> dict[str, int]:
    """Return the numbers of questions that the settings give for places on the hub, by setting."""
    task, plan = config.task, config.plan
    if not isinstance(task, TextTask):
        return {}
    sizes = (plan.pool_questions, plan.validation_questions, benchmark_size(config, task.name))
    given = {f"task.{key}": (getattr(task, key), size) for key, size in zip(OWN_PLACES, sizes, strict=True)}
    for name, each in config.benchmark.items():
        given[f"benchmark.{name}"] = (each.path, benchmark_size(config, name))
    return {key: size for key, (place, size) in given.items() if size and _is_far(place)}


def _is_far(place: Any) -> bool:
    return isinstance(place, str) and not local_path(place).exists()


def _were_read(settings: Settings) -> bool:
    with Look(settings, reads=False) as look:
        return look.made(pipeline.load) is not None


def _with_stand_ins(settings: Settings, folder: Path) -> Settings:
    """Return the settings with files of made-up questions for all that is on the hub and has a number."""
    config, task = settings.config, settings.config.task
    assert isinstance(task, TextTask)
    sizes, like = _far_sizes(config), _like(config, folder)
    own = {key: sizes[f"task.{key}"] for key in OWN_PLACES if f"task.{key}" in sizes}
    ids = {"benchmark": _recorded_ids(config)}
    places = {key: _written(like, key, task.fields, size, ids.get(key, ())) for key, size in own.items()}
    benchmarks = {name: _benchmark(like, name, each, sizes) for name, each in config.benchmark.items()}
    rl, against = config.rl, config.decontaminate.against
    if isinstance(rl, GrpoTraining) and rl.prompts not in PROMPTS and _is_far(rl.prompts):
        rl = rl.model_copy(update={"prompts": "pool"})
    held_out = config.decontaminate.model_copy(update={"against": [each for each in against if not _is_far(each)]})
    changes = {"task": task.model_copy(update=places), "benchmark": benchmarks, "rl": rl, "decontaminate": held_out}
    return changed(settings, **changes)


def _like(config: Config, folder: Path) -> StandIns:
    plan, recipe, task = config.plan, config.data_recipe, config.task
    listed = skill_list(task.skills, list[Dropped]()) if isinstance(task, TextTask) else {}
    subjects = [subject for subject in listed if subject] if listed else [f"subject {n}" for n in range(plan.subjects)]
    levels = recipe.levels if isinstance(recipe, HardRecipe) else [1]
    return StandIns(folder, plan.pool_question_tokens, plan.pool_solution_tokens, subjects, levels)


def _recorded_ids(config: Config) -> list[str]:
    """Return the ids that a recorded student answered, which questions of the task must have."""
    student = config.student
    return list(read_recording(Path(student.path).expanduser())) if isinstance(student, RecordedStudent) else []


def _benchmark(like: StandIns, name: str, given: BenchmarkSettings, sizes: Mapping[str, int]) -> BenchmarkSettings:
    size = sizes.get(f"benchmark.{name}")
    return given.model_copy(update={"path": _written(like, name, given.fields, size)}) if size else given


def _written(like: StandIns, name: str, fields: FieldNames, count: int, ids: Sequence[str] = ()) -> str:
    """Write a file of made-up questions; return its path."""
    known = dict(enumerate(ids))
    rows = (_row(like, name, fields, number, known.get(number)) for number in range(count))
    place = like.folder / f"made-up-{name}.jsonl"
    write_text(place, "".join(json.dumps(row) + "\n" for row in rows))
    return str(place)


def _row(like: StandIns, name: str, fields: FieldNames, number: int, id: str | None) -> dict[str, Any]:
    title = f"{name} {number}: "
    values = {
        "id": id or f"{name}-{number}",
        "question": _text(title, like.question_tokens),
        "answer": "7",
        "solution": _text("", like.solution_tokens) + "\\boxed{7}",
        "subject": like.subjects[number % len(like.subjects)] if like.subjects else None,
        "level": like.levels[number % len(like.levels)],
    }
    return {column: values[key] for key, column in fields.model_dump().items() if column and values.get(key)}


def _text(start: str, tokens: int) -> str:
    return start + WORD * (tokens - math.ceil(len(start) / CHARACTERS_PER_TOKEN))


def _in_words(config: Config) -> str:
    sizes = ", ".join(f"{size:,} of {key}" for key, size in _far_sizes(config).items())
    lengths = f"{config.plan.pool_question_tokens} tokens, solutions of {config.plan.pool_solution_tokens}"
    return f"the questions were not read: {sizes}; each has about {lengths} and no labels (plan.*)"
