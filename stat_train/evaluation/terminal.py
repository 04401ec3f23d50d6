"""What a user reads in the terminal: the missing-skill profile, and the summary at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.report import duration, percent, points, probability, trained_on, verdict
from stat_train.evaluation.tables import (
    ROWS_SHOWN,
    SHORTEST_NAME,
    TOO_FEW,
    WIDE,
    add_columns,
    add_row,
    bar,
    fit_names,
    new_table,
    plain,
    say,
    shortened,
)
from stat_train.models.budget import in_dollars
from stat_train.records import SkillGap, SkillPair, SkillProfile, SubjectGap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# What the summary holds to; skills have what the rest leaves of it, at most so many.
LINES, SKILLS_SHOWN = 25, 8
# A table's heading and the blank lines around it.
TABLE_LINES = 4
BENCHMARKS_SHOWN = 3
FILES = ("report.html", "report.json")
# A bar in a wide terminal, and in a narrower one.
BAR_WIDTH, NARROW_BAR_WIDTH = 20, 8
PAIRS_SHOWN = 5
# Columns from which on the profile has bars and words.
ROOMY = 70


def print_profile(profile: SkillProfile, console: Console) -> None:
    """Print what the student misses: skills, most often missing first, subjects, and skills that go missing together.

    At most ROWS_SHOWN skills; a rate of too few exposures is marked so, in place of what is likely.
    """
    table = new_table(f"{profile.difficult} of {profile.questions} questions were difficult for {profile.student}")
    # A narrow terminal keeps the numbers.
    roomy = console.width >= ROOMY
    add_columns(table, "missing skill", "times", *(("",) if roomy else ()), "rate [95 %]", "likely")
    table.columns[2].justify = "left"
    wide = BAR_WIDTH if console.width >= WIDE else NARROW_BAR_WIDTH
    most = max((gap.missing for gap in profile.skills), default=0)
    for gap in profile.skills[:ROWS_SHOWN]:
        likely = (TOO_FEW if roomy else "–") if gap.too_few else percent(gap.posterior_mean)
        bars = (bar(gap.missing, most, wide),) if roomy else ()
        add_row(table, gap.skill, f"{gap.missing} of {gap.exposed}", *bars, _rate(gap), likely)
    console.print(fit_names(table, console.width))
    _say_more(console, len(profile.skills), "skills")
    if profile.undiagnosed:
        say(console, f"{profile.undiagnosed} difficult questions without a usable diagnosis: in no rate above")
    if len(profile.subjects) > 1:
        _print_subjects(profile.subjects, console)
    _print_together(profile.together, console)


def _print_subjects(subjects: list[SubjectGap], console: Console) -> None:
    table = new_table()
    add_columns(table, "subject", "difficult", "rate [95 %]", "most often missing")
    room = max(SHORTEST_NAME, console.width - 58)
    for gap in subjects[:ROWS_SHOWN]:
        first = gap.skills[0] if gap.skills and gap.skills[0].missing else None
        skill = f"{shortened(plain(first.skill), room)} {first.missing} of {first.exposed}" if first else "–"
        add_row(table, gap.subject or "no subject", f"{gap.difficult} of {gap.questions}", _rate(gap), skill)
    console.print(fit_names(table, console.width))
    _say_more(console, len(subjects), "subjects")


def _print_together(pairs: list[SkillPair], console: Console) -> None:
    """Print the first pairs that met more often than by chance, as many as two lines hold, with both counts."""
    met = [pair for pair in pairs if pair.together > pair.expected]
    room, lines = console.width, ["Missing together (by chance):"]
    for pair in met[:PAIRS_SHOWN]:
        counts = f" {pair.together} ({pair.expected:.1f})"
        names = [shortened(plain(name), (room - len(counts) - 4) // 2) for name in (pair.first, pair.second)]
        text = f"{names[0]} + {names[1]}{counts}"
        if len(lines[-1]) + len(text) + 2 <= room:
            lines[-1] += f" {text}" if len(lines) == 1 and lines[0].endswith(":") else f"; {text}"
        elif len(lines) < 2:
            lines.append(text)
        else:
            break
    for line in lines if met else []:
        say(console, line)


def _say_more(console: Console, count: int, what: str) -> None:
    if count > ROWS_SHOWN:
        say(console, f"… and {count - ROWS_SHOWN} more {what}: profile.json")


def _rate(gap: SkillGap | SubjectGap) -> str:
    return f"{percent(gap.rate)} [{100 * gap.low:.0f}, {100 * gap.high:.0f}]"


def print_summary(numbers: Mapping[str, Any], run_dir: Path, console: Console) -> None:
    """Print a run's result in at most 25 lines: the gain, what it cost elsewhere, skills, where to read on."""
    say(console, headline(numbers), "bold")
    above, below = _above(numbers, console.width), _below(numbers, console.width)
    for text in above:
        say(console, text)
    taken = sum(_height(text, console) for text in (headline(numbers), *above, *below)) + len(FILES)
    rows = [row for row in numbers["skills"] if row["before"] or row["rate"] is not None]
    if shown := rows[: max(0, min(SKILLS_SHOWN, LINES - TABLE_LINES - taken))]:
        console.print(fit_names(_skill_table(shown, console.width >= ROOMY), console.width))
    for text in below:
        say(console, text)
    for name in FILES:
        console.print(str(run_dir / name), soft_wrap=True, markup=False, highlight=False)


