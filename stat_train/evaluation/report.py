"""The report of a run: all its numbers (`report.json`) and the page made from them (`report.html`)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from stat_train import __version__
from stat_train.evaluation.heat_maps import sweep_map, together_map
from stat_train.evaluation.pages import page_template
from stat_train.evaluation.report_charts import change_bound, line_chart
from stat_train.evaluation.report_scores import composition, elsewhere, group_scores
from stat_train.evaluation.summary import BASE, FINE_TUNED, PROMPTED, REINFORCED, headline_benchmark, trained_arm
from stat_train.models.budget import in_dollars
from stat_train.records import SkillGap, SkillProfile, as_json

Numbers = dict[str, Any]
# The accuracy as it is, then that of other arms with their change: after training, with examples in the prompt, and
# where reinforcement learning came last also before that (`added` is what it added).
ARM_NUMBERS = ("before", "after", "change", "prompted", "prompted_change", "fine_tuned", "fine_tuned_change", "added")


class Findings(NamedTuple):
    """What stages found beside their results.

    How well strategies find what is difficult (`difficulty`), how far diagnoses agree when they are asked again
    (`audit`), which of several checkpoints was taken (`choice`), the course of each training (`curves`), questions in
    full (`samples` of a benchmark, `diagnosed` ones with their training rows), what the run took (`costs`), and the
    `versions` of packages.
    """

    difficulty: Numbers | None = None
    audit: Numbers | None = None
    choice: Numbers | None = None
    curves: Sequence[Numbers] = ()
    samples: Numbers | None = None
    diagnosed: Numbers | None = None
    costs: Numbers | None = None
    versions: Mapping[str, str] = MappingProxyType({})


# Of a longer table of skills, the rest can be unfolded.
ROWS_SHOWN = 30
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
_NOT_TEXT = {"null", "true", "false", "nan", "inf", "yes", "no", "on", "off"}


def report_numbers(
    config: Numbers,
    profile: SkillProfile | None,
    curation: Numbers,
    evaluation: Numbers | None,
    dropped: dict[str, dict[str, int]],
    stages: list[Numbers],
    findings: Findings = Findings(),  # noqa: B008
) -> Numbers:
    """Return the content of `report.json`: every number that the page and the terminal show.

    `curation` is what there is to say of the training set, with the certificate of what it was checked against. A run
    that ended before the evaluation (`evaluation` None) has no benchmarks and a `headline` of None.
    """
    benchmarks = _benchmarks(config, evaluation or {})
    skills = _skills(profile, curation.get("pairs_carrying_skill", {}), evaluation or {}, benchmarks)
    first = _arm_numbers(evaluation, benchmarks[0]["benchmark"]) if evaluation and benchmarks else {}
    headline = benchmarks[0] if benchmarks and benchmarks[0]["change"] else None
    return {
        "title": " ".join(str(config[node]["name"]) for node in ("task", "student", "data_recipe")),
        "command": command(config),
        "headline": headline,
        "elsewhere": elsewhere(skills, benchmarks),
        "benchmarks": benchmarks,
        "profile": _profile_counts(profile),
        "subjects": [as_json(gap) for gap in profile.subjects] if profile else [],
        "together": together_map(profile) if profile else None,
        "difficulty": findings.difficulty,
        "audit": findings.audit,
        "choice": findings.choice,
        "decontamination": curation.get("decontamination"),
        "skills": skills,
        "subject_scores": group_scores(first, "per_subject"),
        "composition": composition(first),
        "curves": list(findings.curves),
        "samples": findings.samples,
        "diagnosed": findings.diagnosed,
        "costs": findings.costs,
        "dropped": {stage: dict(sorted(reasons.items())) for stage, reasons in dropped.items()},
        "stages": stages,
        "versions": {"stat_train": __version__, **findings.versions},
        "config": config,
    }


def report_html(numbers: Numbers) -> str:
    """Return the report as one page of HTML that needs no network and no JavaScript."""
    filters = {"percent": percent, "points": points, "probability": probability, "signed": signed}
    filters |= {"duration": duration, "dollars": in_dollars, "trained_on": trained_on, "on_devices": on_devices}
    page = page_template("report.html.j2", filters)
    return page.render(
        numbers,
        settings=list(_leaves(numbers["config"])),
        longest=_longest_share(numbers),
        sweep=sweep_map(numbers["difficulty"]),
        verdict=verdict,
        bound=change_bound(numbers["benchmarks"]),
        charts=[line_chart(curve) for curve in numbers["curves"]],
        stage_rows=_stage_rows(numbers["stages"]),
        most_rows=ROWS_SHOWN,
    )


def command(config: Numbers) -> str:
    """Return the shell command that repeats a run: every setting is spelled out, so later defaults do not matter."""
    choices = [f"{key}={value['name']}" for key, value in config.items() if isinstance(value, dict) and "name" in value]
    chosen = {choice.split("=")[0] + ".name" for choice in choices}
    # To make the training set again is not to upload it again.
    rest = [f"{key}={_hydra(value)}" for key, value in _leaves(config) if key not in chosen | {"push_to_hub"}]
    return " \\\n  ".join(["stat-train", *map(shlex.quote, [*choices, *rest])])


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage: 0.5 is `50.0 %`; a dash when there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def points(share: float | None, digits: int = 1) -> str:
    """Return a change of a share in signed percentage points: 0.05 is `+5.0`; a dash when there is none."""
    if share is None:
        return "–"
    text = f"{100 * share:+.{digits}f}".replace("-", "−")
    return text if float(text[1:]) else text[1:]


def signed(value: float | None, digits: int = 3) -> str:
    """Return a change with its sign: 0.05 is `+0.050`; a dash when there is none."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Return a time for reading: `13.6 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def trained_on(costs: Mapping[str, Any]) -> str:
    """Return on how many tokens a model was trained, for reading; empty where none was."""
    own, every = costs["fine_tuning_tokens"], costs["all_fine_tuning_tokens"]
    parts = ["an unknown number of tokens of fine-tuning, which was done elsewhere"] if own is None else []
    if every:
        others = f", {every:,} with the rates that were not taken" if every != own else ""
        parts.append(f"{own:,} tokens of fine-tuning{others}")
    if costs["reinforcement_tokens"]:
        parts.append(f"{costs['reinforcement_tokens']:,} tokens of reinforcement learning")
    return "; ".join(parts)


