"""Whether intervals hold what they should and tests see what is there: simulated benchmarks with a planted truth.

    python benchmarks/statistics_truth.py [--runs 500]

Each line simulates so many evaluations before and after a training and hands the scores to the functions that a run
uses (`stat_train/evaluation/statistics.py`, `over_seeds.py`). "Found" is the share with p of at most 5 %: without an
effect those are false positives, with one it is the power. "Held" is the share of 95 % intervals that hold the truth,
"bootstrap" that of plain percentile bootstraps of the same scores, "width" the mean width of ours.

Right or wrong: a share of the questions changes, more of them to right than to wrong by the effect. Averages: chances
of a right answer are Beta(0.2, 0.6), most near 0; training moves their log-odds by a mean and a spread between
questions, or turns one question in 25 around ("rare"). Seeds: each training seed and each question moves the log-odds
on its own.

Writes benchmarks/results/statistics_truth.md. Cost: about three minutes on one core.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from scipy.special import expit, logit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stat_train.evaluation.over_seeds import over_seeds  # noqa: E402
from stat_train.evaluation.statistics import paired_difference  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "statistics_truth.md"
Floats = NDArray[numpy.float64]
QUESTIONS = (30, 100, 500, 4000)
DISCORDANT = (0.02, 0.05, 0.1, 0.2, 0.4)
EFFECTS = (0.0, 0.02, 0.05, 0.1)
SAMPLES = 64
# Mean and spread of what is added to a question's log-odds.
MOVES = {"none": (0.0, 0.0), "even": (0.3, 0.0), "spread": (0.3, 0.5), "uneven": (0.7, 1.0)}
RARE = "rare"
# Spread of the log-odds between seeds, and between questions.
SEED_SPREADS = ((0.0, 0.0), (0.2, 0.3), (0.6, 0.3))
# So many flips or draws each: p values in steps of 1 %, which is fine enough for a share at 5 %.
RESAMPLES = 199
DRAWS = 499
SEED_RUNS_SHARE = 0.5
SEED_QUESTIONS = (30, 200)


class Outcome(NamedTuple):
    """What the runs of one line gave."""

    found: float
    held: float
    width: float


def main() -> None:
    """Simulate, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="simulated evaluations a line")
    runs = parser.parse_args().runs
    text = "\n".join(_report(runs))
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def _report(runs: int) -> Iterator[str]:
    yield "# Whether intervals hold and tests find what is there"
    yield ""
    yield f"`python benchmarks/statistics_truth.py --runs {runs}`: {runs} simulated evaluations a line,"
    yield f"{_of_seeds(runs)} where there are several seeds. Found: p of at most 5 %; without an effect these are false"
    yield "positives, with one the power. Held: 95 % intervals that hold the truth; bootstrap: plain percentile ones."
    yield "All in %, effects and widths in points. By chance a share of 95 % shows as one of up to"
    yield f"{_noise(runs)} less or more, with several seeds {_noise(_of_seeds(runs))}, now and then a little further."
    yield from _table(
        "Right or wrong", ("n", "discordant", "effect", "found", "held", "width", "bootstrap"), _binary(runs)
    )
    yield from _table(
        f"Averages of {SAMPLES} samples",
        ("n", "change", "effect", "found", "held", "width", "bootstrap"),
        _averages(runs),
    )
    yield from _table(
        "Several seeds: spread of log-odds between seeds, between questions",
        ("seeds", "n", "samples", "spread", "effect", "found", "held", "width", "Student's"),
        _several_seeds(_of_seeds(runs)),
    )


