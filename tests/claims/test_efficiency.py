"""How many pairs reach what others reach with few: crossings of straight lines, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy
import pytest
from raw_results import result, right

from stat_train.claims.efficiency import curves_of, efficiency, reached
from stat_train.claims.measures import Change, Training, against, trainings
from stat_train.errors import UserError

Shares = Mapping[int, float]


def curve(recipe: str, *seeds: Shares) -> list[Training]:
    """Return a training for each size; a seed's shares of right answers by the number of pairs."""
    return trainings(
        [
            result(recipe, seed, varies={"data_recipe.pairs": str(pairs)}, base=right(0), sft=right(share))
            for seed, shares in enumerate(seeds)
            for pairs, share in shares.items()
        ]
    )


def rows(every: list[Training]) -> list[str]:
    """Return the rows of the table, which begins after a sentence, its heads and a line."""
    return efficiency(every).splitlines()[4:]


def by_seed(curves: Mapping[str, Mapping[int, Training]]) -> list[float | None]:
    """Return at how many pairs the pool reaches STAT-Sel on each seed."""
    found = reached(curves, "pool")
    assert found
    return [pairs and round(pairs, 6) for pairs in found.by_seed.values()]


TARGETED = curve("stat_sel", {1000: 0.5, 4000: 0.9}, {1000: 0.25, 4000: 0.9})


def test_a_curve_is_crossed_between_two_sizes_at_its_first_and_never() -> None:
    """Goals of 50 and 25 %. The pool goes from 25 % at 1,000 to 75 % at 4,000: half of the way is at twice 1,000."""
    pool = curve("pool", {4000: 0.75, 1000: 0.25}, {1000: 0.25, 4000: 0.75})
    curves = curves_of([*TARGETED, *pool])
    assert list(curves["pool"]) == [1000, 4000]
    assert by_seed(curves) == [2000, 1000]
    low = curves_of([*TARGETED, *curve("pool", {500: 0.1, 8000: 0.4}, {500: 0.3, 8000: 0.2})])
    assert by_seed(low) == [math.inf, 500]


def test_what_gains_nothing_is_reached_by_no_pairs_at_all() -> None:
    """On the second seed STAT-Sel ends where it began, at 25 %: the pool's crossing there says nothing of data."""
    base = right(0.25)
    runs = [
        result(recipe, seed, varies={"data_recipe.pairs": pairs}, base=base, sft=right(share))
        for seed, shares in enumerate(
            [{"stat_sel": (0.5, 0.9), "pool": (0.25, 0.75)}, {"stat_sel": (0.25, 0.9), "pool": (0.0, 0.75)}]
        )
        for recipe, each in shares.items()
        for pairs, share in zip(("1000", "4000"), each, strict=True)
    ]
    curves = curves_of(trainings(runs))
    assert by_seed(curves) == [2000, None]
    # Of the means the goal is 12.5 points, and the pool goes from -12.5 at 1,000 to 50 at 4,000: 0.4 of the way.
    assert rows(trainings(runs))[0].startswith("| `pool` | 1,741 | 1.7 (0.0 to more than 4.0) | 0: 2,000, 1: – | ")
    nothing = [each for each in runs if each.seed == 1]
    assert efficiency(trainings(nothing)) == ""


def test_what_falls_after_a_crossing_does_not_undo_it() -> None:
    """From 0 at 1,000 to 100 % at 4,000 half is at 2,000."""
    curves = curves_of([*TARGETED, *curve("pool", {1000: 0.0, 4000: 1.0, 8000: 0.0}, {1000: 0.25, 4000: 0, 8000: 0})])
    assert by_seed(curves) == [2000, 1000]


def test_a_recipe_with_several_trainings_of_one_size_has_no_curve() -> None:
    """Two rates at 1,000 pairs: nobody knows which of them is meant."""
    slow, fast = (
        result("pool", varies={"data_recipe.pairs": pairs, "train.learning_rate": rate}, base=right(0), sft=right(0.5))
        for pairs, rate in (("1000", "1e-4"), ("1000", "4e-4"))
    )
    large = result("pool", varies={"data_recipe.pairs": "4000"}, base=right(0), sft=right(0.5))
    every = trainings([slow, fast, large])
    assert curves_of(every) == {} and efficiency([*TARGETED, *every]) == ""


