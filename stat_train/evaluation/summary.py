"""From grades to `evaluation.json`: accuracy per benchmark, skill and level, and the change between arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stat_train.errors import StatTrainError
from stat_train.evaluation.statistics import PairedDifference, paired_difference
from stat_train.intervals import binomial_interval
from stat_train.records import Grade, Question, Verdict

Graded = tuple[list[Question], list[Grade]]
Groups = dict[str, list[str]]
BASE = "base"
# The untrained student with worked examples in its prompt.
PROMPTED = "adaptmi"
FINE_TUNED, REINFORCED = "sft", "rl"
ARMS = (BASE, PROMPTED, FINE_TUNED, REINFORCED)


def summarise(questions: list[Question], grades: list[Grade]) -> dict[str, Any]:
    """Return how many questions were answered right, in all, per skill and per level.

    One grade a question counts, that of attempt 0. Accuracy is over the scored questions: unscored ones are counted in
    `n` and `unscored` but are neither right nor wrong. `per_skill` takes every question that carries the skill,
    `single_skill` only those that carry no other.
    """
    verdicts = verdicts_of(questions, grades)
    return {
        **_score([question.id for question in questions], verdicts),
        "per_skill": _scores(by_skill(questions), verdicts),
        "single_skill": _scores(by_only_skill(questions), verdicts),
        "per_level": _scores(by_level(questions), verdicts),
    }


def evaluation(arms: Mapping[str, Mapping[str, Graded]]) -> dict[str, Any]:
    """Return the content of `evaluation.json`: the summary of every arm and benchmark, and each gain over the base.

    A difference is paired: it is over the questions that are scored in both arms, so it need not be exactly the
    difference of the two accuracies. Benchmarks keep their order: the first is the one that headlines report.
    """
    ordered = sorted(arms, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))
    pairs = [(arm, BASE) for arm in ordered if BASE in arms and arm != BASE]
    # What reinforcement learning adds to fine-tuning.
    pairs += [(REINFORCED, FINE_TUNED)] if {REINFORCED, FINE_TUNED} <= arms.keys() else []
    return {
        "arms": {arm: {name: summarise(*graded) for name, graded in arms[arm].items()} for arm in ordered},
        "differences": {f"{after} - {before}": _differences(arms[before], arms[after]) for after, before in pairs},
    }


def trained_arms(arms: Mapping[str, Any]) -> list[str]:
    """Return the arms that were trained, the one that training ended with first."""
    return [arm for arm in (REINFORCED, FINE_TUNED) if arm in arms]


def trained_arm(arms: Mapping[str, Any]) -> str | None:
    """Return the arm that training ended with, or None when no trained model was scored."""
    return next(iter(trained_arms(arms)), None)


def headline_benchmark(config: Mapping[str, Any], names: list[str]) -> str | None:
    """Return the benchmark that a run is judged by: the first of its settings, or else the first of `names`."""
    listed = config.get("task", {}).get("benchmarks") or []
    return next((name for name in [*listed, *names] if name in names), None)


def difference(before: Mapping[str, Verdict], after: Mapping[str, Verdict], ids: list[str]) -> PairedDifference:
    """Return the change on those of the questions `ids` that are scored both before and after."""
    scored = [id for id in ids if _scored(before.get(id)) and _scored(after.get(id))]
    return paired_difference([before[id] == "correct" for id in scored], [after[id] == "correct" for id in scored])


def as_numbers(result: PairedDifference) -> dict[str, Any]:
    """Return a difference as it is written to JSON, rounded to 6 digits."""
    return {name: _rounded(value) for name, value in result._asdict().items()}


def verdicts_of(questions: list[Question], grades: list[Grade]) -> dict[str, Verdict]:
    """Return the verdict of each question's attempt 0; raises StatTrainError when a question has none."""
    verdicts = {grade.question_id: grade.verdict for grade in grades if grade.attempt == 0}
    missing = [question.id for question in questions if question.id not in verdicts]
    if missing:
        raise StatTrainError(
            f"{len(missing)} of {len(questions)} benchmark questions have no grade (the first: {missing[0]}); "
            "expected one grade for each, so the evaluation is not whole: run it again"
        )
    return verdicts


def by_skill(questions: list[Question]) -> Groups:
    """Return the ids of the questions that carry each skill."""
    return _grouped([(skill, question.id) for question in questions for skill in set(question.skills or [])])


def by_only_skill(questions: list[Question]) -> Groups:
    """Return the ids of the questions that carry each skill and no other."""
    alone = [question for question in questions if len(set(question.skills or [])) == 1]
    return by_skill(alone)


def by_level(questions: list[Question]) -> Groups:
    """Return the ids of the questions of each level, easiest first."""
    levels = sorted({question.level for question in questions if question.level is not None})
    return {str(level): [question.id for question in questions if question.level == level] for level in levels}


def _grouped(pairs: list[tuple[str, str]]) -> Groups:
    groups: Groups = {name: [] for name in sorted({name for name, _ in pairs})}
    for name, id in pairs:
        groups[name].append(id)
    return groups


def _score(ids: list[str], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    found = [verdicts[id] for id in ids]
    correct, unscored = found.count("correct"), found.count("unscored")
    accuracy, low, high = map(_rounded, binomial_interval(correct, len(found) - unscored))
    counts = {"n": len(found), "correct": correct, "unscored": unscored}
    return {**counts, "accuracy": accuracy, "low": low, "high": high}


def _scores(groups: Groups, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    return {name: _score(ids, verdicts) for name, ids in groups.items()}


def _differences(base: Mapping[str, Graded], trained: Mapping[str, Graded]) -> dict[str, Any]:
    return {name: _benchmark_difference(base[name], trained[name]) for name in trained if name in base}


def _benchmark_difference(base: Graded, trained: Graded) -> dict[str, Any]:
    questions = base[0]
    before, after = verdicts_of(*base), verdicts_of(*trained)

    def each(groups: Groups) -> dict[str, Any]:
        return {name: as_numbers(difference(before, after, ids)) for name, ids in groups.items()}

    whole = as_numbers(difference(before, after, [question.id for question in questions]))
    return {**whole, "per_skill": each(by_skill(questions)), "single_skill": each(by_only_skill(questions))}


def _scored(verdict: Verdict | None) -> bool:
    return verdict in ("correct", "wrong")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