def _table(title: str, head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield from ("", title, "", f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}")
    for row in rows:
        print(title, *row, file=sys.stderr, flush=True)
        yield f"| {' | '.join(row)} |"


def _binary(runs: int) -> Iterator[Sequence[str]]:
    random = numpy.random.default_rng(0)
    for n in QUESTIONS:
        for discordant in DISCORDANT:
            for effect in (effect for effect in EFFECTS if effect <= discordant):
                shares = [(discordant + effect) / 2, (discordant - effect) / 2, 1 - discordant]
                counts = random.multinomial(n, shares, runs)
                ours = _outcome([_of_counts(int(gained), int(lost), n) for gained, lost, _ in counts], effect)
                drawn = [random.multinomial(n, row / n, DRAWS) @ (1, -1, 0) / n for row in counts]
                yield (
                    str(n),
                    _percent(discordant, 0),
                    _percent(effect, 0),
                    *_cells(ours),
                    _percent(_held(drawn, effect)),
                )
        _of_counts.cache_clear()


@cache
def _of_counts(gained: int, lost: int, n: int) -> Any:
    same = n - gained - lost
    return paired_difference([0] * gained + [1] * lost + [0] * same, [1] * gained + [0] * lost + [0] * same)


def _averages(runs: int) -> Iterator[Sequence[str]]:
    random = numpy.random.default_rng(1)
    for n in QUESTIONS[:3]:
        for kind in (*MOVES, RARE):
            truth = float(numpy.subtract(*_chances(kind, (400, 1000), random)[::-1]).mean()) if kind != "none" else 0.0
            before, after = (
                random.binomial(SAMPLES, chances) / SAMPLES for chances in _chances(kind, (runs, n), random)
            )
            pairs = zip(before, after, strict=True)
            ours = _outcome([paired_difference(*pair, resamples=RESAMPLES) for pair in pairs], truth)
            drawn = [random.multinomial(n, [1 / n] * n, DRAWS) @ changes / n for changes in after - before]
            yield str(n), kind, _percent(truth), *_cells(ours), _percent(_held(drawn, truth))


def _chances(kind: str, shape: tuple[int, int], random: numpy.random.Generator) -> tuple[Floats, Floats]:
    before = numpy.clip(random.beta(0.2, 0.6, shape), 1e-9, 1 - 1e-9)
    if kind == RARE:
        return before, numpy.where(random.random(shape) < 0.04, 1 - before, before)
    mean, spread = MOVES[kind]
    return before, expit(logit(before) + random.normal(mean, spread, shape))


def _several_seeds(runs: int) -> Iterator[Sequence[str]]:
    random = numpy.random.default_rng(2)
    for seeds in (2, 3, 5):
        for n in SEED_QUESTIONS:
            for samples in (1, SAMPLES):
                for spreads in SEED_SPREADS:
                    for shift in (0.0, 0.5):
                        yield _seeds_row((seeds, n), samples, spreads, shift, runs, random)


def _seeds_row(
    shape: tuple[int, int],
    samples: int,
    spreads: tuple[float, float],
    shift: float,
    runs: int,
    random: numpy.random.Generator,
) -> Sequence[str]:
    results = []
    for _ in range(runs):
        chances = numpy.clip(random.beta(0.4, 0.6, shape[1]), 1e-3, 1 - 1e-3)
        moved = (
            logit(chances)
            + shift
            + random.normal(0, spreads[0], (shape[0], 1))
            + random.normal(0, spreads[1], shape[1])
        )
        before, after = (random.binomial(samples, chance) / samples for chance in (chances, expit(moved)))
        results.append(over_seeds([(before, row) for row in after], resamples=RESAMPLES))
    many = numpy.clip(random.beta(0.4, 0.6, 400_000), 1e-3, 1 - 1e-3)
    moved = logit(many) + shift + random.normal(0, numpy.hypot(*spreads), len(many))
    truth = float((expit(moved) - many).mean())
    student = numpy.mean([result.method == "student_t" for result in results])
    spread = f"{spreads[0]}, {spreads[1]}"
    cells = _cells(_outcome(results, truth))
    return str(shape[0]), str(shape[1]), str(samples), spread, _percent(truth), *cells, _percent(float(student), 0)


def _of_seeds(runs: int) -> int:
    return max(1, round(SEED_RUNS_SHARE * runs))


def _noise(runs: int) -> str:
    return _percent(1.96 * math.sqrt(0.95 * 0.05 / runs))


def _outcome(results: Sequence[Any], truth: float) -> Outcome:
    low, high, p = (numpy.array([getattr(result, name) for result in results]) for name in ("low", "high", "p"))
    held = (low <= truth) & (truth <= high)
    return Outcome(float((p <= 0.05).mean()), float(held.mean()), float((high - low).mean()))


def _held(drawn: Sequence[Floats], truth: float) -> float:
    """Return how many plain percentile intervals of the drawn means hold the truth."""
    bounds = numpy.quantile(numpy.array(drawn), [0.025, 0.975], axis=1)
    return float(((bounds[0] <= truth + 1e-9) & (truth - 1e-9 <= bounds[1])).mean())


def _cells(outcome: Outcome) -> tuple[str, str, str]:
    return _percent(outcome.found), _percent(outcome.held), _percent(outcome.width)


def _percent(share: float, digits: int = 1) -> str:
    # Adding 0 takes the sign off -0.
    return f"{round(100 * share, digits) + 0.0:.{digits}f}"


if __name__ == "__main__":
    main()