def on_devices(costs: Mapping[str, Any]) -> str:
    """Return how long devices were busy, for reading; empty where no stage had weights to load."""
    if not costs["device_seconds"]:
        return ""
    if costs["device_seconds_in_all"] is None:
        return "seconds on devices were not counted in every stage"
    return " and ".join(
        f"{taken:,.0f} {name.upper()} seconds" for name, taken in costs["device_seconds_in_all"].items()
    )


def probability(p: float | None) -> str:
    """Return a p value for reading: `p = 0.012`, or `p < 0.001`."""
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def verdict(change: Mapping[str, Any]) -> str:
    """Return in words what a difference shows: a gain, a loss, or neither as far as its interval can tell."""
    low, high = change["low"], change["high"]
    if low is None:
        return "Not tested"
    if low <= 0 <= high:
        return "No clear change"
    return "Gain" if low > 0 else "Worse"


def _benchmarks(config: Numbers, evaluation: Numbers) -> list[Numbers]:
    """Return one row a benchmark, before, after and with examples in the prompt; the one that headlines name first."""
    arms: Numbers = evaluation.get("arms", {})
    names = list(arms.get(BASE) or arms.get(trained_arm(arms) or "", {}))
    first = headline_benchmark(config, names)
    return [
        {"benchmark": name} | {key: _totals(found) for key, found in _arm_numbers(evaluation, name).items()}
        for name in sorted(names, key=lambda name: name != first)
    ]