def _above(numbers: Mapping[str, Any], width: int) -> list[str]:
    """Return what stands between the headline and the skills: other arms, what became of skills, other benchmarks."""
    lines = []
    for row in numbers["benchmarks"][:1]:
        if row["fine_tuned_change"]:
            lines.append(other_arm(row, "fine_tuned", "fine-tuned, before reinforcement learning"))
        if row["prompted_change"]:
            lines.append(other_arm(row, "prompted", "untrained, examples in prompt"))
    return lines + _elsewhere(numbers["elsewhere"]) + _other_benchmarks(numbers, width)


def _below(numbers: Mapping[str, Any], width: int) -> list[str]:
    lines = [f"left out: {_dropped(numbers['dropped'])}"]
    if numbers["benchmarks"]:
        lines.append(f"unscored: {_unscored(numbers['benchmarks'])}")
    cost = [_cost(numbers["costs"])] if numbers["costs"] else []
    return [*(shortened(plain(line), width) for line in lines), *cost]


def _height(text: str, console: Console) -> int:
    from rich.text import Text

    return len(Text(text).wrap(console, console.width))


def _elsewhere(found: Mapping[str, Any]) -> list[str]:
    if not found["verdicts"]:
        return []
    lines = ["skills: " + ", ".join(f"{count} {verdict}" for verdict, count in found["verdicts"].items())]
    if worst := found["worst"]:
        lines.append(f"worst: {plain(worst['skill'])} {_change_words(worst)}")
    return lines


def _other_benchmarks(numbers: Mapping[str, Any], width: int) -> list[str]:
    """Return a line for each of the other benchmarks, those that fell first; of many, how many more rose and fell."""
    found = numbers["elsewhere"]
    fell = [row["benchmark"] for row in found["fell"]]
    others = [row for row in numbers["benchmarks"][1:] if row["change"] and row["change"]["difference"] is not None]
    others.sort(key=lambda row: row["benchmark"] not in fell)
    named = {row["benchmark"]: row["benchmark"] + _measure_note(row["after"]) for row in others}
    lines = [shortened(plain(f"{named[row['benchmark']]}: {_gain(row, 'after', 'change')}"), width) for row in others]
    if len(lines) <= BENCHMARKS_SHOWN:
        return lines
    more = f"… and {len(lines) - BENCHMARKS_SHOWN} more; of all others {len(found['rose'])} rose, {len(fell)} fell"
    return [*lines[:BENCHMARKS_SHOWN], more]


def _measure_note(score: Mapping[str, Any]) -> str:
    return f" ({score['measure']})" if "@" in score["measure"] else ""


