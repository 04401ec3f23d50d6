"""The questions of a run: pool, validation set, benchmarks and the list of skills."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.config import Config
from stat_train.counts import Count, Counts, seen
from stat_train.errors import InputError
from stat_train.progress import track
from stat_train.records import Dropped, Question
from stat_train.store import content_hash, write_json, write_records
from stat_train.task_settings import ArithmeticBenchmark, ArithmeticTask, TextTask
from stat_train.tasks.arithmetic import world
from stat_train.tasks.arithmetic.mixes import MIXES, pool_weights
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.skill_files import skill_list
from stat_train.tasks.text import normalised, read_questions

# What is left out beside questions.
RECORDED = "recorded answer"
POOL_SKILLS = "pool_skills.arrow"
# The validation questions of other rounds, a file for each set.
OTHER_VALIDATION = "other_validation"

if TYPE_CHECKING:
    from datasets import Dataset


class OtherValidation(NamedTuple):
    """The validation sets of other rounds, none of which may be trained on or measured by.

    `made` is how many sets of made questions there were before; `places` are those that are read, as `task.validation`
    names them.
    """

    made: int = 0
    places: tuple[int | str, ...] = ()


NO_OTHERS = OtherValidation()


def validation_of(config: Config, number: int) -> int | str:
    """Return the validation set of a round: of those that are listed, the last stays."""
    listed = [config.task.validation, *_listed(config)]
    return listed[min(number, len(listed)) - 1]


def others_of(config: Config, number: int = 1) -> OtherValidation:
    """Return the validation sets of other rounds than this one.

    Those that are listed are all known before, so that no round trains on what a later one asks. None of it depends on
    how many rounds there are: one more changes nothing of those before.
    """
    if config.rounds.validation == "new":
        return OtherValidation(made=number - 1)
    every = dict.fromkeys([config.task.validation, *_listed(config)])
    return OtherValidation(places=tuple(each for each in every if each != validation_of(config, number)))


def _listed(config: Config) -> list[str]:
    return config.rounds.validation if isinstance(config.rounds.validation, list) else []


def load_questions(
    folder: Path,
    task: ArithmeticTask | TextTask,
    seed: int,
    recorded: Iterable[str] | None,
    others: OtherValidation = NO_OTHERS,
) -> Counts:
    """Write `pool.arrow`, `validation.jsonl`, `benchmarks/NAME.jsonl`, `skills.json` and `dropped.jsonl`.

    `recorded` are the ids that a recorded student answered: they are the validation set then, and leave the rest; so do
    the validation questions of other rounds, which are written to `other_validation/`. Returns how many questions there
    were, and how many are in those files.
    """
    given = None if recorded is None else list(recorded)
    if isinstance(task, ArithmeticTask):
        return _make_arithmetic(folder, task, seed, given, others.made)
    return _read_text(folder, task, given, others.places)


def validation_files(folder: Path) -> list[Path]:
    """Return the files of validation questions: the run's own, then those of other rounds."""
    others = folder / OTHER_VALIDATION
    return [folder / "validation.jsonl", *(sorted(others.iterdir()) if others.is_dir() else [])]


def made_by(task: ArithmeticTask | TextTask, seed: int, others: OtherValidation = NO_OTHERS) -> dict[str, Any] | None:
    """Return what decides the questions beside the settings of the task: for made ones, the seed and the world."""
    if isinstance(task, TextTask):
        return None
    rounds = {"validation_sets_before": others.made} if others.made else {}
    even = {"pool_world": world.fingerprint(pool_weights(task.mix, task.pool_evenness))} if task.pool_evenness else {}
    return {"seed": seed, "world": world.fingerprint(MIXES[task.mix])} | even | rounds


def skills_fingerprint(place: str) -> str:
    """Return what identifies a list of skills: what it says, wherever it is; raises InputError when it is none."""
    repeats: list[Dropped] = []
    return content_hash([skill_list(place, repeats), [row.detail for row in repeats]])


def open_pool(folder: Path) -> Dataset:
    """Return the pool, memory-mapped."""
    from datasets import Dataset

    return Dataset.from_file(str(folder / "pool.arrow"))


def write_pool_skills(folder: Path, pool: Dataset, skills: Mapping[str, Sequence[str]]) -> None:
    """Write the skills of the pool's questions row by row, so that a large pool's can be read without loading them."""
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    features = Features({"skills": List(Value("string"))})
    with ArrowWriter(path=str(folder / POOL_SKILLS), features=features) as writer:
        for batch in pool.select_columns(["id"]).iter(batch_size=1000):
            writer.write_batch({"skills": [list(skills.get(id, ())) for id in batch["id"]]})
        writer.finalize()


def open_pool_skills(folder: Path) -> Dataset:
    """Return the skills of the pool's questions (column `skills`, row by row like the pool), memory-mapped."""
    from datasets import Dataset

    return Dataset.from_file(str(folder / POOL_SKILLS))