def test_the_interval_ends_where_the_bounds_of_the_difference_cross_zero() -> None:
    """The lower bound is where the upper one of pool less STAT-Sel does, the upper bound where the lower one does."""
    sizes = (500, 1000, 4000, 8000)
    targeted = curve("stat_sel", *[{1000: 0.5}] * 4)
    pool = curve("pool", *[dict(zip(sizes, (0.1, 0.3, 0.45 + 0.05 * n, 0.9), strict=True)) for n in range(4)])
    found = reached(curves_of([*targeted, *pool]), "pool")
    low, high = zip(*[bounds(against(targeted[0], each, "standard")) for each in pool], strict=True)
    assert high[0] < 0 < high[2] and low[2] < 0 < low[3], "the bounds would cross zero at an end"
    assert (
        found and found.low == pytest.approx(crossed(sizes, high)) and found.high == pytest.approx(crossed(sizes, low))
    )
    assert found.low < 2000 < found.high


def bounds(change: Change | None) -> tuple[float, float]:
    assert change and change.low is not None and change.high is not None
    return change.low, change.high


def crossed(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return where a rising line through values crosses zero, by numpy's interpolation."""
    return float(numpy.exp(numpy.interp(0, values, numpy.log(sizes))))


def test_few_seeds_leave_more_open_than_any_of_them_shows() -> None:
    """With 4,000 pairs the pool is above STAT-Sel by 10, 20 and 30 points.

    Student's t of 4.303 times 10 / sqrt(3) is 25 points on either side of 20.
    """
    targeted = curve("stat_sel", *[{1000: 0.5}] * 3)
    pool = curve("pool", *[{1000: 0.1, 4000: share} for share in (0.6, 0.7, 0.8)])
    found = reached(curves_of([*targeted, *pool]), "pool")
    assert found and all(pairs and pairs < 4000 for pairs in found.by_seed.values())
    assert found.of_means and found.of_means < 4000 and found.high == math.inf
    assert found.above_with_most.points == pytest.approx(20)


def test_where_the_gain_is_not_sure_there_may_be_nothing_to_reach() -> None:
    """Gains of 50 and 25 points over two seeds: 37.5, and 12.7 times 12.5 on either side."""
    pool = curve("pool", {1000: 0.0, 4000: 0.0}, {1000: 0.0, 4000: 0.0})
    assert rows([*TARGETED, *pool])[0].startswith(
        "| `pool` | more than 4,000 | more than 4.0 (0.0 to more than 4.0) | 0: more than 4,000, 1: more than 4,000 |"
    )


def test_what_is_surely_not_reached_is_beyond_both_bounds() -> None:
    pool = curve("pool", *[{1000: 0.0, 4000: 0.0}] * 3)
    (row,) = rows([*curve("stat_sel", *[{1000: 1.0}] * 3), *pool])
    assert row.startswith("| `pool` | more than 4,000 | more than 4.0, as are both bounds | 0: more than 4,000, 1: ")
    assert " | -100.0 (-100.0 to -" in row


def test_questions_that_a_run_has_no_score_of_count_in_none() -> None:
    """Without the last two questions STAT-Sel learns one of two, as the pool does with 1,000 pairs."""
    marks = {"stat_sel": {1000: "+-+?"}, "pool": {1000: "+-?-", 4000: "+---"}}
    every = [
        result(recipe, varies={"data_recipe.pairs": str(pairs)}, base="----", sft=each)
        for recipe, sizes in marks.items()
        for pairs, each in sizes.items()
    ]
    assert by_seed(curves_of(trainings(every))) == [1000]


def test_a_training_that_no_question_is_scored_of_is_refused() -> None:
    every = [*curve("stat_sel", {1000: 0.5}), *curve("pool", {1000: 0.25})]
    silent = result("pool", varies={"data_recipe.pairs": "4000"}, base="-" * 40, sft="?" * 40)
    with pytest.raises(UserError, match="no question is scored by all of"):
        efficiency([*every, *trainings([silent])])


def test_a_seed_that_a_size_lacks_is_not_in_the_row() -> None:
    pool = curve("pool", {1000: 0.25, 4000: 0.75}, {1000: 0.25})
    assert " | 0: 2,000 | +25.0 (" in rows([*TARGETED, *pool])[0]


def test_the_row_names_bounds_where_the_sweep_ends() -> None:
    """What the fewest pairs reach, fewer may reach; and what the most do not reach, more may."""
    pool = curve("pool", {1000: 0.25, 4000: 0.75}, {1000: 0.25, 4000: 0.75})
    # The mean goal, 37.5 %, is a quarter of the way from 25 to 75 %.
    start = "| `pool` | 1,414 | 1.4 (0.0 to more than 4.0) | 0: 2,000, 1: at most 1,000 | +37.5 ("
    assert rows([*TARGETED, *pool])[0].startswith(start)
    hard = curve("hard", {1000: 0.25, 8000: 0.25}, {1000: 0.5, 8000: 0.5})
    start = (
        "| `hard` | at most 1,000 | at most 1.0 (0.0 to more than 8.0) | 0: more than 8,000, 1: at most 1,000 | +0.0 ("
    )
    assert rows([*TARGETED, *hard])[0].startswith(start)
    sure = [*curve("stat_sel", *[{1000: 0.5}] * 3), *curve("low", *[{500: 1.0, 1000: 1.0}] * 3)]
    assert "| at most 500 | at most 0.5 (at most 0.5 to at most 0.5) | " in rows(sure)[0]


def test_one_seed_with_questions_of_its_own_has_no_interval() -> None:
    """Its two trainings were asked different ones."""
    targeted = result("stat_sel", varies={"data_recipe.pairs": "1000"}, base=right(0), sft=right(0.5))
    pool = [
        result("pool", varies={"data_recipe.pairs": pairs}, own=["standard"], base=right(0), sft=right(share))
        for pairs, share in (("1000", 0.25), ("4000", 0.75))
    ]
    assert rows(trainings([targeted, *pool])) == ["| `pool` | 2,000 | 2.0 | 0: 2,000 | +25.0 |"]


def test_reinforced_models_are_no_points_of_a_curve() -> None:
    """Their steps cost what no number of pairs shows: of the pool's two sizes one is GRPO's alone."""
    sizes = [{"data_recipe.pairs": pairs} for pairs in ("1000", "4000")]
    pool = result("pool", varies=sizes[0], base=right(0), sft=right(0.25))
    after = [result("pool", varies=size, base=right(0), sft=right(0.25), rl=right(0.75)) for size in sizes]
    assert list(curves_of(trainings([pool, *after]))["pool"]) == [1000]
    assert efficiency([*TARGETED, *trainings([pool, *after])]) == ""
    curves = curves_of([*curve("pool", {1000: 0.25, 2000: 0.5}), *trainings(after)])
    assert [each.arm for each in curves["pool"].values()] == ["sft", "sft"]
    assert list(curves["pool"]) == [1000, 2000]


def test_a_recipe_without_a_seed_of_the_reference_is_not_named() -> None:
    sizes = [(pairs, right(share)) for pairs, share in ((1000, 0.25), (4000, 0.75))]
    other = [result("pool", 9, varies={"data_recipe.pairs": str(n)}, base=right(0), sft=marks) for n, marks in sizes]
    assert len(curves_of(trainings(other))) == 1
    assert "`pool`" not in efficiency([*TARGETED, *trainings(other)])


def test_without_a_curve_or_the_reference_there_are_no_words() -> None:
    assert efficiency(trainings([result("stat_sel", base="-", sft="+"), result("pool", base="-", sft="+")])) == ""
    assert efficiency(curve("stat_sel", {500: 0.5, 4000: 0.9}) + curve("pool", {500: 0.5, 4000: 0.9})) == ""
    assert efficiency(TARGETED) == ""
