"""The tables with shaded cells of the report: skills that go missing together, and the sweep of two thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stat_train.records import SkillProfile

Numbers = dict[str, Any]
# More columns than this do not fit on a phone.
SKILLS_SHOWN = 12


def together_map(profile: SkillProfile) -> Numbers | None:
    """Return how often the skills that are missing most often were missing together; None when no two were.

    A cell has its count, None where the profile has no such pair, and `shade`, its share of the largest count. On the
    diagonal is how often the skill was missing at all, without a shade.
    """
    met = {frozenset((pair.first, pair.second)): pair.together for pair in profile.together}
    shown = [gap for gap in profile.skills if gap.missing][:SKILLS_SHOWN]
    counts = [[met.get(frozenset((row.skill, column.skill))) for column in shown] for row in shown]
    most = max((count for row in counts for count in row if count), default=0)
    if not most:
        return None
    rows = [
        [
            {"count": gap.missing, "shade": None} if i == j else {"count": count, "shade": (count or 0) / most}
            for j, count in enumerate(row)
        ]
        for i, (gap, row) in enumerate(zip(shown, counts, strict=True))
    ]
    return {"skills": [gap.skill for gap in shown], "rows": rows}


def sweep_map(difficulty: Mapping[str, Any] | None) -> Numbers | None:
    """Return the sweep of tau1 (columns) and tau2 (rows), None without one.

    The cells show accuracy where gold answers gave one, else the share of difficult questions. `shade` runs from 0, the
    lowest value of the map, to 1, the highest; `used` marks the thresholds of the run.
    """
    sweep = difficulty and difficulty.get("sweep")
    if not sweep:
        return None
    shown = "accuracy" if any(cell["accuracy"] is not None for cell in sweep["cells"]) else "difficult"
    values = {(cell["tau1"], cell["tau2"]): cell[shown] for cell in sweep["cells"]}
    known = [value for value in values.values() if value is not None] or [0.0]
    low, width = min(known), max(known) - min(known)

    def cell(tau1: float, tau2: float) -> Numbers:
        value = values.get((tau1, tau2))
        shade = (value - low) / width if value is not None and width else 0.0
        return {"value": value, "shade": shade, "used": [tau1, tau2] == list(sweep["used"])}

    rows = [{"tau2": tau2, "cells": [cell(tau1, tau2) for tau1 in sweep["tau1"]]} for tau2 in sweep["tau2"]]
    return {"shown": shown, "tau1": sweep["tau1"], "rows": rows, "used": sweep["used"]}
