"""The questions that the report shows in full: chosen by a fixed rule, so that nobody can pick what looks good."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from stat_train.records import Answer, Diagnosis, Question, TrainingExample, Verdict

Numbers = dict[str, Any]
# Longer texts are cut here, in characters.
TEXT_SHOWN = 700
# How many questions of each kind, by what became of them.
SHOWN = {"gained": 3, "lost": 2, "still wrong": 2, "right both times": 1}
DIAGNOSED_SHOWN, ROWS_SHOWN = 3, 3


class Shown(NamedTuple):
    """An answer as it is shown."""

    verdict: Verdict
    text: str
    final: str | None


def ordered(ids: Iterable[str]) -> list[str]:
    """Return ids in an order that looks random and is always the same: by their SHA-256."""
    return sorted(ids, key=lambda id: hashlib.sha256(id.encode()).digest())


def chosen(before: Mapping[str, Verdict], after: Mapping[str, Verdict]) -> dict[str, tuple[int, list[str]]]:
    """Return for each kind of change how many questions there are, and the ids of those to be shown.

    Questions that are unscored before or after are of no kind.
    """
    kinds = {
        ("wrong", "correct"): "gained",
        ("correct", "wrong"): "lost",
        ("wrong", "wrong"): "still wrong",
        ("correct", "correct"): "right both times",
    }
    found = defaultdict[str, list[str]](list)
    for id, verdict in before.items():
        if kind := kinds.get((verdict, after.get(id, "unscored"))):
            found[kind].append(id)
    return {kind: (len(found[kind]), ordered(found[kind])[:most]) for kind, most in SHOWN.items() if found[kind]}


def samples(
    benchmark: str,
    groups: Mapping[str, tuple[int, list[str]]],
    questions: Mapping[str, Question],
    before: Mapping[str, Shown],
    after: Mapping[str, Shown],
) -> Numbers:
    """Return the questions of a benchmark that are shown, with both answers, in the kinds of `chosen`."""
    return {
        "benchmark": benchmark,
        "text_shown": TEXT_SHOWN,
        "groups": [
            {
                "kind": kind,
                "of": count,
                "questions": [_sample(questions[id], before[id], after[id]) for id in ids],
            }
            for kind, (count, ids) in groups.items()
        ],
    }


def _sample(question: Question, before: Shown, after: Shown) -> Numbers:
    return {
        "id": question.id,
        "question": cut(question.question),
        "gold": cut(question.answer) if question.answer is not None else None,
        "skills": question.skills or [],
        "before": before._asdict() | {"text": cut(before.text)},
        "after": after._asdict() | {"text": cut(after.text)},
    }


def diagnosed(
    questions: Mapping[str, Question],
    answers: Mapping[tuple[str, int], Answer],
    diagnoses: Sequence[Diagnosis],
    rows: Sequence[TrainingExample],
) -> Numbers | None:
    """Return some difficult questions with what was found missing, and the training rows that were drawn for them.

    None where no row was drawn for a question, as by recipes that do not look at the student.
    """
    drawn = defaultdict[str, list[TrainingExample]](list)
    for row in rows:
        if row.origin.question_id:
            drawn[row.origin.question_id].append(row)
    known = {one.question_id: one for one in diagnoses if drawn[one.question_id] and one.question_id in questions}
    if not known:
        return None
    shown = [known[id] for id in ordered(known)[:DIAGNOSED_SHOWN]]
    return {
        "of": len(known),
        "text_shown": TEXT_SHOWN,
        "questions": [
            _diagnosed(one, questions[one.question_id], answers.get((one.question_id, one.attempt)), drawn)
            for one in shown
        ],
    }


def _diagnosed(
    diagnosis: Diagnosis, question: Question, answer: Answer | None, drawn: Mapping[str, Sequence[TrainingExample]]
) -> Numbers:
    rows = drawn[question.id]
    return {
        "id": question.id,
        "question": cut(question.question),
        "gold": cut(question.answer) if question.answer is not None else None,
        "answer": cut(answer.text) if answer else None,
        "judgement": diagnosis.judgement,
        "explanation": cut(diagnosis.explanation),
        "missing_skills": diagnosis.missing_skills,
        "rows": len(rows),
        "shown": [
            {"id": row.id, "skill": row.origin.skill, "question": cut(row.question), "answer": cut(row.answer)}
            for row in rows[:ROWS_SHOWN]
        ],
    }


def cut(text: str) -> str:
    """Return a text of at most TEXT_SHOWN characters, with an ellipsis where it was cut."""
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