def in_words(pool: Dataset) -> str:
    """Return how many questions a pool has, and how many have a solution and labels: a misspelled column shows."""
    from pyarrow import compute

    columns = pool.data
    solved = compute.sum(compute.greater(compute.utf8_length(columns.column("solution")), 0)).as_py() or 0
    labelled = compute.sum(compute.greater(compute.list_value_length(columns.column("skills")), 0)).as_py() or 0
    return f"{len(pool):,} pool questions: {solved:,} with a solution, {labelled:,} with labels"


def subject_counts(pool: Dataset) -> dict[str, int]:
    """Return how many questions of a pool each subject has; those without one are under `""`."""
    from pyarrow import compute

    rows = compute.value_counts(pool.data.column("subject")).to_pylist()
    return {row["values"] or "": row["counts"] for row in rows}


def pool_questions(pool: Dataset) -> Iterator[Question]:
    """Yield the pool's questions, read a thousand at a time (row by row is twenty times slower)."""
    for batch in pool.iter(batch_size=1000):
        for values in zip(*batch.values(), strict=True):
            yield Question.model_validate(dict(zip(batch, values, strict=True)))


def _make_arithmetic(
    folder: Path, task: ArithmeticTask, seed: int, recorded: Sequence[str] | None, sets_before: int
) -> Counts:
    steps = (task.min_steps, task.max_steps)
    mixed = world.Family(steps=steps, weights=MIXES[task.mix])
    _write_benchmarks(folder, {name: list(_arithmetic_benchmark(name, task, mixed)) for name in task.benchmarks})
    even = world.Family(steps=steps)
    # A longer list begins with the shorter one, so a further set changes nothing of those before.
    count = task.validation * (sets_before + 1)
    asked = list(world.questions(str(seed), "validation", "validation", count, even))
    *others, validation = (asked[start : start + task.validation] for start in range(0, count, task.validation))
    unknown: list[Dropped] = []
    if recorded is not None:
        validation, unknown = _recorded_validation(recorded, validation)
    _write_others(folder, others)
    write_records(folder / "validation.jsonl", validation)
    write_json(folder / "skills.json", {"": list(SKILL_NAMES)})
    write_records(folder / "dropped.jsonl", unknown)
    in_pool = world.Family(steps=steps, weights=pool_weights(task.mix, task.pool_evenness))
    pool = world.questions(str(seed), "pool", "pool", task.pool, in_pool)
    _write_pool(folder, track(pool, "Making questions", task.pool))
    made = task.pool + len(validation) + sum(map(task.benchmark_size, task.benchmarks))
    return {"question": Count(made, made)} | _recorded_count(recorded, unknown)


def _arithmetic_benchmark(name: ArithmeticBenchmark, task: ArithmeticTask, mixed: world.Family) -> Iterator[Question]:
    """Yield a benchmark's questions; they do not depend on the run's seed, so that seeds can be compared."""
    standard = world.Family(steps=(task.min_steps, task.max_steps))
    family = {"standard": standard, "retention": mixed}.get(name) or world.BENCHMARKS[name]
    return world.questions("benchmark", "benchmark", name, task.benchmark_size(name), family)


def _read_text(
    folder: Path, task: TextTask, recorded: Sequence[str] | None, other_places: Sequence[int | str]
) -> Counts:
    dropped: list[Dropped] = []
    skills = skill_list(task.skills, dropped)
    benchmark = _read(task.benchmark, task, dropped, "task.benchmark")
    validation = _validation(task.validation, benchmark, task, dropped) if recorded is None else []
    others = [_validation(place, benchmark, task, dropped, "rounds.validation") for place in other_places]
    taken = {question.id for question in validation} if recorded is None else set(recorded)
    taken |= {question.id for asked in others for question in asked}
    from_pool, in_pool = _stream_pool(folder, task, dropped, [*benchmark, *validation, *chain(*others)], taken)
    read = in_pool + len(from_pool) + len(benchmark) + (len(validation) if isinstance(task.validation, str) else 0)
    read += sum(row.item == "question" for row in dropped)
    if recorded is not None:
        validation, unknown = _recorded_validation(recorded, [*from_pool, *benchmark])
        dropped += unknown
    left = [question for question in benchmark if question.id not in taken]
    dropped += _in_both([*from_pool, *(question for question in benchmark if question.id in taken)], validation)
    if not left and recorded is None:
        raise InputError(
            f"task.validation = {task.validation}: holds every question of task.benchmark = {task.benchmark}; expected "
            "other questions, because those of the validation set leave the benchmark and the rest measures the gain"
        )
    _write_benchmarks(folder, {task.name: left})
    _write_others(folder, others)
    write_records(folder / "validation.jsonl", validation)
    write_json(folder / "skills.json", skills)
    write_records(folder / "dropped.jsonl", dropped)
    names = {"skill name": seen(sum(map(len, skills.values())), dropped, "skill name")} if skills else {}
    kept = {"question": Count(read, in_pool + len(left) + len(validation))}
    return kept | names | _recorded_count(recorded, dropped)