def _arm_numbers(evaluation: Numbers, benchmark: str) -> dict[str, Numbers | None]:
    """Return what each arm scored on a benchmark, and the changes from the base; None for what was not evaluated."""
    arms, changes, trained = evaluation["arms"], evaluation["differences"], trained_arm(evaluation["arms"])
    earlier = FINE_TUNED if trained == REINFORCED else None
    found = (
        arms.get(BASE),
        arms.get(trained),
        changes.get(f"{trained} - {BASE}"),
        arms.get(PROMPTED),
        changes.get(f"{PROMPTED} - {BASE}"),
        arms.get(earlier),
        changes.get(f"{earlier} - {BASE}"),
        changes.get(f"{trained} - {earlier}"),
    )
    return {name: (each or {}).get(benchmark) for name, each in zip(ARM_NUMBERS, found, strict=True)}


def _totals(row: Numbers | None) -> Numbers | None:
    return row and {key: value for key, value in row.items() if not isinstance(value, dict) or key == "log_probability"}


def _profile_counts(profile: SkillProfile | None) -> Numbers | None:
    return {"questions": profile.questions, "difficult": profile.difficult} if profile else None


def _skills(
    profile: SkillProfile | None, rows: dict[str, int], evaluation: Numbers, benchmarks: list[Numbers]
) -> list[Numbers]:
    """Return one row a skill, most often missing first: its gap, its share of the training rows, its scores."""
    gaps = {gap.skill: gap for gap in profile.skills} if profile else {}
    scores = _skill_scores(evaluation, benchmarks[0]["benchmark"]) if benchmarks else {}
    all_missing, all_rows = sum(gap.missing for gap in gaps.values()), sum(rows.values())
    return [
        {
            "skill": skill,
            **_gap_numbers(gaps.get(skill)),
            "gap_share": _share(gaps[skill].missing if skill in gaps else 0, all_missing),
            "rows": rows.get(skill, 0),
            "row_share": _share(rows.get(skill, 0), all_rows),
            **(scores.get(skill) or dict.fromkeys(ARM_NUMBERS)),
        }
        for skill in sorted({*gaps, *rows, *scores}, key=lambda skill: (-_missing(gaps.get(skill)), skill))
    ]


def _skill_scores(evaluation: Numbers, benchmark: str) -> dict[str, Numbers]:
    found = {name: (each or {}).get("per_skill", {}) for name, each in _arm_numbers(evaluation, benchmark).items()}
    skills = {skill for scores in found.values() for skill in scores}
    return {skill: {name: scores.get(skill) for name, scores in found.items()} for skill in skills}


def _missing(gap: SkillGap | None) -> int:
    return gap.missing if gap else 0


def _gap_numbers(gap: SkillGap | None) -> Numbers:
    known = gap.model_dump(exclude={"skill"}) if gap else {"missing": 0, "exposed": 0}
    return dict.fromkeys(name for name in SkillGap.model_fields if name != "skill") | known


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _stage_rows(stages: Sequence[Numbers]) -> list[Numbers]:
    """Return one row a stage, with the sums of those that ran several times, as one for each arm and benchmark."""
    rows: dict[str, Numbers] = {}
    for stage in stages:
        row = rows.setdefault(stage["name"], stage | {"hashes": [], "seconds": 0.0, "counts": {}})
        row["hashes"].append(stage["hash"])
        row["seconds"] += stage["seconds"]
        for item, count in stage["counts"].items():
            total, kept = row["counts"].get(item, (0, 0))
            row["counts"][item] = (total + count["total"], kept + count["kept"])
    return list(rows.values())


def _longest_share(numbers: Numbers) -> float:
    return max((row[name] or 0.0 for row in numbers["skills"] for name in ("gap_share", "row_share")), default=0.0)


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _hydra(value: Any) -> str:
    """Return a value in the grammar of Hydra's overrides."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    # Hydra reads a backslash literally, except in front of a quote.
    return '"' + re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + ('\\"' if match[2] else ""), value) + '"'
