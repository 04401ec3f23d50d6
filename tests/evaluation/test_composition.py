"""Skills in combination, against accuracies that are counted by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy
import pytest
from scipy.stats import t as student

from stat_train.evaluation.composition import SkillPair, by_skill_count, weakest_link
from stat_train.records import Question

Right = Mapping[tuple[str, ...], tuple[int, int]]


def asked(right: Right) -> tuple[list[Question], dict[str, float | None]]:
    """Return questions and scores for so many right of so many asked with each set of skills."""
    questions: list[Question] = []
    scores: dict[str, float | None] = {}
    for skills, (correct, number) in right.items():
        for index in range(number):
            questions.append(Question(id=f"{skills}{index}", question="?", skills=list(skills)))
            scores[questions[-1].id] = float(index < correct)
    return questions, scores


def found(right: Right) -> dict[str, Any]:
    """Return the weakest-link statistic of those questions, by way of JSON."""
    result = weakest_link(*asked(right))
    assert result is not None
    return dict(json.loads(json.dumps(result, allow_nan=False)))


# Alone: a 40 %, b 80 %, c 100 %, d 60 %; e only four times, f never.
ALONE: Right = {("a",): (4, 10), ("b",): (8, 10), ("c",): (5, 5), ("d",): (6, 10), ("e",): (4, 4)}
PAIRS: Right = {
    ("a", "b"): (2, 10),
    ("c", "a"): (5, 10),
    ("b", "c"): (9, 10),
    ("b", "d"): (9, 10),
    ("a", "d"): (5, 10),
    ("c", "d"): (3, 4),
    ("b", "e"): (5, 5),
    ("a", "f"): (0, 5),
}


def test_pairs_against_their_skills_alone() -> None:
    """Of two skills alone, in %: ab 20 of 40 and 80, below. ac 50 of 40 and 100, nearer 40. bd 90 of 60 and 80, above.

    Half-way are bc, 90 of 80 and 100, and ad, 50 of 40 and 60. cd was asked four times; e is seldom alone, f never.
    """
    result = found({**ALONE, **PAIRS, ("a", "b", "c"): (0, 9)})
    counts = [result[name] for name in ("below_both", "nearer_the_weaker", "nearer_the_stronger", "above_both")]
    assert (result["pairs"], counts) == (5, [1, 1, 2, 1])
    assert result["left_out"] == {"too_few_questions": 1, "skill_seldom_alone": 2}
    assert result["pairs"] + sum(result["left_out"].values()) == len(PAIRS)
    assert result["follows_the_weaker"] == 2 / 5
    assert [(row["weaker"], row["stronger"], row["link"]) for row in result["list"]] == [
        ("a", "b", -0.2),
        ("a", "c", 0.1),
        ("a", "d", 0.1),
        ("b", "c", 0.1),
        ("d", "b", 0.3),
    ]
    assert result["list"][0] == {
        "weaker": "a",
        "stronger": "b",
        "n": 10,
        "accuracy": 0.2,
        "weaker_accuracy": 0.4,
        "stronger_accuracy": 0.8,
        "link": -0.2,
        # 0.2 - 0.4 * 0.8
        "gap": -0.12,
        "place": "below_both",
    }


def test_means_over_pairs() -> None:
    """Links -0.2, 0.1, 0.1, 0.3, 0.1; gaps -0.12, 0.5 - 0.4, 0.9 - 0.8, 0.9 - 0.48, 0.5 - 0.24."""
    result = found({**ALONE, **PAIRS})
    assert result["link"]["mean"] == pytest.approx(0.4 / 5)
    assert -1 < result["link"]["low"] < 0.08 < result["link"]["high"] < 1
    assert result["gap"] == pytest.approx((-0.12 + 0.1 + 0.1 + 0.42 + 0.26) / 5)
    pairs, weaker = [0.2, 0.5, 0.9, 0.9, 0.5], [0.4, 0.4, 0.8, 0.6, 0.4]
    assert result["correlation_with_weaker"] == pytest.approx(numpy.corrcoef(pairs, weaker)[0, 1], abs=1e-6)
    stronger = [0.8, 1.0, 1.0, 0.8, 0.6]
    assert result["correlation_with_stronger"] == pytest.approx(numpy.corrcoef(pairs, stronger)[0, 1], abs=1e-6)


def test_a_world_of_weakest_links_is_recognised() -> None:
    """Each pair is right as often as its weaker skill: links of 0 in truth, and pairs that go with the weaker."""
    random = numpy.random.default_rng(0)
    rates = {f"s{index:02}": float(rate) for index, rate in enumerate(random.uniform(0.1, 0.9, 16))}
    names = list(rates)
    right: dict[tuple[str, ...], tuple[int, int]] = {
        (name,): (int(random.binomial(200, rate)), 200) for name, rate in rates.items()
    }
    for first, second in zip(names, [*names[5:], *names[:5]], strict=True):
        right[first, second] = (int(random.binomial(40, min(rates[first], rates[second]))), 40)
    result = found(right)
    assert result["pairs"] == 16
    assert result["link"]["low"] < 0 < result["link"]["high"]
    assert result["follows_the_weaker"] > 0.8
    assert result["correlation_with_weaker"] > 0.9 > result["correlation_with_stronger"]
    links = [row["link"] for row in result["list"]]
    reach = student.ppf(0.975, 15) * numpy.std(links, ddof=1) / 4
    assert result["link"]["high"] - result["link"]["mean"] >= 0.9 * reach


def test_unscored_questions_are_not_counted() -> None:
    questions, scores = asked({**ALONE, ("a", "b"): (2, 6)})
    for id in [question.id for question in questions if question.skills == ["a", "b"]][:2]:
        scores[id] = None
    result = weakest_link(questions, scores)
    assert result is not None and (result["pairs"], result["left_out"]["too_few_questions"]) == (0, 1)
    assert result["link"] == {"mean": None, "low": None, "high": None}
    assert (result["follows_the_weaker"], result["gap"], result["list"]) == (None, None, [])


def test_without_questions_of_two_skills_there_is_no_statistic() -> None:
    assert weakest_link(*asked(ALONE)) is None
    assert weakest_link([], {}) is None


def test_the_order_of_questions_and_skills_changes_nothing() -> None:
    questions, scores = asked({**ALONE, **PAIRS})
    turned = [question.model_copy(update={"skills": (question.skills or [])[::-1]}) for question in questions[::-1]]
    assert weakest_link(turned, scores) == weakest_link(questions, scores)


@pytest.mark.parametrize(
    ("accuracy", "place"),
    [
        (0.1 + 0.2 - 0.01, "below_both"),
        # 0.1 + 0.2 is a little more than 0.3.
        (0.3, "nearer_the_weaker"),
        (0.4, "nearer_the_weaker"),
        (0.5, "nearer_the_stronger"),
        (0.7, "nearer_the_stronger"),
        (0.71, "above_both"),
    ],
)
def test_places(accuracy: float, place: str) -> None:
    assert SkillPair("a", "b", 10, accuracy, 0.1 + 0.2, 0.7).place == place


def test_questions_by_how_many_skills_they_have() -> None:
    skills = {"1": ["a"], "2": ["a", "b"], "3": ["a", "a"], "4": None, "5": [], "6": ["c", "a", "b"]}
    questions = [Question(id=id, question="?", skills=names) for id, names in skills.items()]
    assert by_skill_count(questions) == {"0": ["5"], "1": ["1", "3"], "2": ["2"], "3": ["6"]}
