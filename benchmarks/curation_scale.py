"""How long curation takes and how much memory it needs, for 10^5, 10^6 and 10^7 rows.

    python benchmarks/curation_scale.py [--rows 100000 1000000] [--only decontamination]

Each measurement is made in a process of its own, so that its peak memory is its own:

    decontamination   rows of about 45 words checked against 5,000 benchmark questions, on one core. One row in a
                      hundred is planted: a copy, one inside a longer text, or one with other numbers (goal: 10^6 rows
                      in 180 s and 2 GiB)

Rows are made outside the time that is measured, a batch at a time. Cost: about two minutes for the default 10^5 and
10^6 rows; 10^7 rows take ten times as long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

BENCHMARK_QUESTIONS = 5000
BATCH_ROWS = 1000
PLANTED_SHARE = 0.01

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
    """What one measurement says."""

    seconds: float
    cpu_seconds: float
    peak_gib: float
    found: str


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


MEASUREMENTS: dict[str, Callable[[int], Measured]] = {"decontamination": decontamination}


def main() -> None:
    """Make the measurements, each in a process of its own, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**5, 10**6], help="how many rows")
    parser.add_argument("--only", choices=list(MEASUREMENTS), help="one measurement")
    arguments = parser.parse_args()
    chosen = [arguments.only] if arguments.only else list(MEASUREMENTS)
    for name in chosen:
        for rows in arguments.rows:
            # A fresh process each, started anew, for a forked one begins with the memory of this one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                done = pool.apply(MEASUREMENTS[name], (rows,))
            spent = f"{done.seconds:,.1f} s ({done.cpu_seconds:,.1f} s of a core)"
            print(f"{name}: {rows:,} rows in {spent}, peak {done.peak_gib:.2f} GiB\n  {done.found}", flush=True)


if __name__ == "__main__":
    main()