def _validation(
    place: int | str,
    benchmark: Sequence[Question],
    task: TextTask,
    dropped: list[Dropped],
    key: str = "task.validation",
) -> list[Question]:
    """Return a validation set: a file's questions, or so many of the benchmark's."""
    if isinstance(place, str):
        return _read(place, task, dropped, key)
    return _by_id_hash(benchmark, place)


def _write_others(folder: Path, others: Sequence[Sequence[Question]]) -> None:
    if others:
        (folder / OTHER_VALIDATION).mkdir(exist_ok=True)
    for number, questions in enumerate(others, 1):
        write_records(folder / OTHER_VALIDATION / f"validation-{number}.jsonl", questions)


def _in_both(taken: Iterable[Question], validation: Sequence[Question]) -> list[Dropped]:
    """Return the questions that leave pool or benchmark because a validation set has them from elsewhere."""
    there, own = set(map(id, validation)), {question.id for question in validation}
    reasons = {True: "is in the validation set too", False: "is in the validation set of another round"}
    left = [each for each in taken if id(each) not in there]
    return [Dropped(stage="questions", id=each.id, reason=reasons[each.id in own]) for each in left]


def _recorded_count(recorded: Sequence[str] | None, dropped: Sequence[Dropped]) -> Counts:
    if recorded is None:
        return {}
    return {RECORDED: Count(len(recorded), len(recorded) - sum(row.item == RECORDED for row in dropped))}


def _read(source: str, task: TextTask, dropped: list[Dropped], key: str) -> list[Question]:
    questions = list(read_questions(source, "test", task.fields, dropped, task.max_bad_rows, key))
    if not questions:
        raise InputError(f"{key} = {source}: holds no questions")
    return questions


def _stream_pool(
    folder: Path, task: TextTask, dropped: list[Dropped], measured: Sequence[Question], taken: set[str]
) -> tuple[list[Question], int]:
    """Write the pool as it is read, less the questions of the validation set; return those, and how many it holds."""
    known: dict[str, str] = {}
    shared = [q.id for q in measured if known.setdefault(q.id, normalised(q.question)) != normalised(q.question)]
    found, kept = list[Question](), 0

    def usable() -> Iterator[Question]:
        nonlocal kept
        for question in read_questions(task.pool, "train", task.fields, dropped, task.max_bad_rows, "task.pool"):
            if known.get(question.id, normalised(question.question)) != normalised(question.question):
                shared.append(question.id)
            if question.id in taken:
                found.append(question)
            else:
                kept += 1
                yield question

    _write_pool(folder, usable())
    if shared:
        raise InputError(
            f"task.fields.id: {len(shared)} ids (such as {min(shared)!r}) name different questions in task.pool, "
            "task.benchmark or task.validation; expected each question to have an id of its own. With "
            "task.fields.id=null a row is known by its file's name and its line"
        )
    if not kept:
        raise InputError(f"task.pool = {task.pool}: holds no questions beside those of the validation set")
    return found, kept


def _recorded_validation(
    recorded: Sequence[str], questions: Sequence[Question]
) -> tuple[list[Question], list[Dropped]]:
    known = {question.id: question for question in questions}
    found = [known[identifier] for identifier in recorded if identifier in known]
    if not found:
        raise InputError(
            f"student.path: none of its {len(recorded)} ids (such as {recorded[0]!r}) is a question of the task; "
            f"expected ids of task.benchmark or task.pool, such as {questions[0].id!r}"
        )
    unknown = [identifier for identifier in recorded if identifier not in known]
    reason = "recorded answer to an unknown question"
    return found, [Dropped(stage="questions", id=id, reason=reason, item=RECORDED) for id in unknown]


def _by_id_hash(benchmark: Sequence[Question], count: int) -> list[Question]:
    """Return `count` questions chosen by the hash of their id, so that the choice is the same for everyone."""
    if count >= len(benchmark):
        raise InputError(
            f"task.validation = {count}: expected fewer than the benchmark's {len(benchmark)} questions, because the "
            "rest of them measures the gain"
        )
    return sorted(benchmark, key=lambda question: hashlib.sha256(question.id.encode()).digest())[:count]


def _write_benchmarks(folder: Path, benchmarks: Mapping[str, Sequence[Question]]) -> None:
    (folder / "benchmarks").mkdir(exist_ok=True)
    for name, questions in benchmarks.items():
        write_records(folder / "benchmarks" / f"{name}.jsonl", questions)


def _write_pool(folder: Path, questions: Iterable[Question]) -> None:
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    text = {name: Value("string") for name in Question.model_fields}
    features = Features(text | {"level": Value("int64"), "skills": List(Value("string"))})
    with ArrowWriter(path=str(folder / "pool.arrow"), features=features) as writer:
        for question in questions:
            writer.write(question.model_dump())
        writer.finalize()
