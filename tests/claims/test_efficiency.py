"""How many pairs reach what others reach with few: crossings of straight lines, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raw_results import result, right

from stat_train.claims.efficiency import curves_of, efficiency, reached
from stat_train.claims.measures import Training, trainings

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


TARGETED = curve("stat_sel", {1000: 0.5, 4000: 0.9}, {1000: 0.25, 4000: 0.9})


def test_a_curve_is_crossed_between_two_sizes_at_its_first_and_never() -> None:
    """Goals of 50 and 25 %. The pool goes from 25 % at 1,000 to 75 % at 4,000: half of the way is at twice 1,000."""
    pool = curve("pool", {4000: 0.75, 1000: 0.25}, {1000: 0.25, 4000: 0.75})
    curves = curves_of([*TARGETED, *pool])
    assert list(curves["pool"]) == [1000, 4000]
    found = reached(curves, "pool")
    assert [round(pairs, 6) for pairs in found.by_seed] == [2000, 1000]
    low = curves_of([*TARGETED, *curve("pool", {500: 0.1, 8000: 0.4}, {500: 0.3, 8000: 0.2})])
    assert reached(low, "pool").by_seed == [math.inf, 500]


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
    (first, second) = reached(curves, "pool").by_seed
    assert (first and round(first, 6), second) == (2000, None)
    # Of the means the goal is 12.5 points, and the pool goes from -12.5 at 1,000 to 50 at 4,000: 0.4 of the way.
    assert rows(trainings(runs))[0].startswith("| `pool` | 1,741 | 1.7 (0.0 to ")
    assert rows(trainings(runs))[0].endswith("| 2,000, – |")
    nothing = [each for each in runs if each.seed == 1]
    assert efficiency(trainings(nothing)) == ""


def test_what_falls_after_a_crossing_does_not_undo_it() -> None:
    """From 0 at 1,000 to 100 % at 4,000 half is at 2,000."""
    curves = curves_of([*TARGETED, *curve("pool", {1000: 0.0, 4000: 1.0, 8000: 0.0}, {1000: 0.25, 4000: 0, 8000: 0})])
    assert [round(pairs, 6) for pairs in reached(curves, "pool").by_seed] == [2000, 1000]


def test_a_recipe_with_several_trainings_of_one_size_has_no_curve() -> None:
    """Two rates at 1,000 pairs: nobody knows which of them is meant."""
    slow, fast = (
        result("pool", varies={"data_recipe.pairs": pairs, "train.learning_rate": rate}, base=right(0), sft=right(0.5))
        for pairs, rate in (("1000", "1e-4"), ("1000", "4e-4"))
    )
    large = result("pool", varies={"data_recipe.pairs": "4000"}, base=right(0), sft=right(0.5))
    every = trainings([slow, fast, large])
    assert curves_of(every) == {} and efficiency([*TARGETED, *every]) == ""


def test_the_interval_is_of_seeds_drawn_anew() -> None:
    """All questions come out alike, so seeds alone differ: the pool reaches the goal at 4,000 on some, never on others.

    So does the mean curve of a resample if all its seeds are of the first kind. With 4 of 7 that is (4/7)^7, 2 % of
    the resamples, with 2 of 7 it is 0.02 %. For 7 seeds the interval leaves out 0.4 % at each end: a normal deviate of
    Student's 2.447 times the root of 7/6.
    """
    targeted = curve("stat_sel", *[{1000: 1.0}] * 7)
    for reaching, low in ((4, "4.0"), (2, "more than 4.0")):
        pool = curve("pool", *[{1000: 0.0, 4000: 1.0}] * reaching, *[{1000: 0.0, 4000: 0.0}] * (7 - reaching))
        (row,) = rows([*targeted, *pool])
        assert f"| more than 4,000 | more than 4.0 ({low} to more than 4.0) |" in row


def test_the_interval_is_of_questions_drawn_anew_the_same_for_both() -> None:
    """One question of 40 is learnt: 36 % of the resamples lack it, so that there is nothing to reach.

    In the others the pool, which learns it too, reaches as much with the fewest pairs.
    """
    targeted = curve("stat_sel", *[{1000: 1 / 40}] * 2)
    pool = curve("pool", *[{1000: 1 / 40, 4000: 1 / 40}] * 2)
    assert rows([*targeted, *pool]) == [
        "| `pool` | at most 1,000 | at most 1.0 (0.0 to at most 1.0) | at most 1,000, at most 1,000 |"
    ]


def test_seeds_with_questions_of_their_own_are_drawn_alone() -> None:
    """Half of each seed's questions are learnt, whichever they are: between two equal seeds nothing varies."""
    every = [
        result(
            recipe, seed, varies={"data_recipe.pairs": str(pairs)}, own=["standard"], base=right(0), sft=right(share)
        )
        for recipe, pairs, share in (("stat_sel", 1000, 0.5), ("pool", 1000, 0.25), ("pool", 4000, 0.75))
        for seed in (0, 1)
    ]
    assert rows(trainings(every)) == ["| `pool` | 2,000 | 2.0 (2.0 to 2.0) | 2,000, 2,000 |"]


def test_questions_that_a_run_has_no_score_of_count_in_none() -> None:
    """Without the last two questions STAT-Sel learns one of two, as the pool does with 1,000 pairs."""
    marks = {"stat_sel": {1000: "+-+?"}, "pool": {1000: "+-?-", 4000: "+---"}}
    every = [
        result(recipe, varies={"data_recipe.pairs": str(pairs)}, base="----", sft=each)
        for recipe, sizes in marks.items()
        for pairs, each in sizes.items()
    ]
    assert reached(curves_of(trainings(every)), "pool").by_seed == [1000]


def test_the_row_names_bounds_where_the_sweep_ends() -> None:
    """What the fewest pairs reach, fewer may reach; and what the most do not reach, more may."""
    pool = curve("pool", {1000: 0.25, 4000: 0.75}, {1000: 0.25, 4000: 0.75})
    (row,) = rows([*TARGETED, *pool])
    # The mean goal, 37.5 %, is a quarter of the way from 25 to 75 %.
    assert row.startswith("| `pool` | 1,414 | 1.4 (at most 1.0 to ") and row.endswith(" | 2,000, at most 1,000 |")
    hard = curve("hard", {1000: 0.25, 8000: 0.25}, {1000: 0.5, 8000: 0.5})
    assert rows([*TARGETED, *hard]) == [
        "| `hard` | at most 1,000 | at most 1.0 (at most 1.0 to more than 8.0) | more than 8,000, at most 1,000 |"
    ]
    low = curve("low", {500: 0.5, 1000: 0.9}, {500: 0.25, 1000: 0.9})
    assert rows([*TARGETED, *low])[0].startswith("| `low` | at most 500 | at most 0.5 (at most 0.5 to ")


def test_one_seed_has_no_interval() -> None:
    pool, targeted = curve("pool", {1000: 0.25, 4000: 0.75}), curve("stat_sel", {1000: 0.5, 4000: 0.9})
    assert rows([*targeted, *pool]) == ["| `pool` | 2,000 | 2.0 | 2,000 |"]


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
