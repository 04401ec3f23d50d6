"""What the report says at a glance beside the gain, and of subjects and numbers of skills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from stat_train.evaluation.statistics import SkillVerdict

Numbers = dict[str, Any]
# Of the pairs of skills, those that fare worst; evaluation.json has all.
PAIRS_SHOWN = 10
VERDICTS: tuple[SkillVerdict, ...] = get_args(SkillVerdict)


def elsewhere(skills: Sequence[Numbers], benchmarks: Sequence[Numbers]) -> Numbers:
    """Return what training did beside the headline: how many skills became what, the worst, the other benchmarks.

    `verdicts` is None where no skill was asked before and after. A benchmark fell or rose when its 95 % interval
    leaves out no change.
    """
    changes = [row["change"] | {"skill": row["skill"]} for row in skills if row["change"]]
    counts = Counter(change["verdict"] for change in changes)
    regressed = [change for change in changes if change["verdict"] == "regressed"]
    worst = min(regressed, key=lambda change: (change["difference"], change["skill"]), default=None)
    others = [row["change"] | {"benchmark": row["benchmark"]} for row in benchmarks[1:] if row["change"]]
    known = [change for change in others if change["low"] is not None]
    shown = ("difference", "low", "high")
    return {
        "skills": len(changes),
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS} if changes else None,
        "worst": worst and {name: worst[name] for name in ("skill", *shown)},
        "others": len(others),
        "fell": [{name: row[name] for name in ("benchmark", *shown)} for row in known if row["high"] < 0],
        "rose": [{name: row[name] for name in ("benchmark", *shown)} for row in known if row["low"] > 0],
    }


def group_scores(arms: Mapping[str, Numbers | None], table: str) -> list[Numbers]:
    """Return the rows of a table of the evaluation, as `per_subject`: each group with what each arm scored on it."""
    found = {arm: (each or {}).get(table) or {} for arm, each in arms.items()}
    names = dict.fromkeys(name for groups in found.values() for name in groups)
    return [{"name": name} | {arm: groups.get(name) for arm, groups in found.items()} for name in names]


def composition(arms: Mapping[str, Numbers | None]) -> Numbers | None:
    """Return how skills combine before and after; None where no question is known to need several."""
    counts = group_scores(arms, "per_skill_count")
    links = {arm: _first_pairs((arms.get(arm) or {}).get("weakest_link")) for arm in ("before", "after")}
    if len(counts) < 2 and not any(links.values()):
        return None
    return {"counts": counts, "weakest_link": links if any(links.values()) else None}


def _first_pairs(link: Numbers | None) -> Numbers | None:
    return link and link | {"list": link["list"][:PAIRS_SHOWN]}
