"""The claims, each where it holds and where it does not."""

from __future__ import annotations

from raw_results import result, right

from stat_train.claims.measures import Change, trainings
from stat_train.claims.results import RETAINED, Result
from stat_train.claims.verdicts import Verdict, points, verdicts

SEEDS = range(3)


def runs(recipe: str, tuned: float, kept: float = 0.5) -> list[Result]:
    """Return three seeds that go from 25 % right to a share, and where nothing was missing from 50 %."""
    base, sft = ({"standard": right(a), RETAINED: right(b)} for a, b in ((0.25, 0.5), (tuned, kept)))
    return [result(recipe, seed, base=base, sft=sft) for seed in SEEDS]


def held(*results: Result) -> dict[str, bool | None]:
    return {each.claim: each.holds for each in verdicts(trainings(results))}


ABOVE_POOL = "`stat_sel` is at least 1.5 points above the best baseline (`pool`), interval above 0"
GAINS = "`stat_sel` gains at least 6 points on average"
KEEPS = (
    "`stat_sel` loses less than 1 point on average where no skill is needed that was missing in 10 % of its questions "
    "or more"
)
NAIVE = "`pool` gains less than half of what `stat_sel` gains, on average"


def test_all_hold() -> None:
    """50 points against 10."""
    assert held(*runs("pool", 0.35), *runs("stat_sel", 0.75)) == dict.fromkeys((ABOVE_POOL, GAINS, KEEPS, NAIVE), True)


def test_none_holds() -> None:
    """5 points each, of 40 questions 2; and one answer of 40 lost is 2.5 points."""
    found = held(*runs("pool", 0.3), *runs("stat_sel", 0.3, kept=0.475))
    assert found == dict.fromkeys((ABOVE_POOL, GAINS, KEEPS, NAIVE), False)


def test_a_difference_that_may_be_none_does_not_hold() -> None:
    """One question of 40 is 2.5 points, and nothing that is sure."""
    (above, *_) = verdicts(trainings([*runs("pool", 0.5), *runs("stat_sel", 0.525)]))
    assert (above.claim, above.holds) == (ABOVE_POOL, False) and above.measured.startswith("+2.5 (-")


def test_a_margin_is_also_told_with_a_value_for_each_student() -> None:
    """Seeds 0 and 2 are of one student: 20 and 40 points make 30, beside 10 of the other; 20 on average, not 23.3."""
    margins = {0: 0.2, 1: 0.1, 2: 0.4}
    targeted = [result("stat_sel", seed, base=right(0.25), sft=right(0.25 + more)) for seed, more in margins.items()]
    every = [*(result("pool", seed, base=right(0.25), sft=right(0.25)) for seed in margins), *targeted]
    (above, *_) = verdicts(trainings([run._replace(student="tiny_b" if run.seed == 1 else "tiny") for run in every]))
    assert above.measured.startswith("+23.3 (") and "; a value for each student: +20.0 (" in above.measured
    (above, *_) = verdicts(trainings([run._replace(student=f"student {run.seed}") for run in every]))
    assert "student" not in above.measured


def test_while_a_baseline_lacks_a_seed_the_margin_is_open() -> None:
    """The better baseline may be the best of all once it is whole; what does not depend on it is decided."""
    (above, gains, *_) = verdicts(trainings([*runs("pool", 0.3), *runs("random", 0.6)[:2], *runs("stat_sel", 0.75)]))
    assert (above.claim, above.measured, above.holds) == (ABOVE_POOL, "open: random lacks seeds", None)
    assert gains.holds is True


def test_a_naive_set_of_another_size_is_no_measure() -> None:
    small = [run._replace(pairs=500, fine_tuning_tokens=500) for run in runs("pool", 0.35)]
    assert {ABOVE_POOL, NAIVE}.isdisjoint(held(*small, *runs("stat_sel", 0.75)))


def test_half_is_that_of_the_targeted_set_that_gains_less() -> None:
    """25 and 50 points: half is 12.5, and the pool gains 15."""
    every = trainings([*runs("pool", 0.4), *runs("stat_sel", 0.5), *runs("stat_syn", 0.75)])
    naive = verdicts(every)[-1]
    lesser = "the lesser of `stat_sel` and `stat_syn`"
    assert (naive.claim, naive.holds) == (NAIVE.replace("`stat_sel`", lesser), False)
    assert naive.measured.startswith("+15.0 (") and naive.measured.endswith("half is +12.5")


def reinforced(longer: float, standard: float, recipe: str = "stat_sel") -> list[Verdict]:
    """Return the verdicts on GRPO that starts at 25 % on longer chains and 75 % else."""
    before, after = ({"standard": right(a), "longer_chains": right(b)} for a, b in ((0.75, 0.25), (standard, longer)))
    return verdicts(trainings([result(recipe, seed, base=before, sft=before, rl=after) for seed in SEEDS]))


def test_reinforcement_learning() -> None:
    (adds, lowers) = reinforced(longer=0.3, standard=0.75)
    assert adds.claim == "`stat_sel + GRPO`: GRPO adds at least 5 points on average on longer chains" and adds.holds
    assert lowers.claim == "`stat_sel + GRPO`: GRPO lowers no other benchmark beyond its interval" and lowers.holds
    assert lowers.measured.startswith("standard +0.0 (")
    assert [each.holds for each in reinforced(longer=0.275, standard=0.25)] == [False, False]
    assert reinforced(longer=0.9, standard=0.9, recipe="pool") == []


def test_where_a_recipe_was_trained_in_several_ways_nothing_is_said_of_it() -> None:
    sizes = [result("stat_sel", varies={"data_recipe.pairs": pairs}, base="-", sft="+") for pairs in ("500", "1000")]
    assert verdicts(trainings(sizes)) == []


def test_points_have_their_bounds_where_there_are_some() -> None:
    assert points(Change(1.25, -0.04, 2.0, [])) == "+1.2 (-0.0 to +2.0)"
    assert points(Change(-3.0, None, None, [])) == "-3.0"
