"""From scores to `evaluation.json`: each benchmark in all and in parts, and the change between arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stat_train.evaluation.composition import by_skill_count, weakest_link
from stat_train.evaluation.scores import Scored, Scores
from stat_train.evaluation.statistics import (
    MIN_QUESTIONS,
    PairedDifference,
    adjusted,
    bootstrap_of_difference,
    mean_interval,
    paired_difference,
    unbounded_difference,
    unbounded_mean,
    verdict,
)
from stat_train.records import Question

Groups = dict[str, list[str]]
Arms = Mapping[str, Mapping[str, Scored]]
BASE = "base"
# The untrained student with worked examples in its prompt.
PROMPTED = "adaptmi"
FINE_TUNED, REINFORCED = "sft", "rl"
ARMS = (BASE, PROMPTED, FINE_TUNED, REINFORCED)


def summarise(found: Scored) -> dict[str, Any]:
    """Return what a benchmark's questions score, in all, per skill, subject, level and number of skills.

    Accuracy is the mean over the scored questions: unscored ones are counted in `n` and `unscored` but are neither
    right nor wrong. `per_skill` takes every question that carries the skill, `single_skill` only those that carry no
    other.
    """
    questions, scores = found.questions, found.scores
    return {
        **_score([question.id for question in questions], scores),
        "measure": found.measure,
        "samples": found.samples,
        "truncated": found.truncated,
        "only_difficult": found.only_difficult,
        "log_probability": _mean_log_probability(found.log_probabilities),
        "per_skill": _scores(by_skill(questions), scores),
        "per_subject": _scores(by_subject(questions), scores),
        "single_skill": _scores(by_only_skill(questions), scores),
        "per_level": _scores(by_level(questions), scores),
        "per_skill_count": _scores(by_skill_count(questions), scores),
        "weakest_link": weakest_link(questions, scores),
    }


def evaluation(arms: Arms) -> dict[str, Any]:
    """Return the content of `evaluation.json`: the summary of every arm and benchmark, and each gain over the base.

    A difference is paired: it is over the questions that are scored in both arms, so it need not be exactly the
    difference of the two accuracies. One over the base on what the base finds difficult has neither bounds nor a test:
    chosen by its failures, the questions would be answered better the next time by chance alone. Benchmarks keep their
    order: the first is the one that headlines report.
    """
    ordered = sorted(arms, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))
    pairs = [(arm, BASE) for arm in ordered if BASE in arms and arm != BASE]
    # What reinforcement learning adds to fine-tuning.
    pairs += [(REINFORCED, FINE_TUNED)] if {REINFORCED, FINE_TUNED} <= arms.keys() else []
    return {
        "arms": {arm: {name: summarise(found) for name, found in arms[arm].items()} for arm in ordered},
        "differences": {
            f"{after} - {before}": _differences(arms[before], arms[after], is_base=before == BASE)
            for after, before in pairs
        },
    }


def trained_arms(arms: Mapping[str, Any]) -> list[str]:
    """Return the arms that were trained, the one that training ended with first."""
    return [arm for arm in (REINFORCED, FINE_TUNED) if arm in arms]


def trained_arm(arms: Mapping[str, Any]) -> str | None:
    """Return the arm that training ended with, or None when no trained model was scored."""
    return next(iter(trained_arms(arms)), None)


def headline_benchmark(config: Mapping[str, Any], names: list[str]) -> str | None:
    """Return the benchmark that a run is judged by: the first of its settings, or else the first of `names`."""
    task = config.get("task", {})
    listed = task.get("benchmarks") or [task.get("name")]
    return next((name for name in [*listed, *names] if name in names), None)


def difference(before: Scores, after: Scores, ids: Sequence[str]) -> PairedDifference:
    """Return the change on those of the questions `ids` that are scored both before and after."""
    return paired_difference(*in_both(before, after, ids))


def in_both(before: Scores, after: Scores, ids: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the scores before and after of those of the questions `ids` that have both."""
    pairs = [(before.get(id), after.get(id)) for id in ids]
    known = [(first, second) for first, second in pairs if first is not None and second is not None]
    return [first for first, _ in known], [second for _, second in known]


