"""Two profiles side by side, skill by skill: two students or two checkpoints, and which differences are clear."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from stat_train.diagnosis.profile import exposed_skills, missed_skills
from stat_train.diagnosis.rates import MIN_EXPOSED
from stat_train.errors import UserError
from stat_train.evaluation.compare_runs import require_run, rounds_of
from stat_train.evaluation.report import points
from stat_train.evaluation.statistics import adjusted, is_clear, paired_difference, unpaired_difference
from stat_train.evaluation.tables import WIDE, add_columns, add_row, fit_names, new_table, plain, say
from stat_train.intervals import binomial_interval
from stat_train.records import Diagnosis, Difficulty, SkillProfile
from stat_train.store import read_records

if TYPE_CHECKING:
    from rich.console import Console

Counts = tuple[int, int]


class Difference(NamedTuple):
    """A difference of two shares; the bounds are None when every question came out alike."""

    value: float
    low: float | None
    high: float | None
    p: float


class Profiled(NamedTuple):
    """A run's profile, and what it was made from.

    `asked` holds (id, text) of the validation questions; `missed` and `exposed` the skills of each judged question;
    `names` every skill that the teacher could have named; `measured` by which difficulty, teacher and grader.
    """

    run: str
    profile: SkillProfile
    asked: set[tuple[str, str]]
    missed: dict[str, set[str]]
    exposed: dict[str, set[str]]
    names: set[str]
    measured: dict[str, str]


class SkillChange(NamedTuple):
    """One skill in both runs, as (missing, exposed); the bounds are None when every question came out alike.

    `p_adjusted` is p after Benjamini-Hochberg over the skills with enough exposures, None for the others.
    """

    skill: str
    first: Counts
    second: Counts
    difference: float
    low: float | None
    high: float | None
    p: float
    p_adjusted: float | None
    clear: bool
    too_few: bool


class ProfileComparison(NamedTuple):
    """Two profiles compared: `questions` are those that both were asked, and judged on when the runs are paired.

    `left_out` says why a skill is not among `skills`.
    """

    first: Profiled
    second: Profiled
    paired: bool
    questions: int
    skills: list[SkillChange]
    left_out: dict[str, str]


def load_profile(run_dir: Path) -> Profiled:
    """Read a run's profile; raises UserError when the folder is no run, or its profile is absent or unreadable."""
    require_run(run_dir)
    remedy = "run it with until=profile"
    if not (run_dir / "profile.json").is_file():
        raise UserError(f"{run_dir}: has no profile.json, so there is no profile yet; {rounds_of(run_dir) or remedy}")
    try:
        return _read_profile(run_dir)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{run_dir}: its profile cannot be read ({reason}); run it again with until=profile") from error


def compare_profiles(first: Profiled, second: Profiled) -> ProfileComparison:
    """Return how the second profile differs from the first, skill by skill, the largest change first.

    Runs that were asked the same validation questions are compared pair by pair: a skill on the questions, judged in
    both, that expose it in either run. Otherwise the two rates are compared as of different questions. Skills with
    fewer than MIN_EXPOSED exposures come last and are never called clear.
    """
    paired = first.asked == second.asked
    judged = first.exposed.keys() & second.exposed.keys()
    shared, left_out = _shared_skills(first, second, paired)
    changes = [
        change
        for skill in sorted(shared)
        if (change := _paired(skill, first, second, judged) if paired else _unpaired(skill, first, second))
    ]
    # A skill that no question judged in both exposes has nothing to compare.
    left_out |= dict.fromkeys(shared - {change.skill for change in changes}, "in no question that both runs judged")
    questions = len(judged if paired else first.asked & second.asked)
    ranked = sorted(_adjusted(changes), key=lambda c: (c.too_few, -abs(c.difference), c.p, c.skill))
    return ProfileComparison(first, second, paired, questions, ranked, dict(sorted(left_out.items())))


def measured_otherwise(found: ProfileComparison) -> dict[str, tuple[str, str]]:
    """Return in what the two runs measured differently: what it was in each."""
    pairs = {what: (value, found.second.measured[what]) for what, value in found.first.measured.items()}
    return {what: (one, two) for what, (one, two) in pairs.items() if one != two}


