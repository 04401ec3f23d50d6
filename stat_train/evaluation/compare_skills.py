"""What became of each skill between two models, and whether that is a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.errors import regressed
from stat_train.evaluation.compare_seeds import change_of
from stat_train.evaluation.report import points
from stat_train.evaluation.scores import Scores
from stat_train.evaluation.statistics import MIN_QUESTIONS, PairedDifference, SkillVerdict, adjusted, is_clear, verdict
from stat_train.evaluation.summary import by_skill
from stat_train.records import Question

if TYPE_CHECKING:
    from stat_train.evaluation.compare import Row

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


def require_no_regression(rows: Sequence[Row]) -> None:
    """Raise the error of exit code 4 when a benchmark or a skill regressed; one message names all that did."""
    found = [line for row in rows if row.skills is not None for line in _regressions(row)]
    if found:
        count = "1 regression" if len(found) == 1 else f"{len(found)} regressions"
        raise regressed("\n".join([f"{count}, in points with 95 % bounds:", *(f"  - {line}" for line in found)]))


def _regressions(row: Row) -> list[str]:
    change = row.to_first if row.against else row.gain
    where = f"{row.name} on {row.benchmark}, against {row.against or 'its base'}"
    whole = [f"{where}: as a whole {_told(change)}"] if change and _is_lower(change) else []
    skills = [each for each in row.skills or () if each.verdict == "regressed"]
    return whole + [f"{where}: {each.skill} {_told(each.change)}, {_q(each.q)}" for each in skills]


def _is_lower(change: PairedDifference) -> bool:
    """Tell whether a benchmark lies below as a whole; where all questions lost alike there are no bounds, but p is."""
    if change.high is None:
        return change.difference is not None and change.difference < 0 and is_clear(change.p)
    return change.high < 0


def _told(change: PairedDifference) -> str:
    bounds = f" [{points(change.low)}, {points(change.high)}]" if change.low is not None else ""
    return f"{points(change.difference)}{bounds} over {change.n} questions"


def _q(q: float | None) -> str:
    return "q unknown" if q is None else "q < 0.001" if q < 0.001 else f"q = {q:.3f}"


def _sorted(found: list[SkillChange]) -> list[SkillChange]:
    return sorted(found, key=lambda each: (ORDER.index(each.verdict), -abs(each.change.difference or 0.0), each.skill))