def _cost(costs: Mapping[str, Any]) -> str:
    paid = costs["paid"]
    usd = f"{in_dollars(paid['usd'])} for " if paid["usd"] else ""
    calls = f"{usd}{paid['calls']:,} calls, " if paid["calls"] else ""
    training = f", of which training {duration(costs['training_seconds'])}" if costs["training_seconds"] else ""
    tokens = f"; {words}" if (words := trained_on(costs)) else ""
    return f"cost: {calls}{duration(costs['seconds'])}{training}{tokens}"


def headline(numbers: Mapping[str, Any]) -> str:
    """Return the result of a run: the gain on one line, what it was measured from on the next."""
    best = numbers["headline"]
    if best is None:
        title = plain(numbers["title"])
        known = next((row["before"] or row["after"] for row in numbers["benchmarks"]), None)
        if known is None:
            return f"{title}: no gain to report, the run did not train and evaluate a model"
        name, n = plain(numbers["benchmarks"][0]["benchmark"]), known["n"] - known["unscored"]
        scored = f"{percent(known['accuracy'])} {_measured(known)} on the {n} questions of {name}"
        return f"{title}: {scored}; no gain to report, no model was trained"
    change, before, after = best["change"], best["before"], best["after"]
    scores = f"{percent(before['accuracy'])} -> {percent(after['accuracy'])} {_measured(after)}"
    return (
        f"{verdict(change)}: {_change_words(change)} on {plain(best['benchmark'])}\n"
        f"{scores} on the same {change['n']} questions, {probability(change['p'])}"
    )


def _measured(score: Mapping[str, Any]) -> str:
    return "right" if score["measure"] == "accuracy" else str(score["measure"])


def other_arm(row: Mapping[str, Any], arm: str, what: str) -> str:
    """Return what another arm than the last scored on a benchmark, on one line."""
    return f"{what}: {_gain(row, arm, f'{arm}_change')}"


def _gain(row: Mapping[str, Any], arm: str, change: str) -> str:
    accuracies = f"{percent(row['before']['accuracy'])} -> {percent(row[arm]['accuracy'])}"
    return f"{accuracies}, {_change_words(row[change])}"


def _change_words(change: Mapping[str, Any]) -> str:
    interval = f" [{points(change['low'])}, {points(change['high'])}]" if change["low"] is not None else ""
    return f"{points(change['difference'])} points{interval}"


def _skill_table(rows: list[Mapping[str, Any]], roomy: bool) -> Table:
    """Return the accuracy of each skill before and after training, and with examples in the prompt where there are.

    A narrow terminal has room for one of the two, which is the training.
    """
    prompted = [("prompted", "prompted_change")] if any(row["prompted"] for row in rows) else []
    trained = [("after", "change")] if not prompted or any(row["after"] for row in rows) else []
    arms = prompted + trained if roomy else trained or prompted
    table = new_table()
    headings = [heading for arm, _ in arms for heading in (arm, "change")]
    add_columns(table, "most often missing", "times", "rows", "before", *headings)
    for row in rows:
        scores = [(percent(_of(row[arm], "accuracy")), points(_of(row[change], "difference"))) for arm, change in arms]
        cells = (percent(_of(row["before"], "accuracy")), *(cell for score in scores for cell in score))
        add_row(table, row["skill"], str(row["missing"]), str(row["rows"]), *cells)
    return table


def _of(found: Mapping[str, Any] | None, name: str) -> float | None:
    return found[name] if found else None


def _dropped(dropped: Mapping[str, Mapping[str, int]]) -> str:
    stages = [f"{stage} {sum(reasons.values())}" for stage, reasons in dropped.items() if sum(reasons.values())]
    return ", ".join(stages) or "nothing"


def _unscored(benchmarks: list[Mapping[str, Any]]) -> str:
    counts = {
        row["benchmark"]: [row[when]["unscored"] for when in ("before", "after") if row[when]] for row in benchmarks
    }
    return ", ".join(f"{name} {' -> '.join(map(str, found))}" for name, found in counts.items() if any(found)) or "none"