def as_json(found: ProfileComparison) -> dict[str, Any]:
    """Return a comparison as plain JSON values, in shares 0 to 1."""
    return {
        "first": _run_numbers(found.first),
        "second": _run_numbers(found.second),
        "paired": found.paired,
        "questions": found.questions,
        "measured_otherwise": measured_otherwise(found),
        "skills": [_change_numbers(change) for change in found.skills],
        "left_out": [{"skill": skill, "reason": reason} for skill, reason in found.left_out.items()],
    }


def print_profiles(found: ProfileComparison, console: Console) -> None:
    """Print both rates of each skill, their difference and whether it is clear, and how they were compared."""
    for letter, side in (("A", found.first), ("B", found.second)):
        profile = side.profile
        text = f"{letter}: {side.run} ({profile.student}, {profile.task}): "
        say(console, f"{text}{profile.difficult} of {profile.questions} questions difficult")
    table = new_table("How often each skill was missing, in %, with 95 % intervals")
    add_columns(table, "skill", "n", "A", "B", "change, points", "")
    digits = 1 if console.width >= WIDE else 0
    for change in found.skills:
        verdict = "too few" if change.too_few else "clear" if change.clear else ""
        rates = _rate(change.first, digits), _rate(change.second, digits)
        add_row(table, change.skill, _questions(change), *rates, _gap(change), verdict)
    if found.skills:
        console.print(fit_names(table, console.width))
    else:
        say(console, "The profiles have no skill in common.")
    for line in _explained(found):
        say(console, line)


def _read_profile(run_dir: Path) -> Profiled:
    profile = SkillProfile.model_validate_json((run_dir / "profile.json").read_text(encoding="utf-8"))
    asked = {row["id"]: row["question"] for row in _rows(run_dir / "questions" / "validation.jsonl")}
    required = {row["id"]: row["skills"] for row in _rows(run_dir / "skill_map.jsonl") if row["id"] in asked}
    judged = [row.question_id for row in read_records(run_dir / "difficulty.jsonl", Difficulty)]
    diagnoses = read_records(run_dir / "diagnoses.jsonl", Diagnosis)
    exposed = exposed_skills({id: required.get(id, []) for id in judged}, diagnoses)
    if len(judged) != profile.questions:
        raise ValueError(f"it is of {profile.questions} questions, difficulty.jsonl of {len(judged)}")
    listed = json.loads((run_dir / "skills.json").read_text(encoding="utf-8"))
    names = {name for names in listed.values() for name in names} | {gap.skill for gap in profile.skills}
    return Profiled(
        str(run_dir), profile, set(asked.items()), missed_skills(diagnoses), exposed, names, _measured(run_dir)
    )


def _measured(run_dir: Path) -> dict[str, str]:
    """Return what a profile depends on beside the student: how its questions were judged, and by whom."""
    config: Any = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    difficulty, teacher = config["difficulty"], config["teacher"]
    named = (teacher["name"], teacher.get("model"), teacher.get("revision"))
    rule = (f"{key}={value}" for key, value in difficulty.items() if key not in ("name", "prm") and value is not None)
    model = [difficulty["prm"]["model"]] if difficulty.get("prm") else []
    return {
        "difficulty": " ".join([difficulty["name"], *model, *rule]),
        "teacher": " ".join(str(part) for part in named if part),
        "grader": str(config["task"]["grader"]),
    }


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _shared_skills(first: Profiled, second: Profiled, paired: bool) -> tuple[set[str], dict[str, str]]:
    """Return the skills to compare, and why others are not.

    On the same questions a skill that one run never exposed was simply not missed there, if its teacher knew it.
    """
    profiles = [{gap.skill for gap in side.profile.skills} for side in (first, second)]
    known = [first.names, second.names] if paired else profiles
    shared = (profiles[0] | profiles[1]) & known[0] & known[1]
    reasons = {skill: "only in A" for skill in profiles[0] - shared} | {
        skill: "only in B" for skill in profiles[1] - shared
    }
    return shared, reasons


