"""How long curation takes and how much memory it needs, for 10^5, 10^6 and 10^7 rows.

    python benchmarks/curation_scale.py [--rows 100000 1000000] [--only selection] [--limit-gib 2]

Each measurement is made in a process of its own, so that its peak memory is its own:

    decontamination   rows of about 45 words checked against 5,000 benchmark questions, on one core. One row in a
                      hundred is planted: a copy, one inside a longer text, or one with other numbers (goal: 10^6 rows
                      in 180 s and 2 GiB)
    selection         9,500 rows drawn by `stat_sel` for 5,000 pairs of a difficult question and a missing skill, from
                      a pool on disk of questions with one to three of 128 skills and 100 characters each: from opening
                      the pool to the questions drawn and their skills (goal: 10^7 rows in 20 s and 2 GiB)

Rows are made outside the time that is measured, a batch at a time. A pool on disk is mapped into memory: the peak
counts its pages too, although the kernel takes them back when it needs them, so the peak of private memory is told
beside it. With --limit-gib, selection runs in a memory cgroup of that size, and begins with no page of the pool in
memory (it needs the right to make a cgroup; without it, that is said and nothing is limited).

Cost: about two minutes for the default 10^5 and 10^6 rows; 10^7 rows take ten times as long, and selection then needs
4 GB of free disk in the temporary folder (TMPDIR).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "curation")]

BENCHMARK_QUESTIONS = 5000
BATCH_ROWS = 1000
PLANTED_SHARE = 0.01

POOL_BATCH_ROWS = 100_000
POOL_BYTES_PER_ROW = 350
SKILLS = [f"skill_{n:03d}" for n in range(128)]
DIFFICULT, MISSED_EACH, PAIRS = 2500, 2, 9500
CGROUPS = Path("/sys/fs/cgroup")

NAMES, COLOURS, THINGS, PLACES = (
    words.split()
    for words in (
        "Ada Ben Chloe Dev Ella Finn Gita Hugo Iris Jonas Kira Liam Mona Nils Olga Pia Quinn Rosa Sami Tess",
        "red blue green yellow white black brown golden silver grey orange purple pink striped spotted plain",
        "apples pencils marbles tickets stamps cookies books coins shells cards ribbons bottles plums keys",
        "market school garden station harbour library theatre museum bakery stadium",
    )
)
SENTENCES = (
    "{name} has {a} {things} and buys {b} more at the {place}.",
    "On each of {a} days {name} sells {b} {things} at the {place} for ${c} each.",
    "A box at the {place} holds {a} {things}, and {name} fills {b} boxes.",
    "{name} gives one {a}th of the {things} to the {place} and keeps the rest.",
    "Let $x$ be the number of {things} of {name}, where $x^{{2}} - {a}x + {b} = 0$ and $x > {c}$.",
    "The {place} is {a} miles away, and {name} walks ${b}.{c}$ miles per hour while carrying {things}.",
    "Together {name} and the {place} have $\\frac{{{a}}}{{{b}}}$ as many {things} as last year, when they had {c}.",
)
ASKED = (
    "How many {things} are there in the end?",
    "How much does {name} earn in dollars?",
    "What is $x + {a}$?",
    "How long does it take {name} to reach the {place}, in minutes?",
)


class Measured(NamedTuple):
    """What one measurement says; `private_gib` is the peak without the pages of mapped files, where it was watched."""

    seconds: float
    cpu_seconds: float
    peak_gib: float
    found: str
    private_gib: float | None = None


class Clock:
    """Adds up the time that passes inside it, and this process's share of it."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()
        self.cpu_seconds -= time.process_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()


def measured(clock: Clock, found: str) -> Measured:
    """Return what a clock shows, with the most memory that this process had."""
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Measured(clock.seconds, clock.cpu_seconds, peak_gib, found)


def question(random: Random) -> str:
    """Return a made-up word problem of two to four sentences."""
    words = {
        "name": random.choice(NAMES),
        "things": f"{random.choice(COLOURS)} {random.choice(THINGS)}",
        "place": random.choice(PLACES),
    }
    parts = [*random.sample(SENTENCES, random.randint(1, 3)), random.choice(ASKED)]
    numbers = ({letter: random.randint(2, 999) for letter in "abc"} for _ in parts)
    return " ".join(part.format_map(words | each) for part, each in zip(parts, numbers, strict=True))


