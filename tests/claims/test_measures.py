"""What runs changed: worked out by hand, and where seeds have questions of their own against scipy."""

from __future__ import annotations

import pytest
from raw_results import result, right
from scipy.stats import ttest_1samp

from stat_train.claims.measures import (
    RESAMPLES,
    Training,
    added_by_rl,
    against,
    best_baseline,
    gain,
    pool_beside,
    trainings,
)
from stat_train.claims.results import Result
from stat_train.errors import UserError
from stat_train.evaluation.over_seeds import over_seeds


def only(*results: Result) -> Training:
    (found,) = trainings(results)
    return found


def test_a_training_has_a_run_for_each_seed_and_is_named_by_what_tells_it_from_others() -> None:
    """Levels and rates go with a recipe, and tell nothing; a number of pairs does where a recipe has several."""
    rate = {"train.learning_rate": "1e-4"}
    runs = [
        result("hard", 1, varies={"data_recipe.levels": "[3]"} | rate, base="-", sft="+"),
        result("hard", 0, varies=rate | {"data_recipe.levels": "[3]"}, base="-", sft="-"),
        result("pool", varies={"data_recipe.pairs": "500"}, base="-", sft="-"),
        result("pool", varies={"data_recipe.pairs": "1000"}, base="-", sft="-"),
        result("pool", base="-", sft="-", rl="-"),
        result("pool", base="-", rl="-"),
    ]
    found = trainings(runs)
    names = ["hard", "pool, pairs=500", "pool, pairs=1000", "pool + GRPO", "base + GRPO"]
    assert [each.name for each in found] == names
    assert list(found[0].runs) == [1, 0] and found[0].runs[0] == runs[1]
    assert [each.arm for each in found] == ["sft", "sft", "sft", "rl", "rl"]


def test_two_results_of_one_training_and_seed_are_refused() -> None:
    first = result("pool", 2, base="-", sft="+")
    with pytest.raises(UserError, match="pool-seed2 and again: are both of seed 2 of the same training; expected one"):
        trainings([first, first._replace(name="again", scores={"base": {}, "sft": {}})])


def test_the_gain_is_the_mean_over_seeds_of_what_each_gained() -> None:
    """Of four questions the first seed gains two, the second one: 50 and 25 points."""
    runs = [result(base="+---", sft="+++-"), result(seed=1, base="----", sft="+---")]
    found = gain(only(*runs), "standard")
    assert (found.points, found.per_seed) == (37.5, [50, 25])
    scores = [(run.scores["base"]["standard"], run.scores["sft"]["standard"]) for run in runs]
    expected = over_seeds(scores, resamples=RESAMPLES)
    assert expected.low is not None and expected.high is not None
    assert (found.low, found.high) == (100 * expected.low, 100 * expected.high)
    assert not found.is_above_zero


def test_a_gain_of_many_questions_is_above_zero() -> None:
    runs = [result(seed=seed, base=right(0.0), sft=right(0.5)) for seed in range(3)]
    assert gain(only(*runs), "standard").is_above_zero


def test_seeds_with_questions_of_their_own_have_students_interval() -> None:
    """Changes of 25, 50 and 0 points, of 4, 2 and 3 questions; what is not scored does not count."""
    marks = [("----", "+---"), ("--?", "+-+"), ("+--", "+--")]
    runs = [result(seed=seed, own=["standard"], base=a, sft=b) for seed, (a, b) in enumerate(marks)]
    found = gain(only(*runs), "standard")
    low, high = ttest_1samp([25, 50, 0], 0).confidence_interval(0.95)
    assert (found.points, found.low, found.high) == pytest.approx((25, low, high))
    assert found.per_seed == [25, 50, 0]
    alone = gain(only(runs[0]), "standard")
    # One seed's own questions are the same before and after.
    assert alone.points == 25 and alone.low is not None


def test_one_seed_against_another_with_other_questions_has_no_bounds() -> None:
    first = only(result(base="--", sft="+-"))
    second = only(result("stat_sel", own=["standard"], base="----", sft="+++-"))
    found = against(first, second, "standard")
    assert found and (found.points, found.low, found.high, found.is_above_zero) == (25, None, None, False)


def test_trainings_are_compared_on_the_seeds_that_both_have() -> None:
    """Both have seed 0 alone: one of four questions, then two."""
    first = only(result(base="----", sft="+---"), result(seed=1, base="----", sft="++++"))
    second = only(result("stat_sel", seed=2, base="----", sft="----"), result("stat_sel", base="----", sft="++--"))
    found = against(first, second, "standard")
    assert found and (found.points, found.per_seed) == (25, [25])
    assert against(first, only(result("stat_sel", seed=2, base="----", sft="----")), "standard") is None


def test_the_best_baseline_is_fine_tuned_on_what_targets_no_missing_skill() -> None:
    runs = [
        result("pool", base="----", sft="++--"),
        result("random", base="----", sft="+++-"),
        result("random", base="----", sft="+++-", rl="++++"),
        *(result(recipe, base="----", sft="++++") for recipe in ("stat_sel", "stat_syn", "skillmix")),
    ]
    best = best_baseline(trainings(runs), "standard")
    assert best and (best.name, best.accuracy("standard"), best.accuracy("standard", "base")) == ("random", 75, 0)
    assert best_baseline(trainings(runs[3:]), "standard") is None


def test_the_pool_beside_a_training_is_the_one_of_its_size() -> None:
    few, many = ({"data_recipe.pairs": pairs} for pairs in ("500", "1000"))
    every = trainings(
        [result(name, varies=size, base="-", sft="+") for name in ("pool", "hard") for size in (few, many)]
    )
    assert [pool and pool.name for pool in (pool_beside(each, every) for each in every)] == [
        "pool, pairs=500",
        "pool, pairs=1000",
    ] * 2
    # What goes with a recipe, or comes after it, needs no pool of its own.
    usual = [result("pool", base="-", sft="+"), result("hard", varies={"data_recipe.levels": "[3]"}, base="-", sft="+")]
    usual += [result("hard", base="-", sft="+", rl="+")]
    assert {pool and pool.name for pool in (pool_beside(each, trainings(usual)) for each in trainings(usual))} == {
        "pool"
    }
    assert pool_beside(every[0], every[2:]) is None


def test_reinforcement_learning_adds_to_what_it_started_from() -> None:
    """From one right answer of four to three; without fine-tuning from none to one."""
    tuned = only(result("stat_sel", base="----", sft="+---", rl="+++-"))
    untuned = only(result(base="----", rl="+---"))
    added = [added_by_rl(each, "standard") for each in (tuned, untuned)]
    assert [change and change.points for change in added] == [50, 25]
    assert added_by_rl(only(result(base="----", sft="+---")), "standard") is None


def test_a_training_has_the_benchmarks_that_all_its_runs_have() -> None:
    both = {"standard": "+", "difficult": "-"}
    found = only(result(base=both, sft=both), result(seed=1, base="+", sft="+"))
    assert found.benchmarks == ["standard"]
