"""What a skill weighs: by its count, by its rate, or by what is to be believed of its rate."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random
from typing import Literal

import pytest
from pools import diagnosed_of, source_of
from scipy.stats import chisquare

from stat_train.curation.selection import stat_sel
from stat_train.curation.source import OWN
from stat_train.curation.weights import Slots, shares, skill_weights, spread
from stat_train.recipe_settings import StatSelRecipe
from stat_train.records import Diagnosed, Question

# a: missing in 4 of 8 exposures; b: in 2 of 2; c: in none of 10.
MISSED = {**{f"a{n}": ["a"] for n in range(4)}, "b0": ["b"], "b1": ["b"]}
REQUIRED = {**{f"ra{n}": ["a"] for n in range(4)}, **{f"rc{n}": ["c"] for n in range(10)}}
POOL = [
    Question(id=f"{skill}-{n}", question=f"{skill} {n}?", solution="1", skills=[skill])
    for skill in "abc"
    for n in range(50)
]


def _diagnosed() -> Diagnosed:
    return diagnosed_of(MISSED, REQUIRED)


def _drawn(weight: Literal["count", "rate", "posterior"], passes: int) -> Counter[str | None]:
    recipe = StatSelRecipe(
        name="stat_sel",
        pairs=1,
        questions_per_skill=5,
        weight=weight,
        answers=None,
        answers_per_question=1,
        allow_short=False,
    )
    found = islice(stat_sel(source_of(POOL), _diagnosed(), recipe, [OWN], Random(0)), passes)
    return Counter(draw.skill for draws in found for draw in draws)


def test_by_count_each_missing_skill_of_a_question_weighs_the_same() -> None:
    """Five questions for each of 4 + 2."""
    assert _drawn("count", 1) == {"a": 20, "b": 10}


def test_by_rate_a_skill_that_is_always_missing_weighs_twice_one_that_half_of_the_time_is() -> None:
    """A pass has 30 questions: rates 0.5 and 1.0 share them 10 to 20; c, never missing, has none."""
    assert _drawn("rate", 1) == {"a": 10, "b": 20}


def test_by_posterior_a_skill_weighs_what_is_to_be_believed_of_its_rate() -> None:
    """The prior is Beta(2u, 2(1 - u)) with u = 6.5 / 21, so the posterior means are 0.462, 0.655 and 0.052.

    A pass gives 30 questions in proportion to a draw from each; over 2,000 passes that is near the mean of w / sum(w),
    which is worked out here from draws of numpy's.
    """
    import numpy

    u = 6.5 / 21
    generator = numpy.random.default_rng(0)
    counts = {"a": (4, 8), "b": (2, 2), "c": (0, 10)}
    drawn = numpy.array(
        [
            generator.beta(2 * u + missing, 2 * (1 - u) + exposed - missing, 200_000)
            for missing, exposed in counts.values()
        ]
    )
    expected = (drawn / drawn.sum(axis=0)).mean(axis=1)
    found = _drawn("posterior", 2000)
    total = sum(found.values())
    assert total == 30 * 2000
    assert [found[skill] / total for skill in counts] == pytest.approx(expected, abs=0.01)
    assert found["c"] > 0, "a skill that was never missing is believed to be so sometimes"


def test_what_is_believed_changes_from_pass_to_pass() -> None:
    """b was seen twice: its rate may be anything; c was seen ten times and never missing."""
    random, profile = Random(0), _diagnosed().profile
    found = [skill_weights(profile, "posterior", random) for _ in range(500)]
    spreads = {skill: max(each[skill] for each in found) - min(each[skill] for each in found) for skill in "bc"}
    assert spreads["b"] > 0.6 > spreads["c"]


@pytest.mark.parametrize("total", [1, 7, 30])
def test_shares_are_exact_on_average_and_off_by_less_than_one(total: int) -> None:
    weights, random = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}, Random(0)
    rounds = [shares(weights, total, random) for _ in range(4000)]
    for found in rounds:
        assert sum(found.values()) == total
        assert all(abs(found[skill] - total * weight) < 1 for skill, weight in weights.items())
    sums = [sum(found[skill] for found in rounds) for skill in weights]
    assert chisquare(sums, [total * 4000 * weight for weight in weights.values()]).pvalue > 0.001


def test_a_skills_questions_are_spread_over_those_that_miss_it() -> None:
    missing = [("q1", "a"), ("q2", "a"), ("q3", "b")]
    assert spread({"a": 5, "b": 2, "c": 1, "d": 4}, missing, {"a": 5, "b": 5, "c": 5, "d": 0}) == [
        Slots("q1", "a", 3),
        Slots("q2", "a", 2),
        Slots("q3", "b", 2),
        Slots(None, "c", 1),
    ]


def test_a_skill_with_more_draws_than_a_slot_may_have_gets_several_slots_a_question() -> None:
    """10 draws over two questions with at most 3 a slot: two slots each, of 3, 3, 2 and 2."""
    found = spread({"a": 10}, [("q1", "a"), ("q2", "a")], {"a": 3})
    assert [(slot.question_id, slot.questions) for slot in found] == [("q1", 3), ("q2", 3), ("q1", 2), ("q2", 2)]


def test_weights_are_kept_by_a_skill_that_one_question_misses_and_by_one_with_few_pool_questions() -> None:
    """a: missing in 1 of 1; b: in 10 of 100, with 2 pool questions. By rate that is ten to one: 50 and 5 of 55."""
    missed = {"qa": ["a"]} | {f"qb{n}": ["b"] for n in range(10)}
    diagnosed = diagnosed_of(missed, {f"r{n}": ["b"] for n in range(90)})
    pool = [Question(id=f"a{n}", question=f"a {n}?", solution="1", skills=["a"]) for n in range(8)]
    pool += [Question(id=f"b{n}", question=f"b {n}?", solution="1", skills=["b"]) for n in range(2)]
    recipe = StatSelRecipe(
        name="stat_sel",
        pairs=1,
        questions_per_skill=5,
        weight="rate",
        answers=None,
        answers_per_question=1,
        allow_short=False,
    )
    draws = next(stat_sel(source_of(pool), diagnosed, recipe, [OWN], Random(0)))
    assert Counter(draw.skill for draw in draws) == {"a": 50, "b": 5}
