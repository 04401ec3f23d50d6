"""What an arm scored on a benchmark, question by question: one number in 0 to 1 for each, whatever is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from stat_train.errors import StatTrainError
from stat_train.evaluation.statistics import pass_at_k
from stat_train.records import Answer, Grade, Question, Verdict

# Of so many percent of cut-off answers on, a benchmark tells of the limit too, and not of the model alone.
OFTEN_CUT_OFF_PERCENT = 3

Scores = Mapping[str, float | None]
NO_LOG_PROBABILITIES: Mapping[str, float] = MappingProxyType({})


class Scored(NamedTuple):
    """What one arm scored on a benchmark.

    `scores` has a number in 0 to 1 for each question: the share of its samples that are right, or the chance that one
    of k samples is; None where no sample could be judged. `truncated` counts the answers that were cut off.
    `log_probabilities` are nats per token of the reference answers, by question, where they are known. With
    `only_difficult` the questions are those that the untrained student finds difficult.
    """

    questions: Sequence[Question]
    scores: Scores
    measure: str = "accuracy"
    samples: int = 1
    truncated: int = 0
    log_probabilities: Mapping[str, float] = NO_LOG_PROBABILITIES
    only_difficult: bool = False


def scored(
    questions: Sequence[Question],
    grades: Iterable[Grade],
    answers: Iterable[Answer] = (),
    pass_at: int | None = None,
    log_probabilities: Mapping[str, float] = NO_LOG_PROBABILITIES,
) -> Scored:
    """Return what graded answers score; raises StatTrainError when a question has no grade.

    Without `pass_at` a question's score is the share of its judged samples that are right (average@n; with one sample,
    accuracy). With it, the score is the unbiased estimate of pass@k from the judged samples (Chen et al. 2021, arXiv
    2107.03374); a question of which fewer than k samples could be judged is unscored.
    """
    verdicts = _by_question(questions, grades)
    samples = max((len(found) for found in verdicts.values()), default=1)
    scores = {id: _score(found, pass_at) for id, found in verdicts.items()}
    truncated = sum(answer.finish_reason == "length" for answer in answers)
    known = {id: value for id, value in log_probabilities.items() if id in scores}
    return Scored(questions, scores, measure_name(samples, pass_at), samples, truncated, known)


def by_number(name: str, scores: Mapping[str, float]) -> Scored:
    """Return what another program scored, of whose questions only ids are known; its metric is in the name."""
    questions = [Question(id=id, question="") for id in scores]
    return Scored(questions, scores, measure=name.partition(" ")[2] or "accuracy")


def measure_name(samples: int, pass_at: int | None) -> str:
    """Return what is measured, as it is called in tables."""
    if pass_at:
        return f"pass@{pass_at}"
    return "accuracy" if samples == 1 else f"average@{samples}"


def often_cut_off(evaluation: Mapping[str, Any]) -> list[str]:
    """Return in words where many answers were cut off, of the content of `evaluation.json`."""
    said = []
    for arm, benchmarks in evaluation["arms"].items():
        for name, found in benchmarks.items():
            answers, cut = found["n"] * found["samples"], found["truncated"]
            if 100 * cut >= OFTEN_CUT_OFF_PERCENT * answers and cut:
                percent = f"{100 * cut / answers:.0f} %"
                said.append(
                    f"{arm} on {name}: {cut:,} of {answers:,} answers ({percent}) were cut off at max_new_tokens"
                )
    return said


def _by_question(questions: Sequence[Question], grades: Iterable[Grade]) -> dict[str, list[Verdict]]:
    verdicts: dict[str, list[Verdict]] = {question.id: [] for question in questions}
    for grade in grades:
        verdicts[grade.question_id].append(grade.verdict)
    if missing := [id for id, found in verdicts.items() if not found]:
        raise StatTrainError(
            f"{len(missing)} of {len(questions)} benchmark questions have no grade (the first: {missing[0]}); "
            "expected one grade for each, so the evaluation is not whole: run it again"
        )
    return verdicts


def _score(verdicts: Sequence[Verdict], pass_at: int | None) -> float | None:
    right, judged = verdicts.count("correct"), len(verdicts) - verdicts.count("unscored")
    if judged < (pass_at or 1):
        return None
    return pass_at_k(judged, right, pass_at) if pass_at else right / judged