def planted(random: Random, text: str) -> str:
    """Return a benchmark question as it might be found in a pool."""
    kind = random.randrange(3)
    if kind == 0:
        return text.upper().replace(" ", "  ")
    if kind == 1:
        return f'A friend of mine asked: "{text}" I could not answer.'
    return re.sub(r"\d+", lambda _: str(random.randint(2, 999)), text)


def batches(rows: int, benchmark: list[str]) -> Iterator[list[str]]:
    """Yield rows, a batch at a time; one in a hundred comes from the benchmark."""
    random = Random(1)
    for start in range(0, rows, BATCH_ROWS):
        yield [
            planted(random, random.choice(benchmark)) if random.random() < PLANTED_SHARE else question(random)
            for _ in range(min(BATCH_ROWS, rows - start))
        ]


def decontamination(rows: int) -> Measured:
    """Check all rows, preparation of the benchmark questions included."""
    from collections import Counter

    from stat_train.curation.decontamination import Decontaminator, HeldOut

    random = Random(0)
    benchmark = [question(random) for _ in range(BENCHMARK_QUESTIONS)]
    clock, found = Clock(), Counter[str]()
    with clock:
        decontaminator = Decontaminator(HeldOut(str(n), text, "benchmark") for n, text in enumerate(benchmark))
    for batch in batches(rows, benchmark):
        with clock:
            hits = decontaminator.check(batch)
        found.update(f"{hit.kind}, {hit.how}" for hit in hits if hit)
    return measured(clock, "; ".join(f"{count:,} {how}" for how, count in found.most_common()))


# -- selection --------------------------------------------------------------------------------------------------------


def write_pool(folder: Path, rows: int) -> None:
    """Write a pool and its skills as a run keeps them, many rows at a time."""
    import numpy
    import pyarrow
    from datasets import Features, List, Value

    from stat_train.records import Question
    from stat_train.tasks.load import POOL_SKILLS

    text = {name: Value("string") for name in Question.model_fields}
    schema = Features(text | {"level": Value("int64"), "skills": List(Value("string"))}).arrow_schema
    skill_schema = Features({"skills": List(Value("string"))}).arrow_schema
    generator = numpy.random.default_rng(0)
    pool = pyarrow.ipc.new_stream(str(folder / "pool.arrow"), schema)
    skill_map = pyarrow.ipc.new_stream(str(folder / POOL_SKILLS), skill_schema)
    with pool, skill_map:
        for start in range(0, rows, POOL_BATCH_ROWS):
            columns = pool_columns(range(start, min(rows, start + POOL_BATCH_ROWS)), generator)
            filled = [columns.get(field.name, pyarrow.nulls(len(columns["id"]), field.type)) for field in schema]
            pool.write_batch(pyarrow.RecordBatch.from_arrays(filled, schema=schema))
            skill_map.write_batch(pyarrow.RecordBatch.from_arrays([columns["skills"]], schema=skill_schema))


