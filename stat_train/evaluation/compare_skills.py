"""What became of each skill between two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stat_train.evaluation.compare_seeds import change_of
from stat_train.evaluation.scores import Scores
from stat_train.evaluation.statistics import MIN_QUESTIONS, PairedDifference, SkillVerdict, adjusted, verdict
from stat_train.evaluation.summary import by_skill
from stat_train.records import Question

# Regressions are what is looked for first.
ORDER = ("regressed", "improved", "unchanged", "too few")


class SkillChange(NamedTuple):
    """How a skill changed, its p value adjusted for the number of skills (`q`), and what that means."""

    skill: str
    change: PairedDifference
    q: float | None
    verdict: SkillVerdict


def skill_changes(pairs: Sequence[tuple[Scores, Scores]], questions: Sequence[Question]) -> list[SkillChange]:
    """Return the change of each skill of the questions, over the pairs (one a seed) of scores before and after.

    Regressions come first, the largest change first; q is adjusted for the skills of this one table.
    """
    changes = {skill: change_of(pairs, ids).difference for skill, ids in by_skill(questions).items()}
    q_values = adjusted([change.p if change.n >= MIN_QUESTIONS else None for change in changes.values()])
    found = [
        SkillChange(skill, change, q, verdict(change, q))
        for (skill, change), q in zip(changes.items(), q_values, strict=True)
    ]
    return _sorted(found)


def read_changes(per_skill: Mapping[str, Mapping[str, Any]]) -> list[SkillChange]:
    """Return the changes of skills as `evaluation.json` has them."""
    return _sorted(
        [
            SkillChange(
                skill, PairedDifference(*(row[name] for name in PairedDifference._fields)), row["q"], row["verdict"]
            )
            for skill, row in per_skill.items()
        ]
    )


def _sorted(found: list[SkillChange]) -> list[SkillChange]:
    return sorted(found, key=lambda each: (ORDER.index(each.verdict), -abs(each.change.difference or 0.0), each.skill))
