"""What runs changed: worked out by hand, and where seeds have questions of their own against scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from raw_results import result, right
from scipy.stats import ttest_1samp

from stat_train.claims.measures import (
    PAIRS,
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


def test_seeds_that_agree_by_chance_are_as_unsure_as_their_questions() -> None:
    """Two seeds gain one question of four: a variance of 1/4 over 4 each, so a standard error of sqrt(1/8) / 2."""
    runs = [result(seed=seed, own=["standard"], base="++--", sft="+++-") for seed in (0, 1)]
    found = gain(only(*runs), "standard")
    reach = 1.959964 * 100 * 0.125**0.5 / 2
    assert (found.points, found.low, found.high) == pytest.approx((25, 25 - reach, 25 + reach))
    # Of other questions than those: 2/4 and 3/4 of four each, so variances of 1/3 and 1/4 over 4.
    first, second = (
        only(*(result(recipe, seed, own=["standard"], base="----", sft=sft) for seed in (0, 1)))
        for recipe, sft in (("pool", "++--"), ("stat_sel", "+++-"))
    )
    other = {seed: run._replace(questions={"standard": f"other {seed}"}) for seed, run in first.runs.items()}
    change = against(first._replace(runs=other), second, "standard")
    reach = 1.959964 * 100 * (2 * (1 / 12 + 1 / 16)) ** 0.5 / 2
    assert change and (change.low, change.high) == pytest.approx((25 - reach, 25 + reach))


def test_seeds_that_share_their_questions_share_their_luck() -> None:
    """Of three seeds two were asked the same and changed alike: a question there counts twice, 2/3 of the mean.

    The changes are 1, 0, 0, 0, so each seed's squared standard error is 1/4 over 4 = 1/16: (2^2 + 1) / 16 over 3^2.
    """
    runs = [result(seed=seed, own=["standard"], base="+---", sft="++--") for seed in (0, 1, 2)]
    runs[1] = runs[1]._replace(questions=runs[0].questions)
    found = gain(only(*runs), "standard")
    reach = 1.959964 * 100 * (5 / 16) ** 0.5 / 3
    assert (found.points, found.low, found.high) == pytest.approx((25, 25 - reach, 25 + reach))
    alone = [result(seed=seed, own=["standard"], base="-", sft="+") for seed in (0, 1)]
    found = gain(only(*alone), "standard")
    assert (found.low, found.high, found.is_above_zero) == (-math.inf, math.inf, False)


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


def with_settings(given: Result, **settings: object) -> Result:
    return given._replace(settings=given.settings | {key.replace("__", "."): value for key, value in settings.items()})


def test_results_of_other_settings_than_those_that_vary_are_refused() -> None:
    """What is below a choice that varies comes with it, and what goes with the seed differs as the seed does."""
    pool = with_settings(result("pool", base="-", sft="+"), task__mix="a", task__pool=240, data_recipe__name="pool")
    own = {"data_recipe__name": "hard", "data_recipe__levels": [3]}
    hard = with_settings(result("hard", seed=1, base="-", sft="+"), task__mix="b", task__pool=240, **own)
    pool, hard = (each._replace(with_seed=["task.mix"]) for each in (pool, hard))
    assert [each.name for each in trainings([pool, hard])] == ["pool", "hard"]
    other = with_settings(hard, task__pool=90, teacher__error_rate=0.3)
    with pytest.raises(UserError) as error:
        trainings([pool, hard._replace(name="there", seed=0), other])
    assert str(error.value) == (
        "pool-seed0 and hard-seed1: were made with different settings, task.pool (240 and 90), teacher.error_rate "
        "(None and 0.3); expected one sweep's results, so take those of the other away, or give sweep.results=FOLDER"
    )
    # The mix is a setting like others where it does not go with the seed.
    with pytest.raises(UserError, match=r"different settings, task\.mix \(a and b\); expected"):
        trainings([each._replace(with_seed=[]) for each in (pool, hard)])


def best_names(results: Sequence[Result]) -> dict[str, str | None]:
    """Return the name of the best baseline of each training."""
    every = trainings(results)
    found = {each.name: best_baseline(each, every, "standard") for each in every}
    return {name: best and best.name for name, best in found.items()}


def test_the_best_baseline_is_trained_on_what_targets_no_missing_skill() -> None:
    """Levels, and a rate, are a part of the recipe that is always trained with them."""
    own = {"data_recipe.levels": "[3]", "train.learning_rate": "1e-4"}
    runs = [
        result("pool", base="----", sft="++--"),
        result("hard", varies=own, base="----", sft="+++-"),
        *(result(recipe, base="----", sft="++++") for recipe in ("stat_sel", "stat_syn", "skillmix")),
    ]
    assert set(best_names(runs).values()) == {"hard"}
    every = trainings(runs)
    best = best_baseline(every[2], every, "standard")
    assert best and (best.accuracy("standard"), best.accuracy("standard", "base")) == (75, 0)
    assert set(best_names(runs[2:]).values()) == {None}


def test_a_set_that_is_drawn_from_all_skills_targets_none() -> None:
    drawn = result("skillmix", base="----", sft="+++-")
    drawn = drawn._replace(settings=drawn.settings | {"data_recipe.skills_from": "all"})
    every = trainings([drawn, result("stat_sel", base="----", sft="++++")])
    assert [each.is_targeted for each in every] == [False, True]
    assert best_baseline(every[1], every, "standard") is every[0]


def test_a_baseline_on_fewer_seeds_than_the_training_is_none() -> None:
    """On both seeds the pool has 50 %; the other recipe has 100 % on one of them, and 75 % where there are both.

    Of three seeds those count that the training has: on those two the pool is best, on all three it is not.
    """
    both = [result(recipe, seed, base="----", sft="++--") for recipe in ("pool", "stat_sel") for seed in (0, 1)]
    alone = result("random", base="----", sft="++++")
    assert best_names([*both, alone])["stat_sel"] == "pool"
    assert best_names([*both, alone, result("random", 1, base="----", sft="++--")])["stat_sel"] == "random"
    third = [result(recipe, 2, base="----", sft=marks) for recipe, marks in (("pool", "----"), ("random", "++++"))]
    few = [result("random", seed, base="----", sft="+---") for seed in (0, 1)]
    best = best_names([*both, *few, *third])
    assert (best["stat_sel"], best["random"]) == ("pool", "random")


@pytest.mark.parametrize(
    ("key", "values"), [("data_recipe.pairs", ("500", "1000")), ("task.pool_evenness", ("0", "1"))]
)
def test_a_baseline_of_another_size_or_pool_is_none(key: str, values: tuple[str, str]) -> None:
    """The larger one is better in all recipes, and yet the smaller one is what stands beside the smaller one."""
    runs = [
        result(recipe, varies={key: value}, base="----", sft=marks)
        for recipe in ("pool", "random", "stat_sel")
        for value, marks in zip(values, ("+---", "+++-"), strict=True)
    ]
    told = [f"{key.rpartition('.')[2]}={value}" for value in values]
    assert best_names(runs) == {
        f"{name}, {which}": f"pool, {which}" for name in ("pool", "random", "stat_sel") for which in told
    }
    assert best_names(runs[2:])[f"stat_sel, {told[0]}"] == f"random, {told[0]}"
    without_small = [run for run in runs if run.recipe == "stat_sel" or run.varies[key] == values[1]]
    assert best_names(without_small)[f"stat_sel, {told[0]}"] is None


@pytest.mark.parametrize(("pairs", "best"), [(985, "pool"), (900, None)])
def test_a_baseline_has_as_many_pairs_as_were_trained_on_whatever_was_asked_for(pairs: int, best: str | None) -> None:
    """Up to two in a hundred fewer are as many; a recipe that came to less has another size."""
    pool = result("pool", base="-", sft="+")._replace(pairs=pairs, fine_tuning_tokens=pairs)
    targeted = result("stat_sel", base="-", sft="+")._replace(pairs=1000, fine_tuning_tokens=1000)
    assert best_names([pool, targeted])["stat_sel"] == best


def test_what_the_sweep_gives_each_recipe_one_value_of_is_a_part_of_the_recipe() -> None:
    """Rates to choose from, and answers a question; a pool that one of them has in two ways is no such setting."""
    own = {"train.learning_rates": "[1e-4]", "data_recipe.answers_per_question": "8"}
    targeted = {"train.learning_rates": "[4e-4]", "data_recipe.answers_per_question": "1"}
    runs = [
        result("random", varies=own | {"task.pool_evenness": "0"}, base="-", sft="+"),
        result("stat_sel", varies=targeted | {"task.pool_evenness": "0"}, base="-", sft="+"),
    ]
    assert best_names(runs)["stat_sel"] == "random"
    even = result("stat_sel", varies=targeted | {"task.pool_evenness": "1"}, base="-", sft="+")
    assert best_names([*runs, even])["stat_sel, pool_evenness=1"] is None


@pytest.mark.parametrize(("tokens", "best"), [(985_000, "pool"), (975_000, None)])
def test_in_a_comparison_at_equal_tokens_a_baseline_has_as_many_tokens(tokens: int, best: str | None) -> None:
    """Each recipe has its own number of pairs then; two in a hundred tokens more or fewer are as many."""
    pool = result("pool", varies={PAIRS: "4000"}, base="----", sft="+---")
    targeted = result("stat_sel", varies={PAIRS: "3700"}, base="----", sft="++--")
    runs = [pool._replace(fine_tuning_tokens=1_000_000), targeted._replace(fine_tuning_tokens=tokens)]
    # On this seed the questions happened to be longer; the mean counts.
    runs += [
        run._replace(seed=1, fine_tuning_tokens=(run.fine_tuning_tokens or 0) + more)
        for run, more in zip(runs, (0, 5000), strict=True)
    ]
    assert best_names(runs)["stat_sel"] == best


def test_of_a_recipe_trained_in_several_ways_the_closest_stands_beside_a_training() -> None:
    """The pool of all skills alike beside what is drawn of it, though the other one is better."""
    even = {"task.pool_evenness": "1"}
    runs = [
        result("pool", base="----", sft="++++"),
        result("pool", varies=even, base="----", sft="+---"),
        result("stat_sel", varies=even, base="----", sft="++--"),
        result("stat_sel", base="----", sft="++--"),
        # What does not concern the pool needs no pool of its own.
        result("stat_sel", varies={"teacher.error_rate": "0.6"}, base="----", sft="++--"),
    ]
    expected = ["pool", "pool, pool_evenness=1", "pool, pool_evenness=1", "pool", "pool"]
    every = trainings(runs)
    assert [pool and pool.name for pool in (pool_beside(each, every) for each in every)] == expected
    assert list(best_names(runs).values()) == expected


def test_reinforced_models_stand_beside_reinforced_ones_that_began_alike() -> None:
    untrained = result("pool", base="----", rl="++++")
    runs = [
        result("pool", base="----", sft="+++-"),
        result("pool", base="----", sft="+++-", rl="+---"),
        result("stat_sel", base="----", sft="++++"),
        result("stat_sel", base="----", sft="++++", rl="++++"),
        untrained,
    ]
    assert best_names(runs) == {
        "pool": "pool",
        "pool + GRPO": "pool + GRPO",
        "stat_sel": "pool",
        "stat_sel + GRPO": "pool + GRPO",
        "base + GRPO": "base + GRPO",
    }
    assert best_names(runs[2:])["stat_sel + GRPO"] is None


def test_the_pool_beside_a_training_is_the_one_of_its_size() -> None:
    few, many = ({"data_recipe.pairs": pairs} for pairs in ("500", "1000"))
    every = trainings(
        [result(name, varies=size, base="-", sft="+") for name in ("pool", "hard") for size in (few, many)]
    )
    assert [pool and pool.name for pool in (pool_beside(each, every) for each in every)] == [
        "pool, pairs=500",
        "pool, pairs=1000",
    ] * 2
    assert pool_beside(every[0], every[2:]) is None


def test_where_no_question_is_scored_there_is_no_gain() -> None:
    for own in ([], ["standard"]):
        runs = [result(seed=seed, own=own, base="-?", sft="?+") for seed in (0, 1)]
        with pytest.raises(
            UserError, match="standard: no question is scored by all of base of pool-seed0, sft of pool-s"
        ):
            gain(only(*runs), "standard")
    # Each seed has a question that is scored before and after, and no question is that in both.
    runs = [result(seed=seed, base=marks, sft="++") for seed, marks in enumerate(("-?", "?-"))]
    with pytest.raises(UserError, match="standard: no question is scored by all of base of pool-seed0, sft of pool-s"):
        gain(only(*runs), "standard")


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