def as_numbers(result: PairedDifference) -> dict[str, Any]:
    """Return a difference as it is written to JSON, rounded to 6 digits."""
    return {name: _rounded(value) for name, value in result._asdict().items()}


def by_skill(questions: Sequence[Question]) -> Groups:
    """Return the ids of the questions that carry each skill."""
    return _grouped([(skill, question.id) for question in questions for skill in set(question.skills or [])])


def by_only_skill(questions: Sequence[Question]) -> Groups:
    """Return the ids of the questions that carry each skill and no other."""
    alone = [question for question in questions if len(set(question.skills or [])) == 1]
    return by_skill(alone)


def by_subject(questions: Sequence[Question]) -> Groups:
    """Return the ids of the questions of each subject."""
    return _grouped([(question.subject, question.id) for question in questions if question.subject])


def by_level(questions: Sequence[Question]) -> Groups:
    """Return the ids of the questions of each level, easiest first."""
    levels = sorted({question.level for question in questions if question.level is not None})
    return {str(level): [question.id for question in questions if question.level == level] for level in levels}


def _grouped(pairs: list[tuple[str, str]]) -> Groups:
    groups: Groups = {name: [] for name in sorted({name for name, _ in pairs})}
    for name, id in pairs:
        groups[name].append(id)
    return groups


def _score(ids: Sequence[str], scores: Scores) -> dict[str, Any]:
    found = [score for id in ids if (score := scores[id]) is not None]
    accuracy, low, high = map(_rounded, mean_interval(found))
    right = round(sum(found), 6)
    counts = {"n": len(ids), "correct": int(right) if right == int(right) else right, "unscored": len(ids) - len(found)}
    return {**counts, "accuracy": accuracy, "low": low, "high": high}


def _scores(groups: Groups, scores: Scores) -> dict[str, Any]:
    return {name: _score(ids, scores) for name, ids in groups.items()}


def _mean_log_probability(known: Mapping[str, float]) -> dict[str, Any] | None:
    if not known:
        return None
    mean, low, high = map(_rounded, unbounded_mean(list(known.values())))
    return {"n": len(known), "mean": mean, "low": low, "high": high}


def _differences(base: Mapping[str, Scored], trained: Mapping[str, Scored], is_base: bool) -> dict[str, Any]:
    return {
        name: (_untested if is_base and base[name].only_difficult else _benchmark_difference)(base[name], found)
        for name, found in trained.items()
        if name in base
    }


def _untested(base: Scored, trained: Scored) -> dict[str, Any]:
    """Return the change on questions that were chosen by the base's failures, which no test can be made of."""
    change = difference(base.scores, trained.scores, [question.id for question in base.questions])
    none = {"low": None, "high": None}
    untested = as_numbers(change) | none | {"p": None, "bootstrap": none, "log_probability": None}
    return untested | {"per_skill": {}, "per_subject": {}, "single_skill": {}}


def _benchmark_difference(base: Scored, trained: Scored) -> dict[str, Any]:
    questions, before, after = base.questions, base.scores, trained.scores
    ids = [question.id for question in questions]
    known = unbounded_difference(*in_both(base.log_probabilities, trained.log_probabilities, ids))
    low, high = bootstrap_of_difference(*in_both(before, after, ids))
    return {
        **as_numbers(difference(before, after, ids)),
        "bootstrap": {"low": _rounded(low), "high": _rounded(high)},
        "log_probability": as_numbers(known) if known.n else None,
        "per_skill": _judged(by_skill(questions), before, after),
        "per_subject": _judged(by_subject(questions), before, after),
        "single_skill": _judged(by_only_skill(questions), before, after),
    }


def _judged(groups: Groups, before: Scores, after: Scores) -> dict[str, Any]:
    """Return the change of each group, with its p value adjusted for the number of groups, and what that means.

    Groups of too few questions to tell anything are not counted in it, so that they take nothing from the rest.
    """
    changes = {name: difference(before, after, ids) for name, ids in groups.items()}
    adjusted_p = adjusted([change.p if change.n >= MIN_QUESTIONS else None for change in changes.values()])
    return {
        name: as_numbers(change) | {"q": _rounded(q), "verdict": verdict(change, q)}
        for (name, change), q in zip(changes.items(), adjusted_p, strict=True)
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
