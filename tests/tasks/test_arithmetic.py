"""The embedded task: what its questions are made of, and that its checker is exact."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from math import sqrt
from random import Random

import pytest

from stat_train.records import Question
from stat_train.tasks.answers import extract_final
from stat_train.tasks.arithmetic import world
from stat_train.tasks.arithmetic.checker import failed_skills, score_steps, step_values
from stat_train.tasks.arithmetic.mixes import MIXES, pool_weights
from stat_train.tasks.arithmetic.skills import BY_NAME, SKILL_NAMES, SKILLS
from stat_train.tasks.arithmetic.world import (
    BENCHMARKS,
    Chain,
    Family,
    ask,
    draw_chain,
    fingerprint,
    questions,
    rewrite,
    solve,
)
from stat_train.tasks.steps import split_steps

STEPS = (1, 3)
CHAIN = "addition(34; 58) subtraction(20) multiplication(3)"  # 34 -> 92 -> 72 -> 216


def _chains(family: Family, count: int, seed: str = "tests") -> list[Chain]:
    random = Random(seed)
    return [draw_chain(random, family) for _ in range(count)]


def _question(source: str) -> Question:
    return Question(id="q", question="?", answer=str(Chain.parse(source).values()[-1]), source=source)


# -- chains and skills ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_a_chain_is_read_back_as_it_was_written(family: Family) -> None:
    for chain in _chains(family, 300):
        assert Chain.parse(str(chain)) == chain


def test_a_chain_can_be_asked_for_by_any_two_skills_and_needs_just_these_in_any_order() -> None:
    """But for two that make no chain alone: each leaves one digit, and asks for several. These have a third."""
    for needed in combinations(SKILL_NAMES, 2):
        chains = [world.chain_with(Random(f"{needed}/{index}"), needed) for index in range(2)]
        assert {chain.split() for chain in chains} == {"pool"}
        found = [{name for name, _ in chain.steps} for chain in chains]
        alone = set(needed) != {"last_digit", "largest_digit"}
        assert all(skills == set(needed) if alone else skills > set(needed) for skills in found)
    asked = [world.chain_with(Random(index), ["addition", "subtraction"]) for index in range(40)]
    assert {chain.steps[0][0] for chain in asked} == {"addition", "subtraction"}


def test_the_written_form_of_a_chain() -> None:
    chain = Chain(34, (("digit_sum", ()), ("arithmetic_sequence", (5, 4))))
    assert str(chain) == "digit_sum(34; ) arithmetic_sequence(5, 4)"
    assert chain.values() == [3 + 4, 7 + 3 * 5]


@pytest.mark.parametrize("source", ["", "addition", "addition(3)", "guessing(3; 4)", "addition(3; 4) guessing(5)"])
def test_what_is_not_a_chain_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="not a chain"):
        Chain.parse(source)


VALUES = [
    ("addition(34; 58)", 92),
    ("subtraction(34; 20)", 14),
    ("multiplication(34; 3)", 102),
    ("division(36; 9)", 4),
    ("remainder(38; 7)", 3),  # 38 = 5 * 7 + 3
    ("percentage(60; 15)", 9),  # 60 * 15 / 100
    ("greatest_common_divisor(84; 36)", 12),  # 84 = 7 * 12, 36 = 3 * 12
    ("linear_equation(38; 5, 3)", 7),  # 5 * 7 + 3 = 38
    ("arithmetic_sequence(10; 4, 3)", 18),  # 10, 14, 18
    ("comparison(34; 58)", 58),
    ("comparison(58; 34)", 58),
    ("powers(7; 3)", 63),  # 7 * 9
    ("digit_sum(495; )", 18),
    ("rounding(34; )", 30),
    ("rounding(35; )", 40),  # halves go up
    ("average(10; 24)", 17),
    ("last_digit(495; )", 5),
    ("place_shift(34; )", 340),
    ("digit_reversal(120; )", 21),
    ("largest_digit(495; )", 9),
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_values_by_hand(source: str, value: int) -> None:
    assert Chain.parse(source).values() == [value]


def test_every_skill_has_a_value_by_hand() -> None:
    assert {source.partition("(")[0] for source, _ in VALUES} == set(SKILL_NAMES)


@pytest.mark.parametrize("source", ["division(37; 9)", "percentage(61; 15)", "linear_equation(39; 5, 3)"])
def test_a_step_without_a_whole_result_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="no whole result"):
        Chain.parse(source).values()


def test_a_family_keeps_to_its_size() -> None:
    """999 is the largest result at scale 1, so 2997 at scale 3; some results must need the larger scale."""
    largest = {name: max(max(c.values()) for c in _chains(family, 500)) for name, family in BENCHMARKS.items()}
    assert largest["standard"] <= 999 < largest["larger_numbers"] <= 2997
    assert {len(chain.steps) for chain in _chains(BENCHMARKS["longer_chains"], 200)} == {4, 5, 6}
    assert all(len({name for name, _ in c.steps}) == len(c.steps) for c in _chains(BENCHMARKS["longer_chains"], 200))


# -- phrasings --------------------------------------------------------------------------------------------------------


def test_there_are_enough_skills_and_phrasings() -> None:
    assert len(SKILLS) == len(set(SKILL_NAMES)) >= 12
    for skill in SKILLS:
        assert len(set(skill.asks)) >= 3
        assert len(set(skill.shows)) >= 3
        assert skill.unseen not in skill.asks


def test_no_phrasing_asks_for_two_skills() -> None:
    asks = [phrase for skill in SKILLS for phrase in (*skill.asks, skill.unseen)]
    assert len(asks) == len(set(asks))


def _one_word_apart(first: str, second: str) -> str | None:
    """Return the frame that two phrasings share when all but one word is the same."""
    words, others = first.split(), second.split()
    apart = [i for i, (a, b) in enumerate(zip(words, others, strict=False)) if a != b]
    if len(words) != len(others) or len(apart) != 1:
        return None
    return " ".join("*" if i == apart[0] else word for i, word in enumerate(words))


def test_frames_are_shared_by_skills() -> None:
    """So a student, or a reader of the words alone, cannot take the frame for the skill."""
    shared: dict[str, set[str]] = {}
    for one, two in combinations(SKILLS, 2):
        for frame in filter(None, (_one_word_apart(a, b) for a in one.asks for b in two.asks)):
            shared.setdefault(frame, set()).update((one.name, two.name))
    assert {"addition", "subtraction", "multiplication", "division", "remainder"} < shared["find the * of {x} and {a}"]
    assert shared["count * from {x} by {a}"] == {"addition", "subtraction"}
    split = {skill.name for skill in SKILLS for ask in skill.asks if ask.startswith("share {x} among {a} and keep ")}
    assert split == {"division", "remainder"}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+|[^\sA-Za-z\d]", text))


def test_unseen_phrasings_use_words_that_were_seen() -> None:
    """Otherwise the benchmark would measure unknown words, not an unknown way to ask."""
    seen = set[str]()
    for question in questions("0", "pool", "pool", 4000, Family(steps=STEPS)):
        seen |= _words(question.question) | _words(question.solution or "")
    unseen = Family(steps=(1, 6), unseen_phrasings=True)
    asked = [question.question for question in questions("0", "benchmark", "unseen", 1000, unseen)]
    assert set().union(*map(_words, asked)) - seen == set()


def test_an_unseen_phrasing_is_not_a_seen_one() -> None:
    chain = Chain.parse("addition(34; 58)")
    seen = {ask(Random(seed), chain).partition(".")[0] for seed in range(50)}
    assert seen == {"Add 58 to 34", "Increase 34 by 58", "Find the sum of 34 and 58", "Count up from 34 by 58"}
    assert ask(Random(0), chain, unseen_phrasings=True).partition(".")[0] == "Take 34 plus 58"


# -- frequencies ------------------------------------------------------------------------------------------------------


def _expected_shares(weights: Mapping[str, float], steps: tuple[int, int]) -> dict[str, float]:
    """Return the share of questions that carry each skill: drawn by weight, one after another, none twice."""
    low, high = steps
    shares = dict.fromkeys(weights, 0.0)

    def follow(taken: tuple[str, ...], probability: float) -> None:
        left = sum(weight for name, weight in weights.items() if name not in taken)
        still = sum(length > len(taken) for length in range(low, high + 1)) / (high - low + 1)
        for name, weight in weights.items():
            if name not in taken:
                shares[name] += still * probability * weight / left
                if len(taken) + 1 < high:
                    follow((*taken, name), probability * weight / left)

    follow((), 1.0)
    return shares


def _largest_deviation(made: list[Question], shares: Mapping[str, float]) -> float:
    """Return the largest deviation of a skill's count from its binomial expectation, in standard deviations."""
    counts, n = Counter(name for question in made for name in question.skills or []), len(made)
    return max(abs(counts[name] - n * p) / sqrt(n * p * (1 - p)) for name, p in shares.items())


