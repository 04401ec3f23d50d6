"""Skills in combination: how accuracy falls with their number, and whether a pair does as well as its weaker skill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from stat_train.evaluation.statistics import likelihood_bounds
from stat_train.records import Question

Place = Literal["below_both", "nearer_the_weaker", "nearer_the_stronger", "above_both"]
PLACES: tuple[Place, ...] = ("below_both", "nearer_the_weaker", "nearer_the_stronger", "above_both")
# Of so many scored questions each: the pair, and either of its skills alone. One accuracy of fewer is hardly known.
MIN_PAIR_QUESTIONS = 5
# A correlation of fewer pairs says nothing: that of two is 1 or -1.
MIN_CORRELATED = 3
# Accuracies that differ by less are the same but for rounding.
ROUNDING = 1e-9


class SkillPair(NamedTuple):
    """A pair of skills: its accuracy on `n` questions that have these two, and that of each skill asked alone."""

    weaker: str
    stronger: str
    n: int
    accuracy: float
    weaker_accuracy: float
    stronger_accuracy: float

    @property
    def link(self) -> float:
        """The pair's accuracy less that of its weaker skill: below 0 the combination is hard in itself."""
        return self.accuracy - self.weaker_accuracy

    @property
    def gap(self) -> float:
        """The pair's accuracy less the product of the two: 0 if each skill fails on its own account."""
        return self.accuracy - self.weaker_accuracy * self.stronger_accuracy

    @property
    def place(self) -> Place:
        """Where the pair's accuracy lies; exactly half-way is not nearer the weaker."""
        if self.link < -ROUNDING:
            return "below_both"
        if self.accuracy > self.stronger_accuracy + ROUNDING:
            return "above_both"
        nearer = self.link < self.stronger_accuracy - self.accuracy - ROUNDING
        return "nearer_the_weaker" if nearer else "nearer_the_stronger"


def by_skill_count(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the ids of the questions with each number of skills, fewest first; unlabelled questions are in none."""
    counts = {question.id: len(set(question.skills)) for question in questions if question.skills is not None}
    return {
        str(wanted): [id for id, count in counts.items() if count == wanted] for wanted in sorted({*counts.values()})
    }


def weakest_link(questions: Sequence[Question], scores: Mapping[str, float | None]) -> dict[str, Any] | None:
    """Return how pairs of skills fare against their skills alone, as JSON values; None without two-skill questions.

    The law of the weakest link (arXiv 2409.19951): a pair does about as well as its weaker skill, or worse. `link` is
    the pair's accuracy less the weaker skill's, `gap` that less the product of both. A pair counts with at least
    MIN_PAIR_QUESTIONS scored questions that have these two skills, and as many of each skill alone; `left_out` says how
    many do not. The interval of the mean link is over pairs. Of few questions the lower of two accuracies is too low by
    chance, so that links are too high, and a mean below 0 is the surer sign.
    """
    asked = _scores_by_skills(questions, scores)
    combined = {skills: found for skills, found in asked.items() if len(skills) == 2}
    if not combined:
        return None
    asked_enough = {skills for skills, found in asked.items() if len(found) >= MIN_PAIR_QUESTIONS}
    enough = [skills for skills in combined if skills in asked_enough]
    compared = [skills for skills in enough if all((skill,) in asked_enough for skill in skills)]
    pairs = [_pair(skills, asked) for skills in compared]
    left_out = {
        "too_few_questions": len(combined) - len(enough),
        "skill_seldom_alone": len(enough) - len(compared),
    }
    return {**_summary(pairs), "left_out": left_out, "list": [_numbers(pair) for pair in _worst_first(pairs)]}


def _scores_by_skills(
    questions: Sequence[Question], scores: Mapping[str, float | None]
) -> dict[tuple[str, ...], list[float]]:
    """Return the scores of the questions that have exactly these skills, which may be none at all when unscored."""
    found: dict[tuple[str, ...], list[float]] = {}
    for question in questions:
        score = scores.get(question.id)
        listed = found.setdefault(tuple(sorted(set(question.skills or []))), [])
        if score is not None:
            listed.append(score)
    return found


def _pair(skills: tuple[str, ...], asked: Mapping[tuple[str, ...], list[float]]) -> SkillPair:
    alone = sorted((_mean(asked[(skill,)]), skill) for skill in skills)
    (weaker_accuracy, weaker), (stronger_accuracy, stronger) = alone
    found = asked[skills]
    return SkillPair(weaker, stronger, len(found), _mean(found), weaker_accuracy, stronger_accuracy)


def _worst_first(pairs: list[SkillPair]) -> list[SkillPair]:
    return sorted(pairs, key=lambda pair: (round(pair.link, 9), pair.accuracy, pair.weaker, pair.stronger))


def _summary(pairs: list[SkillPair]) -> dict[str, Any]:
    places = [pair.place for pair in pairs]
    counts: dict[str, int] = {place: places.count(place) for place in PLACES}
    with_weaker = counts["below_both"] + counts["nearer_the_weaker"]
    accuracies = [pair.accuracy for pair in pairs]
    return {
        "pairs": len(pairs),
        **counts,
        "follows_the_weaker": _rounded(with_weaker / len(pairs) if pairs else None),
        "correlation_with_weaker": _correlation(accuracies, [pair.weaker_accuracy for pair in pairs]),
        "correlation_with_stronger": _correlation(accuracies, [pair.stronger_accuracy for pair in pairs]),
        "link": _mean_link([pair.link for pair in pairs]),
        "gap": _rounded(_mean([pair.gap for pair in pairs]) if pairs else None),
    }


def _mean_link(links: list[float]) -> dict[str, float | None]:
    if not links:
        return {"mean": None, "low": None, "high": None}
    low, high = likelihood_bounds(links, -1, 1)
    return {"mean": _rounded(_mean(links)), "low": _rounded(low), "high": _rounded(high)}


def _correlation(accuracies: list[float], others: list[float]) -> float | None:
    """Return Pearson's correlation; None of fewer than MIN_CORRELATED pairs, or when either list is all the same."""
    import numpy

    if len(accuracies) < MIN_CORRELATED or min(numpy.ptp(accuracies), numpy.ptp(others)) < ROUNDING:
        return None
    return _rounded(float(numpy.corrcoef(accuracies, others)[0, 1]))


def _numbers(pair: SkillPair) -> dict[str, Any]:
    numbers = pair._asdict() | {"link": pair.link, "gap": pair.gap, "place": pair.place}
    return {key: _rounded(value) if isinstance(value, float) else value for key, value in numbers.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