def pool_columns(numbers: range, generator: Any) -> dict[str, Any]:
    """Return the columns of some rows: question and solution have about 100 characters each."""
    import numpy
    import pyarrow

    asked = "A shop has {0} apples and sells {1} of them each day. After how many days are fewer than {1} left?"
    solved = "It sells {1} a day, and {0} = {1} * q + r with r below {1}. So after q days fewer than {1} are left."
    values = [(number, number % 89 + 11) for number in numbers]
    counts = generator.integers(1, 4, len(numbers))
    ends = numpy.concatenate([[0], numpy.cumsum(counts)]).astype(numpy.int32)
    # A question may name a skill twice, as a teacher may.
    names = pyarrow.array(SKILLS).take(pyarrow.array(generator.integers(0, len(SKILLS), ends[-1])))
    return {
        "id": pyarrow.array([f"question-{number}" for number in numbers]),
        "question": pyarrow.array([asked.format(*both) for both in values]),
        "answer": pyarrow.array([str(number // per_day) for number, per_day in values]),
        "solution": pyarrow.array([solved.format(*both) for both in values]),
        "skills": pyarrow.ListArray.from_arrays(ends, names),
    }


class PrivateMemory:
    """Watches how much memory of this process is no page of a mapped file (`RssAnon` of Linux)."""

    def __init__(self) -> None:
        self.peak_gib = 0.0
        self.done = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PrivateMemory:
        self.watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.watcher.join()

    def _watch(self) -> None:
        while True:
            found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
            self.peak_gib = max(self.peak_gib, int(found[1]) / 2**20 if found else 0.0)
            if self.done.wait(0.005):
                return


def select_rows(folder: Path, cgroup: Path | None) -> Measured:
    """Draw rows of a pool on disk for a student that misses skills, and read them."""
    if cgroup:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    from pools import diagnosed_of

    from stat_train.curation.rewriting import draws
    from stat_train.curation.source import fill, make_source, questions_at
    from stat_train.recipe_settings import StatSelRecipe
    from stat_train.tasks.load import open_pool, open_pool_skills

    random = Random(0)
    diagnosed = diagnosed_of({f"v{n}": random.sample(SKILLS, MISSED_EACH) for n in range(DIFFICULT)})
    settings = {"questions_per_skill": 5, "weight": "count", "answers_per_question": 3}
    recipe = StatSelRecipe(name="stat_sel", pairs=PAIRS, answers=None, allow_short=False, **settings)
    clock = Clock()
    with PrivateMemory() as private, clock:
        source, _ = make_source(open_pool(folder), open_pool_skills(folder), {5, 7})
        numbers, passes = draws(source, diagnosed, recipe, "rewrites", 0)
        rows = [draw.row for draw in fill(passes, PAIRS, numbers)[0]]
        questions, skills = questions_at(source.pool, rows), source.skills_at(rows)
    different = len({question.id for question in questions})
    found = f"{len(questions):,} rows drawn, of {different:,} questions that carry {sum(map(len, skills)):,} skills"
    return measured(clock, found)._replace(private_gib=private.peak_gib)


@contextmanager
def memory_cgroup(limit_gib: float | None) -> Iterator[Path | None]:
    """Give a memory cgroup with that limit, of either version; None where none is wanted or may be made."""
    first = (CGROUPS / "memory").is_dir()
    parent, limit = (CGROUPS / "memory", "memory.limit_in_bytes") if first else (CGROUPS, "memory.max")
    place = parent / f"curation_scale_{os.getpid()}"
    if limit_gib is None:
        yield None
        return
    try:
        place.mkdir()
        (place / limit).write_text(str(int(limit_gib * 2**30)))
    except OSError as error:
        print(f"no memory limit: a cgroup cannot be made here ({error})", flush=True)
        place.rmdir() if place.is_dir() else None
        yield None
        return
    try:
        yield place
    finally:
        place.rmdir()


def forget_pages(folder: Path) -> None:
    """Have the kernel drop its copies of these files from memory, so that whoever reads them is charged for it."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def selection(rows: int, limit_gib: float | None) -> Measured:
    """Write a pool in one process, select from it in another, and remove it."""
    needed = rows * POOL_BYTES_PER_ROW
    if (free := shutil.disk_usage(tempfile.gettempdir()).free) < 1.2 * needed:
        sys.exit(
            f"{tempfile.gettempdir()}: {free / 1e9:.1f} GB are free, a pool of {rows:,} rows takes {needed / 1e9:.1f}"
        )
    with tempfile.TemporaryDirectory() as name, memory_cgroup(limit_gib) as cgroup:
        in_own_process(write_pool, Path(name), rows)
        if cgroup:
            forget_pages(Path(name))
        try:
            done: Measured = in_own_process(select_rows, Path(name), cgroup)
        except BrokenProcessPool:
            sys.exit(f"selection: {rows:,} rows: killed by the kernel, {limit_gib} GiB are not enough")
    return done


# -- all of it --------------------------------------------------------------------------------------------------------


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a fresh process, started anew, for a forked one begins with the memory of this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Make the measurements, each in a process of its own, and print them."""
    names = ("decontamination", "selection")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**5, 10**6], help="how many rows")
    parser.add_argument("--only", choices=names, help="one measurement")
    parser.add_argument(
        "--limit-gib", type=float, help="a hard limit on the memory of selection, mapped pages included"
    )
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else names:
        for rows in arguments.rows:
            chosen = name == "selection"
            done = selection(rows, arguments.limit_gib) if chosen else in_own_process(decontamination, rows)
            spent = f"{done.seconds:,.1f} s ({done.cpu_seconds:,.1f} s of a core)"
            private = f", {done.private_gib:.2f} GiB of it private" if done.private_gib is not None else ""
            print(f"{name}: {rows:,} rows in {spent}, peak {done.peak_gib:.2f} GiB{private}", flush=True)
            print(f"  {done.found}", flush=True)


if __name__ == "__main__":
    main()