def test_expected_shares_by_hand() -> None:
    """One or two steps of a (weight 3) and b (weight 1): a comes first in 3/4, and second in half of the other 1/4."""
    assert _expected_shares({"a": 3, "b": 1}, (1, 2)) == pytest.approx({"a": 3 / 4 + 1 / 8, "b": 1 / 4 + 3 / 8})


def test_the_standard_benchmark_weighs_skills_evenly() -> None:
    """Two steps on average over 18 skills: each is in 1/9 of the questions. 4 deviations: p < 1e-3 for all."""
    made = list(questions("benchmark", "benchmark", "standard", 4000, BENCHMARKS["standard"]))
    assert _largest_deviation(made, dict.fromkeys(SKILL_NAMES, 1 / 9)) < 4


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_the_pool_has_the_frequencies_of_its_mix(mix: str) -> None:
    made = list(questions("0", "pool", "pool", 4000, Family(steps=STEPS, weights=MIXES[mix])))
    assert _largest_deviation(made, _expected_shares(MIXES[mix], STEPS)) < 4
    assert _largest_deviation(made, dict.fromkeys(SKILL_NAMES, 1 / 9)) > 10


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_a_mix_has_rare_skills_and_weighs_every_skill(mix: str) -> None:
    rare = {name for name, weight in MIXES[mix].items() if weight <= max(MIXES[mix].values()) / 4}
    assert len(rare) >= 4
    assert set(MIXES[mix]) == set(SKILL_NAMES)


