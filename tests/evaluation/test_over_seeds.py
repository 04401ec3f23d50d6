"""The mean change over training seeds: worked out by hand, and in simulations where seeds and questions differ."""

from __future__ import annotations

from math import sqrt

import numpy
import pytest
from scipy.special import expit, logit
from scipy.stats import ttest_1samp

from stat_train.errors import StatTrainError
from stat_train.evaluation.over_seeds import Scores, SeedsDifference, over_seeds
from stat_train.evaluation.statistics import likelihood_bounds, paired_difference


def seeds_of(n: int, *gained: int) -> list[tuple[Scores, Scores]]:
    """Return a pair of score lists for each seed, of n questions of which it gained the first so many."""
    return [([0.0] * n, [1.0] * count + [0.0] * (n - count)) for count in gained]


def test_one_seed_is_the_paired_difference_over_questions() -> None:
    before, after = [0.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0, 1.0]
    found, paired = over_seeds([(before, after)]), paired_difference(before, after)
    assert (found.n, *found[4:]) == (*paired, "questions")
    assert (found.seeds, found.left_out, found.per_seed) == (1, 0, [pytest.approx(2 / 5)])


def test_seeds_that_differ_much_have_students_interval() -> None:
    """Changes of 10, 30 and 80 % of 400 questions: mean 0.4, standard error sqrt(0.13 / 3), t = 4.303 for 2 degrees."""
    found = over_seeds(seeds_of(400, 40, 120, 320), resamples=200)
    reach = 4.302653 * sqrt((0.3**2 + 0.1**2 + 0.4**2) / 2 / 3)
    assert found.method == "student_t"
    assert (found.difference, found.low, found.high) == pytest.approx((0.4, 0.4 - reach, min(1, 0.4 + reach)))
    assert found.p == pytest.approx(ttest_1samp([0.1, 0.3, 0.8], 0).pvalue)
    assert found.per_seed == [0.1, 0.3, 0.8]


def test_seeds_that_agree_have_the_interval_over_questions() -> None:
    """Each gains the same 30 of 60: as seeds do not differ, questions alone are drawn, 60 of them and not 180.

    So the bounds are at least those of 60 values, half 0 and half 1, and about 0.5 -+ 2 * 0.5 / sqrt(60).
    """
    found = over_seeds(seeds_of(60, 30, 30, 30), resamples=2000)
    low, high = likelihood_bounds([1.0] * 30 + [0.0] * 30, -1, 1)
    assert (found.method, found.difference) == ("bootstrap", 0.5)
    assert found.low is not None and found.high is not None
    assert found.low <= low and found.high >= high
    assert (found.low, found.high) == pytest.approx((0.5 - 1 / sqrt(60), 0.5 + 1 / sqrt(60)), abs=0.03)
    assert found.p is not None and found.p < 0.01


def test_bounds_are_the_same_from_kept_draws_and_without_a_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of the same size draws the same; the second time, and for another change, from what was kept."""
    fresh, other = seeds_of(60, 30, 30, 30), seeds_of(60, 10, 12, 11)
    monkeypatch.setattr("stat_train.evaluation.over_seeds.KEPT_DRAWS", 0)
    expected = [over_seeds(each, resamples=300) for each in (fresh, other)]
    monkeypatch.undo()
    assert [over_seeds(each, resamples=300) for each in (fresh, other, fresh)] == [*expected, expected[0]]
    without = over_seeds(fresh, resamples=300, with_p=False)
    assert without == expected[0]._replace(p=None) and expected[0].p is not None


def test_seeds_that_changed_nothing_are_not_certain() -> None:
    found = over_seeds([([0.5, 1.0, 0.0] * 10, [0.5, 1.0, 0.0] * 10)] * 3, resamples=200)
    assert found.low is not None and found.high is not None
    assert (found.difference, found.p, found.method) == (0.0, 1.0, "bootstrap")
    assert found.low == pytest.approx(-found.high) and found.high > 0.05


def test_questions_that_a_seed_did_not_score_count_in_none() -> None:
    first: tuple[Scores, Scores] = ([0.0, None, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0, 0.0])
    second: tuple[Scores, Scores] = ([0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 1.0, None, 1.0, 1.0])
    found = over_seeds([first, second], resamples=200)
    assert (found.n, found.left_out, found.seeds) == (3, 2, 2)
    assert found.per_seed == [pytest.approx(1 / 3), pytest.approx(1 / 3)]
    # The questions 0, 3 and 4.
    kept = over_seeds([([0.0, 1.0, 0.0], [1.0, 1.0, 0.0]), ([0.0, 1.0, 0.0], [0.0, 1.0, 1.0])], resamples=200)
    assert found == kept._replace(left_out=2)


def test_a_single_question_is_bounded_by_the_scale() -> None:
    found = over_seeds(seeds_of(1, 1, 1, 1), resamples=200)
    assert (found.difference, found.low, found.high, found.p) == (1.0, -1.0, 1.0, 1.0)


def test_without_questions_there_is_no_difference() -> None:
    assert over_seeds([([None], [1.0]), ([0.0], [1.0])]) == SeedsDifference(
        0, 1, 2, [], None, None, None, None, "questions"
    )


@pytest.mark.parametrize("pairs", [[], [([0.0], [1.0]), ([0.0, 1.0], [1.0, 1.0])], [([0.0], [1.0, 1.0])]])
def test_seeds_of_different_questions_are_refused(pairs: list[tuple[Scores, Scores]]) -> None:
    with pytest.raises(StatTrainError, match="same questions in the same order"):
        over_seeds(pairs)


def test_scores_that_are_no_shares_are_refused() -> None:
    with pytest.raises(StatTrainError, match=r"1 of 4 scores are not shares \(the first: 1.5\)"):
        over_seeds([([0.0, None], [1.0, 2.0]), ([0.0, 1.0], [1.5, 1.0])])


# Spread of log-odds between seeds and between questions.
@pytest.mark.parametrize(
    ("seeds", "n", "samples", "spread"),
    [
        (3, 30, 1, (0.0, 0.0)),
        (3, 60, 1, (0.6, 0.3)),
        (5, 60, 1, (0.6, 0.3)),
        (2, 30, 64, (0.6, 0.3)),
        (3, 30, 64, (0.2, 0.3)),
    ],
)
def test_simulated_seeds(seeds: int, n: int, samples: int, spread: tuple[float, float]) -> None:
    """No change on average but for the curve of the log-odds, whose part in the truth is computed."""
    random = numpy.random.default_rng(7)
    results, (between_seeds, between_questions) = [], spread
    for _ in range(300):
        chance = numpy.clip(random.beta(0.4, 0.6, n), 0.001, 0.999)
        shift = random.normal(0, between_seeds, (seeds, 1)) + random.normal(0, between_questions, n)
        before = random.binomial(samples, chance) / samples
        after = random.binomial(samples, expit(logit(chance) + shift)) / samples
        results.append(over_seeds([(list(before), list(row)) for row in after], resamples=99))
    many = numpy.clip(random.beta(0.4, 0.6, 200_000), 0.001, 0.999)
    moved = logit(many) + random.normal(0, sqrt(between_seeds**2 + between_questions**2), 200_000)
    truth = float((expit(moved) - many).mean())
    held = [r.low is not None and r.high is not None and r.low <= truth <= r.high for r in results]
    assert numpy.mean(held) >= 0.93
    assert numpy.mean([r.p is not None and r.p <= 0.05 for r in results]) <= 0.07