def _paired(skill: str, first: Profiled, second: Profiled, judged: set[str]) -> SkillChange | None:
    asked = sorted(id for id in judged if skill in first.exposed[id] or skill in second.exposed[id])
    if not asked:
        return None
    before, after = ([skill in side.missed.get(id, ()) for id in asked] for side in (first, second))
    n, difference, low, high, p = paired_difference(before, after)
    assert difference is not None and p is not None
    return _untested(skill, (sum(before), n), (sum(after), n), Difference(difference, low, high, p))


def _unpaired(skill: str, first: Profiled, second: Profiled) -> SkillChange:
    before, after = (_counts_of(skill, side.profile) for side in (first, second))
    return _untested(skill, before, after, Difference(*unpaired_difference(before, after)))


def _counts_of(skill: str, profile: SkillProfile) -> Counts:
    return next((gap.missing, gap.exposed) for gap in profile.skills if gap.skill == skill)


def _untested(skill: str, first: Counts, second: Counts, change: Difference) -> SkillChange:
    too_few = min(first[1], second[1]) < MIN_EXPOSED
    return SkillChange(skill, first, second, *change, p_adjusted=None, clear=False, too_few=too_few)


def _adjusted(changes: list[SkillChange]) -> list[SkillChange]:
    """Return the changes with p adjusted for the number of skills that are tested (Benjamini-Hochberg)."""
    numbers = adjusted([None if change.too_few else change.p for change in changes])
    return [change._replace(p_adjusted=q, clear=is_clear(q)) for change, q in zip(changes, numbers, strict=True)]


def _questions(change: SkillChange) -> str:
    (_, first), (_, second) = change.first, change.second
    return str(first) if first == second else f"{first}, {second}"


def _rate(counts: Counts, digits: int) -> str:
    value, low, high = binomial_interval(*counts)
    assert value is not None and low is not None and high is not None
    return f"{100 * value:.{digits}f} [{100 * low:.0f}, {100 * high:.0f}]"


def _gap(change: SkillChange) -> str:
    if change.low is None or change.high is None:
        return f"{points(change.difference)} [unknown]"
    return f"{points(change.difference)} [{points(change.low, 0)}, {points(change.high, 0)}]"


def _run_numbers(side: Profiled) -> dict[str, Any]:
    profile = side.profile
    counts = {"questions": profile.questions, "difficult": profile.difficult}
    return {"run": side.run, "student": profile.student, "task": profile.task, **counts}


def _change_numbers(change: SkillChange) -> dict[str, Any]:
    numbers = change._asdict() | {name: _count_numbers(getattr(change, name)) for name in ("first", "second")}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in numbers.items()}


def _count_numbers(counts: Counts) -> dict[str, Any]:
    rate = binomial_interval(*counts)
    return {"missing": counts[0], "exposed": counts[1]} | {
        name: value and round(value, 6) for name, value in zip(("rate", "low", "high"), rate, strict=True)
    }


def _explained(found: ProfileComparison) -> Iterator[str]:
    """Yield how the profiles were compared, and what was left out, a sentence a line."""
    first, second = found.first.profile, found.second.profile
    if found.paired:
        yield f"Paired: {found.questions} questions were judged in both runs; n of them expose the skill in either."
    else:
        what = "tasks" if first.task != second.task else "validation questions"
        counts = f"{first.questions} questions in A, {second.questions} in B, {found.questions} of them the same"
        yield f"Not paired, as the {what} differ: {counts}; n of them expose the skill."
    for what, (one, two) in measured_otherwise(found).items():
        yield f"Not the same {what}, so a difference may be of that: {plain(one)} in A, {plain(two)} in B."
    tested = [change for change in found.skills if not change.too_few]
    clear = sum(change.clear for change in tested)
    yield f"Clear: {clear} of {len(tested)} skills, with p <= 0.05 after Benjamini-Hochberg."
    if few := len(found.skills) - len(tested):
        yield f"Too few to tell: {few} skills with fewer than {MIN_EXPOSED} exposures."
    for reason in sorted(set(found.left_out.values())):
        names = [plain(skill) for skill, why in found.left_out.items() if why == reason]
        yield f"Left out, {reason}: {len(names)} skills ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})."