def test_the_weights_of_a_pool_between_a_mix_and_all_skills_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights 3 and 1 the shares are 3/4 and 1/4; half of the way to 1/2 each they are 5/8 and 3/8."""
    monkeypatch.setitem(MIXES, "a", {"addition": 3.0, "division": 1.0})
    assert pool_weights("a", 0.0) == MIXES["a"]
    assert pool_weights("a", 0.5) == {"addition": 5 / 8, "division": 3 / 8}
    assert pool_weights("a", 1.0) == {"addition": 1 / 2, "division": 1 / 2}


# -- same seed, same questions ----------------------------------------------------------------------------------------


def test_the_seed_decides_the_questions() -> None:
    def lines(seed: str) -> list[str]:
        return [question.to_line() for question in questions(seed, "pool", "pool", 200, Family(steps=STEPS))]

    assert lines("0") == lines("0")
    # At most a few short questions may come again under another seed; ids say nothing of the content.
    assert len({line.partition('"question"')[2] for line in lines("0") + lines("1")}) > 390


def test_more_questions_start_with_the_same_ones() -> None:
    few, more = (list(questions("0", "pool", "pool", count, Family())) for count in (50, 100))
    assert more[:50] == few
    assert len({question.question for question in more}) == len({question.id for question in more}) == 100


def test_the_fingerprint_of_a_world_follows_what_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So an artifact that an older world made is not taken for this one's."""
    before = fingerprint(MIXES["a"])
    assert fingerprint(MIXES["a"]) == before != fingerprint(MIXES["b"])
    monkeypatch.setattr(world, "_CLOSINGS", ("What is it?",))
    assert fingerprint(MIXES["a"]) != before


# -- solutions and the checker ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_every_reference_solution_is_right(family: Family) -> None:
    for question in questions("0", "benchmark", "any", 400, family):
        steps = split_steps(question.solution or "")
        chain = Chain.parse(question.source or "")
        assert score_steps(question, steps) == [1.0] * (len(chain.steps) + 1)
        assert failed_skills(question, steps) == []
        assert extract_final(question.solution or "") == question.answer == str(chain.values()[-1])
        assert (question.level, question.skills) == (len(chain.steps), [name for name, _ in chain.steps])


