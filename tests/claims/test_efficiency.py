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


TARGETED = curve("stat_sel", {1000: 0.5, 4000: 0.9}, {1000: 0.25, 4000: 0.9})


def test_a_curve_is_crossed_between_two_sizes_at_its_first_and_never() -> None:
    """Goals of 50 and 25 %. The pool goes from 25 % at 1,000 to 75 % at 4,000: half of the way is at twice 1,000."""
    pool = curve("pool", {4000: 0.75, 1000: 0.25}, {1000: 0.25, 4000: 0.75})
    curves = curves_of([*TARGETED, *pool])
    assert list(curves["pool"]) == [1000, 4000]
    found = reached(curves, "pool")
    assert [round(pairs, 6) for pairs in found.pairs] == [2000, 1000]
    low = curves_of([*TARGETED, *curve("pool", {500: 0.1, 8000: 0.4}, {500: 0.3, 8000: 0.2})])
    assert reached(low, "pool").pairs == [math.inf, 500]


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
    (first, second) = reached(curves, "pool").pairs
    assert (first and round(first, 6), second) == (2000, None)
    words = efficiency(trainings(runs)).splitlines()[2:]
    assert words == ["- `pool`: 2,000, –; median 2.0 times as many, from 2,000 to 2,000"]
    nothing = [each for each in runs if each.seed == 1]
    assert efficiency(trainings(nothing)) == ""


def test_what_falls_after_a_crossing_does_not_undo_it() -> None:
    """From 0 at 1,000 to 100 % at 4,000 half is at 2,000."""
    curves = curves_of([*TARGETED, *curve("pool", {1000: 0.0, 4000: 1.0, 8000: 0.0}, {1000: 0.25, 4000: 0, 8000: 0})])
    assert [round(pairs, 6) for pairs in reached(curves, "pool").pairs] == [2000, 1000]


def test_a_recipe_with_several_trainings_of_one_size_has_no_curve() -> None:
    """Two rates at 1,000 pairs: nobody knows which of them is meant."""
    slow, fast = (
        result("pool", varies={"data_recipe.pairs": pairs, "train.learning_rate": rate}, base=right(0), sft=right(0.5))
        for pairs, rate in (("1000", "1e-4"), ("1000", "4e-4"))
    )
    large = result("pool", varies={"data_recipe.pairs": "4000"}, base=right(0), sft=right(0.5))
    every = trainings([slow, fast, large])
    assert curves_of(every) == {} and efficiency([*TARGETED, *every]) == ""


def test_in_words_each_seed_counts() -> None:
    """Of two seeds the median is the worse one. What the fewest pairs reach, fewer may reach."""
    pool = curve("pool", {1000: 0.25, 4000: 0.75}, {1000: 0.25, 4000: 0.75})
    hard = curve("hard", {1000: 0.25, 8000: 0.25}, {1000: 0.5, 8000: 0.5})
    assert efficiency([*TARGETED, *pool, *hard]).splitlines()[2:] == [
        "- `pool`: 2,000, at most 1,000; median 2.0 times as many, from at most 1,000 to 2,000",
        "- `hard`: more than 8,000, at most 1,000; median more than 8.0 times as many, "
        "from at most 1,000 to more than 8,000",
    ]
    easy = curve("easy", {500: 0.5, 1000: 0.9}, {500: 0.25, 1000: 0.9})
    (words,) = efficiency([*TARGETED, *easy]).splitlines()[2:]
    assert words == (
        "- `easy`: at most 500, at most 500; median at most 0.5 times as many, from at most 500 to at most 500"
    )


def test_reinforced_models_are_no_points_of_a_curve() -> None:
    """Their steps cost what no number of pairs shows: the pool alone has two sizes, and one of them is GRPO's."""
    sizes = [{"data_recipe.pairs": pairs} for pairs in ("1000", "4000")]
    pool = result("pool", varies=sizes[0], base=right(0), sft=right(0.25))
    after = [result("pool", varies=size, base=right(0), sft=right(0.25), rl=right(0.75)) for size in sizes]
    assert "pool" not in curves_of(trainings([pool, *after]))
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
