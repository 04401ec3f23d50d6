"""What training does on average over its seeds: runs that differ in the seed alone, on the same questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stat_train.errors import StatTrainError
from stat_train.evaluation.statistics import (
    PairedDifference,
    expanded_tail,
    likelihood_bounds,
    paired_difference,
    require_shares,
    sign_flip_p,
)
from stat_train.intervals import TAIL

if TYPE_CHECKING:
    from numpy import float64, signedinteger
    from numpy.typing import NDArray

    Floats = NDArray[float64]
    Counts = NDArray[signedinteger[Any]]

# Enough for p values down to 5e-4, in a second for 1,000 questions.
RESAMPLES = 4000
# So many draws of a question are kept for the next comparison: 32 MB.
KEPT_DRAWS = 8_000_000
Scores = Sequence[float | None]
Method = Literal["questions", "bootstrap", "student_t"]


class SeedsDifference(NamedTuple):
    """The mean change over the training seeds, with 95 % bounds, a p value and the method that gave both.

    `n` questions count: those that are scored before and after in every seed. `left_out` are the others, so that
    n + left_out is how many were given. Methods: "questions" is the paired difference of a single seed, "bootstrap"
    draws seeds and questions anew, "student_t" takes each seed's change as one value. `per_seed` are these changes.
    The numbers are None without questions.
    """

    n: int
    left_out: int
    seeds: int
    per_seed: list[float]
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    method: Method


def over_seeds(
    pairs: Sequence[tuple[Scores, Scores]], seed: int = 0, resamples: int = RESAMPLES, with_p: bool = True
) -> SeedsDifference:
    """Return the mean change over seeds: `pairs` holds each seed's scores (before, after), all on the same questions.

    None is an unscored answer; its question counts in no seed, so that every seed has the same questions. Of the
    bootstrap over seeds and questions and Student's interval over the seeds' changes, the wider one counts. Without
    `with_p` several seeds have no p of the bootstrap, which takes as long as the bounds. Raises
    StatTrainError when the lists differ in length, or scores are not from 0 to 1.
    """
    scores, left_out = _scored_in_all(pairs)
    changes = scores[:, 1] - scores[:, 0]
    found, method = _wider(scores, changes, seed, resamples, with_p)
    per_seed = [float(change) for change in changes.mean(axis=1)] if found.n else []
    n, difference, low, high, p = found
    return SeedsDifference(n, left_out, len(scores), per_seed, difference, low, high, p, method)


def _scored_in_all(pairs: Sequence[tuple[Scores, Scores]]) -> tuple[Floats, int]:
    """Return the scores by seed, before or after, and question scored in all, and how many questions are not."""
    import numpy

    lengths = {len(scores) for pair in pairs for scores in pair}
    if len(lengths) != 1:
        raise StatTrainError(
            f"{len(pairs)} seeds with score lists of {sorted(lengths)} questions; expected at least one seed, and each "
            "with the same questions in the same order"
        )
    # None becomes not-a-number.
    scores = numpy.array(pairs, dtype=float)
    whole = scores[:, :, ~numpy.isnan(scores).any(axis=(0, 1))]
    require_shares(whole.ravel().tolist())
    return whole, lengths.pop() - whole.shape[2]


def _wider(scores: Floats, changes: Floats, seed: int, resamples: int, with_p: bool) -> tuple[PairedDifference, Method]:
    if len(scores) == 1 or not changes.size:
        before, after = scores[0].tolist()
        return paired_difference(before, after, seed, resamples), "questions"
    by_bootstrap, by_student = _bootstrapped(changes, seed, resamples, with_p), by_student_t(changes)
    return (by_bootstrap, "bootstrap") if _width(by_bootstrap) > _width(by_student) else (by_student, "student_t")


def _width(found: PairedDifference) -> float:
    return (found.high or 0.0) - (found.low or 0.0)


def _bootstrapped(changes: Floats, seed: int, resamples: int, with_p: bool) -> PairedDifference:
    """Return bounds and p from drawing seeds and questions anew; `changes` has a row a seed, a column a question.

    As a bootstrap is too narrow when few questions change, the bounds are never inside those over questions alone, of
    each question's mean over the seeds; nor is p below that of these means.
    """
    import numpy

    n, difference, by_question = changes.shape[1], float(changes.mean()), changes.mean(axis=0)
    low, high = likelihood_bounds(by_question, -1, 1)
    p = sign_flip_p(by_question, seed, resamples) if with_p else None
    if n > 1:
        means, tail = _drawn_means(changes, seed, resamples), expanded_tail(n)
        low, high = min(low, float(numpy.quantile(means, tail))), max(high, float(numpy.quantile(means, 1 - tail)))
        p = None if p is None else max(p, _bootstrap_p(means, n))
    return PairedDifference(n, difference, low, high, p)


def _drawn_means(changes: Floats, seed: int, resamples: int) -> Floats:
    """Return the mean change of each resample, whose questions are the same in all of its seeds (Owen 2007).

    Questions drawn anew for each seed would be taken for more questions than there are.
    """
    import numpy

    seeds, n = changes.shape
    drawn = _kept_draws(seeds, n, seed, resamples) if n * resamples <= KEPT_DRAWS else _draws(seeds, n, seed, resamples)
    return numpy.concatenate(
        [
            ((seed_counts @ changes) * question_counts).sum(axis=1) / (seeds * n)
            for seed_counts, question_counts in drawn
        ]
    )


def _draws(seeds: int, n: int, seed: int, resamples: int) -> Iterator[tuple[Counts, Counts]]:
    """Yield how often each seed, and each question, is in each resample."""
    import numpy

    random = numpy.random.default_rng(seed)
    # 200 at a time keep 5,000 questions within 20 MB.
    for size in (min(200, resamples - start) for start in range(0, resamples, 200)):
        seed_counts = random.multinomial(seeds, [1 / seeds] * seeds, size)
        yield seed_counts, random.multinomial(n, [1 / n] * n, size)


# A table of results compares many runs on the same questions, and drawing takes nearly all of the time.
@lru_cache(maxsize=2)
def _kept_draws(seeds: int, n: int, seed: int, resamples: int) -> list[tuple[Counts, Counts]]:
    drawn = _draws(seeds, n, seed, resamples)
    return [(seed_counts, question_counts.astype("int32")) for seed_counts, question_counts in drawn]


def _bootstrap_p(means: Floats, n: int) -> float:
    """Return 1 less the level at which the interval of the drawn means, expanded for n questions, just reaches 0."""
    import numpy
    from scipy.special import ndtri, stdtr

    beyond = (1 + min(numpy.count_nonzero(means <= 0), numpy.count_nonzero(means >= 0))) / (len(means) + 1)
    return min(1.0, 2 * float(stdtr(n - 1, float(ndtri(min(beyond, 0.5))) * math.sqrt((n - 1) / n))))


def by_student_t(changes: Floats) -> PairedDifference:
    """Return the interval and p of Student's t over the mean change of each seed; two seeds or more, one row a seed."""
    import numpy
    from scipy.special import stdtr, stdtrit

    seeds, n = changes.shape
    means = changes.mean(axis=1)
    difference, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(seeds)
    reach = -float(stdtrit(seeds - 1, TAIL)) * error
    p = 2 * float(stdtr(seeds - 1, -abs(difference) / error)) if error else float(not numpy.any(difference))
    return PairedDifference(n, difference, max(-1.0, difference - reach), min(1.0, difference + reach), p)