@pytest.mark.parametrize("family", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_rewrites_say_every_step_in_other_words_and_are_right(family: Family) -> None:
    for chain in _chains(family, 100):
        texts = [rewrite("0", chain, sample) for sample in range(3)]
        steps = [split_steps(text) for text in texts]
        for index in range(len(chain.steps)):
            assert len({one[index] for one in steps}) == 3
        for one in steps:
            assert score_steps(_question(str(chain)), one) == [1.0] * (len(chain.steps) + 1)
            assert failed_skills(_question(str(chain)), one) == []
        assert texts == [rewrite("0", chain, sample) for sample in range(3)]
        assert {extract_final(text) for text in texts} == {str(chain.values()[-1])}


def test_solve_writes_one_paragraph_a_step() -> None:
    paragraphs = solve(Random(0), Chain.parse(CHAIN)).split("\n\n")
    assert step_values(paragraphs) == [92, 72, 216, 216]
    assert paragraphs[-1] == "The answer is 216."


def _with_a_wrong_step(chain: Chain, wrong: int) -> list[str] | None:
    """Return the steps of an answer that is off by one in step `wrong`, and right from there with what it has."""
    number, steps = chain.start, []
    for index, (name, operands) in enumerate(chain.steps):
        result = BY_NAME[name].compute(number, operands)
        if result is None:
            return None
        number = result + (index == wrong)
        steps.append(f"this makes {number}")
    return steps


def _carried(family: Family) -> Iterator[tuple[Chain, int, list[str]]]:
    for chain in _chains(family, 300):
        for wrong in range(len(chain.steps)):
            if steps := _with_a_wrong_step(chain, wrong):
                yield chain, wrong, steps


@pytest.mark.parametrize("family", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_a_wrong_number_that_is_carried_fails_one_skill(family: Family) -> None:
    cases = list(_carried(family))
    assert {chain.steps[wrong][0] for chain, wrong, _ in cases} == set(SKILL_NAMES)
    for chain, wrong, steps in cases:
        assert failed_skills(_question(str(chain)), steps) == [chain.steps[wrong][0]]
        assert score_steps(_question(str(chain)), steps)[: wrong + 1] == [1.0] * wrong + [0.0]


CHECKED = [
    # 34 + 58 is 92, not 82; what follows is right for 82, and no step has the chain's number.
    (["34 + 58 = 82", "82 - 20 = 62", "62 * 3 = 186", "The answer is 186."], ["addition"], [0, 0, 0, 0]),
    (["34 + 58 = 92", "92 - 20 = 71", "71 * 3 = 213", "The answer is 213."], ["subtraction"], [1, 0, 0, 0]),
    # Two independent mistakes; the second is 62 * 3, which is 186.
    (["34 + 58 = 82", "82 - 20 = 62", "62 * 3 = 180"], ["addition", "multiplication"], [0, 0, 0]),
    # Two mistakes that cancel each other: 93 - 20 is 73, so 72 does not follow, though it is the chain's number.
    (["34 + 58 = 93", "93 - 20 = 72", "72 * 3 = 216"], ["addition", "subtraction"], [0, 1, 1]),
    # Steps that are absent: the closing sentence stands where the subtraction should.
    (["34 + 58 = 92", "The answer is 92."], ["subtraction", "multiplication"], [1, 0]),
    # Answers that stop half-way, each step right: what is not there cannot be rewarded.
    (["34 + 58 = 92"], ["subtraction", "multiplication"], [0]),
    (["34 + 58 = 92", "92 - 20 = 72"], ["multiplication"], [1, 0]),
    (["34 + 58 = 92", "The answer is 72."], ["multiplication"], [1, 0]),
    # A step that says the last number at once is taken by its value.
    (["That makes 216"], ["addition", "subtraction", "multiplication"], [0]),
    ([], ["addition", "subtraction", "multiplication"], []),
    # Without a number the step failed; what follows cannot be blamed on the next skill.
    (["I add them", "that less 20 = 72", "72 * 3 = 216"], ["addition"], [0, 1, 1]),
    # A number too long to be one.
    (["1" * 30, "72", "216"], ["addition"], [0, 1, 1]),
    # The steps are right and the closing sentence is not: no skill failed.
    (["34 + 58 = 92", "92 - 20 = 72", "72 * 3 = 216", "The answer is 261."], [], [1, 1, 1, 0]),
]


@pytest.mark.parametrize(("steps", "failed", "scores"), CHECKED)
def test_the_checker_by_hand(steps: list[str], failed: list[str], scores: list[int]) -> None:
    assert failed_skills(_question(CHAIN), steps) == failed
    assert score_steps(_question(CHAIN), steps) == scores


def test_a_step_that_has_no_whole_result_from_a_wrong_number_is_not_blamed() -> None:
    """34 + 58 = 92 = 4 * 23; from 91 there is no whole quotient, so whatever follows is the addition's fault."""
    steps = ["34 + 58 = 91", "91 / 4 = 22", "The answer is 22."]
    assert failed_skills(_question("addition(34; 58) division(4)"), steps) == ["addition"]
