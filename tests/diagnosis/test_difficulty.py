"""Which questions are difficult, by each rule."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest

from stat_train.config import ConsistencyDifficulty, GoldDifficulty, StepRewardDifficulty
from stat_train.diagnosis.difficulty import by_consistency, by_gold, by_length, by_step_rewards, low_rewards
from stat_train.diagnosis.step_rewards import ExactChecker, step_rewards
from stat_train.records import Answer, Difficulty, Dropped, Grade, Question, StepRewards, Verdict
from stat_train.tasks.answers import extract_final
from stat_train.tasks.graders import PlainGrader

VERDICTS: Mapping[str, Verdict] = {"+": "correct", "-": "wrong", "?": "unscored"}
CHAIN = "addition(34; 58) subtraction(20)"  # 34 -> 92 -> 72
RIGHT = "34 + 58 = 92\n\n92 - 20 = 72\n\nThe answer is 72."
CARRIED = "34 + 58 = 82\n\n82 - 20 = 62\n\nThe answer is 62."
TOO_LONG = "too long for the reward model: 9 tokens"
EXACT, ASKED = PlainGrader("exact"), {"q": Question(id="q", question="?")}


def _grades(verdicts: str, question: str = "q") -> list[Grade]:
    return [
        Grade(question_id=question, attempt=attempt, verdict=VERDICTS[sign], reason="why" if sign == "?" else None)
        for attempt, sign in enumerate(verdicts)
    ]


def _gold(attempts: str) -> GoldDifficulty:
    return GoldDifficulty.model_validate({"name": "gold", "attempts": attempts})


def _answers(*texts: str) -> list[Answer]:
    return [
        Answer(
            question_id="q",
            attempt=attempt,
            text=text,
            final=extract_final(text),
            finish_reason="stop",
            output_tokens=0,
            prompt_hash="",
        )
        for attempt, text in enumerate(texts)
    ]


# -- by the gold answer -----------------------------------------------------------------------------------------------

# Verdicts of the attempts (+ right, - wrong, ? unscored); difficult by first, any, majority; None: not judged.
GOLD = [
    ("+", False, False, False),
    ("-", True, True, True),
    ("+-", False, True, False),  # 1 of 2 is not more than half
    ("-+", True, True, False),
    ("+--", False, True, True),
    ("-++", True, True, False),
    # Unscored attempts are neither right nor wrong, and no other takes the place of the first.
    ("?-", None, True, True),
    ("?+-", None, True, False),
    ("-??", True, True, True),
    ("+?--?", False, True, True),  # 2 of 3 scored ones
]


@pytest.mark.parametrize("rule", ["first", "any", "majority"])
@pytest.mark.parametrize(("verdicts", "first", "some", "majority"), GOLD)
def test_gold(rule: str, verdicts: str, first: bool | None, some: bool, majority: bool) -> None:
    expected = {"first": first, "any": some, "majority": majority}[rule]
    found, dropped = by_gold(_grades(verdicts), _gold(rule))
    assert [(row.difficult, row.rule) for row in found] == ([] if expected is None else [(expected, f"gold/{rule}")])
    assert [row.reason for row in dropped] == (["unscored"] if expected is None else [])


@pytest.mark.parametrize(
    ("verdicts", "rule", "attempt"),
    [("++-+-", "any", 2), ("+--", "majority", 1), ("?-", "any", 1), ("?+", "any", 1), ("+-", "first", 0)],
)
def test_the_first_wrong_attempt_is_diagnosed(verdicts: str, rule: str, attempt: int) -> None:
    """Of a question that is not difficult, the first scored attempt is named."""
    (found,), _ = by_gold(_grades(verdicts), _gold(rule))
    assert found.attempt == attempt


def test_a_question_without_a_scored_attempt_is_left_out_with_the_reason() -> None:
    found, dropped = by_gold([*_grades("??", "a"), *_grades("-?", "b")], _gold("any"))
    assert [row.question_id for row in found] == ["b"]
    assert [(row.stage, row.id, row.reason, row.detail) for row in dropped] == [("diagnose", "a", "unscored", "why")]


# -- by step rewards --------------------------------------------------------------------------------------------------

# The paper's rule: the last reward or the mean at most tau1, or an earlier one at most tau2. All numbers are exact
# binary fractions, so that a boundary is one.
TAU1, TAU2 = 0.5, 0.25


@pytest.mark.parametrize(
    ("rewards", "low"),
    [
        ([], True),
        ([0.5], True),  # one step: the last, on the boundary; the mean is the same
        ([0.5625], False),
        ([0.25], True),
        ([0.0], True),
        ([1.0], False),
        ([1.0, 0.5], True),  # the last; the mean is 0.75
        ([1.0, 0.5625], False),
        ([0.375, 0.625], True),  # the mean, on the boundary: no earlier one is at most 0.25, the last is over 0.5
        ([0.375, 0.6875], False),  # mean 0.53125
        ([0.25, 1.0, 1.0], True),  # an earlier one, on the boundary; the mean is 0.75
        ([0.3125, 1.0, 1.0], False),
        ([1.0, 0.25, 1.0], True),
        ([1.0, 0.3125, 1.0], False),
        ([1.0, 1.0, 0.5], True),  # the last, on the boundary; the mean is 0.83
        ([1.0, 1.0, 0.25], True),  # the last, at tau2; it is at most tau1 as well
        ([1.0, 1.0, 1.0], False),
    ],
)
def test_low_rewards(rewards: Sequence[float], low: bool) -> None:
    assert low_rewards(rewards, TAU1, TAU2) is low


def test_tau2_is_not_asked_of_the_last_step() -> None:
    """With tau1 below tau2 the last reward 0.375 is low for an earlier step only."""
    assert not low_rewards([1.0, 0.375], tau1=0.25, tau2=0.5)
    assert low_rewards([0.375, 1.0], tau1=0.25, tau2=0.5)


def _some_rewards(chance: random.Random) -> list[float]:
    """Return up to 8 rewards in eighths, so that they often meet a threshold, and each other."""
    return [chance.randint(0, 8) / 8 for _ in range(chance.randint(0, 8))]


def test_raising_a_reward_makes_no_easy_answer_difficult() -> None:
    chance, moved = random.Random(1), 0
    for _ in range(5000):
        rewards, tau1, tau2 = _some_rewards(chance), chance.randint(0, 8) / 8, chance.randint(0, 8) / 8
        if not rewards:
            continue
        index = chance.randrange(len(rewards))
        raised = [*rewards[:index], chance.uniform(rewards[index], 1), *rewards[index + 1 :]]
        before, after = (low_rewards(values, tau1, tau2) for values in (rewards, raised))
        assert before or not after, (rewards, raised, tau1, tau2)
        moved += before and not after
    assert moved > 100


def test_raising_a_threshold_makes_no_difficult_answer_easy() -> None:
    chance, moved = random.Random(2), 0
    for _ in range(5000):
        rewards, tau1, tau2 = _some_rewards(chance), chance.randint(0, 8) / 8, chance.randint(0, 8) / 8
        before = low_rewards(rewards, tau1, tau2)
        after = low_rewards(rewards, chance.uniform(tau1, 1), chance.uniform(tau2, 1))
        assert after or not before, (rewards, tau1, tau2)
        moved += after and not before
    assert moved > 100


def test_the_last_reward_is_never_compared_with_tau2() -> None:
    """An answer whose last reward is over tau1 is as difficult with that reward as with 1, if the mean stays over tau1.

    So whatever tau2 is, the last reward alone cannot decide by it.
    """
    chance, at_most_tau2 = random.Random(3), 0
    for _ in range(5000):
        rewards, tau1, tau2 = _some_rewards(chance), chance.randint(0, 7) / 8, chance.randint(0, 8) / 8
        if not rewards or rewards[-1] <= tau1 or sum(rewards) / len(rewards) <= tau1:
            continue
        assert low_rewards(rewards, tau1, tau2) == low_rewards([*rewards[:-1], 1.0], tau1, tau2), (rewards, tau1, tau2)
        at_most_tau2 += rewards[-1] <= tau2
    assert at_most_tau2 > 100


def test_the_rule_is_the_one_of_the_paper() -> None:
    """Difficult when any holds: r_t <= tau1, mean <= tau1, some i < t with r_i <= tau2; written out with fractions."""
    chance, difficult = random.Random(4), Counter[bool]()
    for _ in range(5000):
        rewards, tau1, tau2 = _some_rewards(chance) or [0.0], chance.randint(0, 8) / 8, chance.randint(0, 8) / 8
        exact = [Fraction(reward) for reward in rewards]
        last, mean = exact[-1] <= tau1, sum(exact) <= Fraction(tau1) * len(exact)
        earlier = min(exact[:-1], default=Fraction(2)) <= tau2
        assert low_rewards(rewards, tau1, tau2) == (last or mean or earlier), (rewards, tau1, tau2)
        difficult[last or mean or earlier] += 1
    assert min(difficult.values()) > 500


def _scored(*attempts: list[float] | None, question: str = "q") -> list[StepRewards]:
    return [
        StepRewards(
            question_id=question,
            attempt=n,
            rewards=rewards,
            error=None if rewards else TOO_LONG,
        )
        for n, rewards in enumerate(attempts)
    ]


def _rule(attempts: str, tau1: float, tau2: float) -> StepRewardDifficulty:
    return StepRewardDifficulty.model_validate(
        {
            "name": "step_rewards",
            "attempts": attempts,
            "step_rewarder": "checker",
            "checker_error_rate": 0.0,
            "checker_spread": 0.0,
        }
        | {"tau1": tau1, "tau2": tau2, "prm": None}
    )


def _by_rewards(attempts: str, scored: list[StepRewards]) -> tuple[list[Difficulty], list[Dropped]]:
    settings = _rule(attempts, TAU1, TAU2)
    return by_step_rewards(scored, settings)


@pytest.mark.parametrize("rule", ["first", "any", "majority"])
@pytest.mark.parametrize(
    ("attempts", "first", "some", "majority"),
    [
        # An answer without rewards is neither difficult nor easy, and no other takes the place of the first.
        ([None, [0.0]], None, True, True),
        ([None, [1.0]], None, False, False),
        ([[1.0], None, [0.0]], False, True, False),
        ([None, [0.0], [1.0], [0.0]], None, True, True),
    ],
)
def test_answers_without_rewards_do_not_count(
    rule: str, attempts: list[list[float] | None], first: bool | None, some: bool, majority: bool
) -> None:
    expected = {"first": first, "any": some, "majority": majority}[rule]
    found, dropped = _by_rewards(rule, _scored(*attempts))
    assert [row.difficult for row in found] == ([] if expected is None else [expected])
    assert [row.step_rewards for row in found] == [attempts[row.attempt] for row in found]
    left_out = [] if rule == "first" and attempts[0] is not None else [f"attempt {attempts.index(None)}: 9 tokens"]
    assert [row.detail for row in dropped] == left_out


def test_a_question_without_a_scored_answer_is_left_out_with_the_reason() -> None:
    found, dropped = _by_rewards("any", [*_scored(None, None, question="a"), *_scored([1.0], question="b")])
    assert [(row.question_id, row.difficult) for row in found] == [("b", False)]
    reason = "too long for the reward model"
    assert [(row.stage, row.id, row.reason, row.detail) for row in dropped] == [
        ("diagnose", "a", reason, f"attempt {n}: 9 tokens") for n in (0, 1)
    ]


def _by_checker(attempts: str, *texts: str) -> tuple[bool, int, list[float] | None]:
    settings = _rule(attempts, 0.85, 0.7)
    question = Question(id="q", question="?", source=CHAIN)
    scored = step_rewards(ExactChecker(), {"q": question}, _answers(*texts))
    (found,), dropped = by_step_rewards(scored, settings)
    assert dropped == []
    assert found.rule == f"step_rewards/{attempts}"
    return found.difficult, found.attempt, found.step_rewards


def test_step_rewards_of_the_attempt_that_is_diagnosed() -> None:
    assert _by_checker("first", RIGHT) == (False, 0, [1.0, 1.0, 1.0])
    assert _by_checker("first", RIGHT, CARRIED) == (False, 0, [1.0, 1.0, 1.0])
    assert _by_checker("any", RIGHT, CARRIED) == (True, 1, [0.0, 0.0, 0.0])
    assert _by_checker("majority", RIGHT, CARRIED) == (False, 0, [1.0, 1.0, 1.0])


def test_a_right_answer_with_a_wrong_step_is_difficult() -> None:
    """Rewards 0, 1, 1: the last is 1, the mean is 2/3 and an earlier one is 0. A gold answer would not tell."""
    assert _by_checker("first", "34 + 58 = 93\n\nthat less 20 = 72\n\nThe answer is 72.") == (True, 0, [0, 1, 1])


def test_an_empty_answer_is_difficult() -> None:
    assert _by_checker("first", "") == (True, 0, [])


# -- by consistency ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finals", "difficult"),
    [
        ("1 2 3 4 5", True),  # the commonest appears once, fewer than 2 times
        ("1 2 3 4 1", False),
        ("1 1 1 1 1", False),
        ("- - - - 1", True),  # answers that state nothing do not agree with each other
        ("- - - - -", True),
        ("- - 1 - 1", False),
    ],
)
def test_consistency(finals: str, difficult: bool) -> None:
    settings = ConsistencyDifficulty(name="consistency", samples=5, temperature=1.0, min_agreement=2)
    texts = ["no idea" if final == "-" else f"\\boxed{{{final}}}" for final in finals.split()]
    (found,), _ = by_consistency(ASKED, _answers(*texts), settings, EXACT)
    assert (found.difficult, found.rule, found.attempt) == (difficult, "consistency", 0)


@pytest.mark.parametrize(("least", "difficult"), [(2, False), (3, False), (4, True)])
def test_the_agreement_that_is_asked_for(least: int, difficult: bool) -> None:
    settings = ConsistencyDifficulty(name="consistency", samples=5, temperature=1.0, min_agreement=least)
    (found,), _ = by_consistency(
        ASKED,
        _answers(*(f"\\boxed{{{final}}}" for final in "11122")),
        settings,
        EXACT,
    )
    assert found.difficult == difficult


# -- by length --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "difficult"),
    [
        ([799], False),
        ([800], True),
        ([801], True),
        ([1, 1599], True),  # 800 on average, though one of two is short
        ([1, 1598], False),
        ([0, 0, 2400], True),
        ([0, 0, 2399], False),  # an answer without a word is one all the same
    ],
)
def test_length(lengths: list[int], difficult: bool) -> None:
    """800 words or more on average; words stand between white space of any kind."""
    ((found,), dropped) = by_length(_answers(*("two \n\twords " * (n // 2) + "x" * (n % 2) for n in lengths)), 800)
    assert (found.difficult, found.rule, found.attempt, dropped) == (difficult, "length", 0, [])


def _never_came(answer: Answer) -> Answer:
    return answer.model_copy(update={"text": "", "final": None, "finish_reason": "error"})


def test_an_answer_that_never_came_is_not_a_short_one() -> None:
    """800 words and nothing would be 400 on average."""
    first, second = _answers("", "word " * 800)
    ((found,), _) = by_length([_never_came(first), second], 800)
    assert (found.difficult, found.attempt) == (True, 1)
    found_none, (dropped,) = by_length([_never_came(first)], 800)
    assert (found_none, dropped.stage, dropped.id, dropped.reason) == ([], "diagnose", "q", "no answer came")


def test_an_answer_that_never_came_is_no_sample_that_disagrees() -> None:
    """Of three samples one came: too few to agree."""
    settings = ConsistencyDifficulty(name="consistency", samples=3, temperature=1.0, min_agreement=2)
    first, *others = _answers("\\boxed{1}", "", "")
    found, (dropped,) = by_consistency(ASKED, [first, *map(_never_came, others)], settings, EXACT)
    assert (found, dropped.reason, dropped.detail) == ([], "too few samples to agree", "1 samples")
