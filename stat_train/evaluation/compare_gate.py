"""Whether a comparison lets a model pass: what regressed, and what could not be judged."""

from __future__ import annotations

from collections.abc import Sequence

from stat_train.errors import UserError, regressed
from stat_train.evaluation.compare import Row
from stat_train.evaluation.compare_table import q_words
from stat_train.evaluation.report import points
from stat_train.evaluation.statistics import PairedDifference
from stat_train.evaluation.tables import plain


def require_no_regression(rows: Sequence[Row]) -> None:
    """Raise the error of exit code 4 when a benchmark or a skill regressed; one message names all that did.

    Raises UserError when nothing did, but a model could not be judged: a gate that compared nothing must not open.
    """
    judged = [row for row in rows if row.skills is not None]
    found = [line for row in judged for line in _regressions(row)]
    unjudged = [_unjudged(row) for row in judged if _judged_change(row).high is None]
    if found:
        count = "1 regression" if len(found) == 1 else f"{len(found)} regressions"
        raise regressed(_listed(f"{count}, in points with 95 % bounds:", [*found, *unjudged]))
    if unjudged:
        raise UserError(
            _listed("--fail-if-regressed: nothing to judge by:", unjudged)
            + "\nCompare runs that were asked the same questions and could score them, evaluated by this version."
        )
    if not judged:
        names = ", ".join(dict.fromkeys(plain(row.benchmark) for row in rows))
        raise UserError(
            f"--fail-if-regressed: {names}: chosen by the untrained student's failures, so its gain is not tested; "
            "give another --benchmark, or another run to compare with"
        )


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, *(f"  - {line}" for line in lines)])


def _judged_change(row: Row) -> PairedDifference:
    return row.to_first if row.against and row.to_first else row.gain


def _regressions(row: Row) -> list[str]:
    change, where = _judged_change(row), _where(row)
    whole = [f"{where}: as a whole {_told(change)}"] if change.high is not None and change.high < 0 else []
    skills = [each for each in row.skills or () if each.verdict == "regressed"]
    return whole + [f"{where}: {plain(each.skill)} {_told(each.change)}, q {q_words(each.q)}" for each in skills]


def _unjudged(row: Row) -> str:
    return f"{_where(row)}: not judged, {_judged_change(row).n} questions scored both times ({row.left_out.in_words})"


def _where(row: Row) -> str:
    return plain(f"{row.name} on {row.benchmark}, against {row.against or 'its base'}")


def _told(change: PairedDifference) -> str:
    bounds = f" [{points(change.low)}, {points(change.high)}]" if change.low is not None else ""
    return f"{points(change.difference)}{bounds} over {change.n} questions"
