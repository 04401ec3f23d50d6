"""Runs side by side: what each gained over its own base, how its model differs from the first run's, what it cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.errors import UserError
from stat_train.evaluation.compare_costs import Costs, costs_of_runs
from stat_train.evaluation.compare_runs import RunResult, load_runs, questions_of, shared_benchmarks
from stat_train.evaluation.compare_seeds import (
    Group,
    LeftOut,
    by_seed,
    change_of,
    differing,
    left_out,
    one_by_one,
    seed_pairs,
)
from stat_train.evaluation.compare_skills import SkillChange, read_changes, skill_changes
from stat_train.evaluation.scores import Scores
from stat_train.evaluation.statistics import PairedDifference, unbounded_difference
from stat_train.evaluation.summary import BASE, FINE_TUNED, PROMPTED, as_numbers, in_both
from stat_train.intervals import Interval
from stat_train.records import Question

CHOSEN = "chosen by the untrained student's failures"
# Of so many percent of questions left out on, a change tells of other questions than were asked.
OFTEN_LEFT_OUT_PERCENT = 5


class LogProbability(NamedTuple):
    """How likely the reference answers are, in nats per token: of the base, of the arm, and the changes."""

    base: Interval
    trained: Interval
    gain: PairedDifference
    to_first: PairedDifference | None


class Row(NamedTuple):
    """One arm of a run, or of the same run with several `seeds`, on one benchmark.

    `trained` is the arm's score by the benchmark's `measure`: the trained model's, or with `arm` "adaptmi" that of the
    untrained one with worked examples in its prompt, which has no `pairs`. `training` is the choice of `train=`: none
    has no pairs either, and of an external checkpoint they are not known. `to_first` is the difference to the first
    row's model, None for that row. `skills` are the changes against the run `against` (None: its own base), where they
    were asked for. `log_probability` is None where it is not known, and of several seeds.

    `only_difficult`: the questions are those that the untrained student failed, on which any other model tends to score
    higher, so `gain` has no interval and is not judged. `left_out` are the questions that `to_first` does not count, or
    of the first row `gain`.
    """

    name: str
    arm: str
    training: str
    recipe: str
    pairs: int
    seeds: list[Any]
    benchmark: str
    measure: str
    n: int
    base: Interval
    trained: Interval
    gain: PairedDifference
    gain_per_seed: list[float]
    to_first: PairedDifference | None
    to_first_per_seed: list[float]
    log_probability: LogProbability | None
    costs: Costs
    only_difficult: bool
    left_out: LeftOut
    against: str | None
    skills: list[SkillChange] | None


class Setting(NamedTuple):
    """A setting in which the runs differ, with its value in each."""

    key: str
    values: list[Any]


class Comparison(NamedTuple):
    """The rows of all runs, benchmark by benchmark; the settings in which the runs differ; what else is to be said."""

    rows: list[Row]
    names: list[str]
    settings: list[Setting]
    notes: list[str]


def compare(
    run_dirs: Sequence[Path],
    benchmark: str | None = None,
    over_seeds: bool = False,
    with_skills: bool = False,
    with_seed: Collection[str] = (),
) -> Comparison:
    """Return the runs on a benchmark that all have ("all": on each); by default the one that the first is judged by.

    A run has a row for each trained model, the last one first, and one for worked examples in the prompt, where it has
    them. Two are compared on the questions that both scored. `over_seeds` makes one row of runs that differ in nothing
    but the seed and the settings `with_seed`, which were changed together with it. `with_skills` adds the changes of
    skills: of each run's last model against the first run's, or of a single run's against its base.
    """
    runs = load_runs(run_dirs)
    groups = by_seed(runs, with_seed) if over_seeds else one_by_one(runs)
    if lacking := [group.name for group in groups if not group.arms]:
        raise UserError(f"--over-seeds: the runs of {lacking[0]} have no trained model in common; evaluate them alike")
    rows = []
    compared = [(run, group.arms[0]) for group in groups for run in group.runs]
    for name in shared_benchmarks(compared, benchmark):
        questions = questions_of(runs, name) if len(runs) > 1 else []
        rows += _rows(groups, name, questions, runs, with_skills)
    keys = dict.fromkeys(key for group in groups for key in differing(groups[0], group))
    settings = [Setting(key, [group.settings.get(key) for group in groups]) for key in keys]
    return Comparison(rows, [group.name for group in groups], settings, _notes(groups, rows, with_skills))


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain JSON values, in shares 0 to 1."""
    return [_plain(row) for row in rows]


def made_by(row: Row) -> str:
    """Return in words how the model of a row came about."""
    if row.arm == PROMPTED:
        return "untrained, prompted"
    trained = {"none": "", "external": "trained elsewhere"}.get(row.training, f"{row.recipe}, {row.pairs} pairs")
    return trained if row.arm == FINE_TUNED else ", then ".join(filter(None, (trained, "rl")))


def _rows(
    groups: Sequence[Group], benchmark: str, questions: Sequence[Question], runs: Sequence[RunResult], with_skills: bool
) -> list[Row]:
    first, rows = (groups[0], groups[0].arms[0]), list[Row]()
    for group in groups:
        for arm in group.arms:
            if not group.asked(arm, benchmark):
                continue
            row = _row(group, arm, benchmark, first if rows else None, runs)
            judged = not row.only_difficult if len(groups) == 1 else group is not groups[0]
            if with_skills and judged and arm == group.arms[0]:
                skills = _skills(group, arm, benchmark, first, questions)
                row = row._replace(skills=skills, against=groups[0].name if len(groups) > 1 else None)
            rows.append(row)
    return rows


def _row(group: Group, arm: str, benchmark: str, first: tuple[Group, str] | None, every: Sequence[RunResult]) -> Row:
    run = group.runs[0]
    found = run.evaluation["arms"][arm][benchmark]
    only_difficult = any(each.evaluation["arms"][arm][benchmark].get("only_difficult") for each in group.runs)
    gain, gain_per_seed = _gain(group, arm, benchmark, only_difficult)
    pairs = _against(first, group, arm, benchmark) if first else _own_pairs(group, arm, benchmark)
    to_first, to_first_per_seed = change_of(pairs) if first else (None, [])
    return Row(
        name=group.name,
        arm=arm,
        training=run.training,
        recipe=str(run.config["data_recipe"]["name"]),
        pairs=0 if arm == PROMPTED else run.pairs,
        seeds=group.seeds,
        benchmark=benchmark,
        measure=found.get("measure", "accuracy"),
        n=found["n"],
        base=_score(group, BASE, benchmark),
        trained=_score(group, arm, benchmark),
        gain=gain,
        gain_per_seed=gain_per_seed,
        to_first=to_first,
        to_first_per_seed=to_first_per_seed,
        log_probability=_log_probability(group, arm, benchmark, first),
        costs=costs_of_runs(group.runs, arm, None if only_difficult else gain.difference, every),
        only_difficult=only_difficult,
        left_out=left_out(pairs),
        against=None,
        skills=None,
    )


def _of(run: RunResult, arm: str, benchmark: str) -> Scores:
    return run.scores.get(arm, {}).get(benchmark, {})


def _gain(group: Group, arm: str, benchmark: str, only_difficult: bool) -> tuple[PairedDifference, list[float]]:
    if len(group.runs) == 1:
        return _read_change(group.runs[0].evaluation["differences"][f"{arm} - {BASE}"][benchmark]), []
    gain, per_seed = change_of(_own_pairs(group, arm, benchmark))
    return (gain._replace(low=None, high=None, p=None) if only_difficult else gain), per_seed


def _own_pairs(group: Group, arm: str, benchmark: str) -> list[tuple[Scores, Scores]]:
    """Return the scores of each run's base and of its arm."""
    return [(_of(run, BASE, benchmark), _of(run, arm, benchmark)) for run in group.runs]


def _against(first: tuple[Group, str], group: Group, arm: str, benchmark: str) -> list[tuple[Scores, Scores]]:
    pairs = seed_pairs(first[0], group)
    return [(_of(before, first[1], benchmark), _of(after, arm, benchmark)) for before, after in pairs]


def _skills(
    group: Group, arm: str, benchmark: str, first: tuple[Group, str], questions: Sequence[Question]
) -> list[SkillChange]:
    if group is not first[0]:
        return skill_changes(_against(first, group, arm, benchmark), questions)
    if len(group.runs) == 1:
        return read_changes(group.runs[0].evaluation["differences"][f"{arm} - {BASE}"][benchmark]["per_skill"])
    return skill_changes(_own_pairs(group, arm, benchmark), questions)


def _score(group: Group, arm: str, benchmark: str) -> Interval:
    """Return what an arm scored with its interval; over seeds it is its mean change from nothing at all."""
    if len(group.runs) == 1:
        found = group.runs[0].evaluation["arms"][arm][benchmark]
        return Interval(found["accuracy"], found["low"], found["high"])
    scores = [_of(run, arm, benchmark) for run in group.runs]
    mean = change_of([(dict.fromkeys(found, 0.0), found) for found in scores]).difference
    return Interval(mean.difference, None if mean.low is None else max(0.0, mean.low), mean.high)


def _log_probability(group: Group, arm: str, benchmark: str, first: tuple[Group, str] | None) -> LogProbability | None:
    run, arms = group.runs[0], group.runs[0].evaluation["arms"]
    scores = [arms[each][benchmark].get("log_probability") for each in (BASE, arm)]
    gain = run.evaluation["differences"][f"{arm} - {BASE}"][benchmark].get("log_probability")
    if len(group.runs) > 1 or gain is None or None in scores:
        return None
    base, trained = (Interval(found["mean"], found["low"], found["high"]) for found in scores)
    to_first = None
    if first:
        before = first[0].runs[0].log_probabilities.get(first[1], {}).get(benchmark, {})
        after = run.log_probabilities.get(arm, {}).get(benchmark, {})
        to_first = unbounded_difference(*in_both(before, after, list(before)))
    return LogProbability(base, trained, _read_change(gain), to_first)


def _read_change(found: dict[str, Any]) -> PairedDifference:
    return PairedDifference(*(found[name] for name in PairedDifference._fields))


def _notes(groups: Sequence[Group], rows: Sequence[Row], with_skills: bool) -> list[str]:
    """Return what a reader would not expect: seeds without their like, what is not joined, not asked or not known."""
    notes = []
    for group in groups[1:]:
        paired = [run.config.get("seed") for _, run in seed_pairs(groups[0], group)]
        if (len(group.runs), len(paired)) != (len(groups[0].runs), len(group.runs)):
            seeds = ", ".join(map(str, paired)) or "none"
            notes.append(f"{group.name} is compared with {groups[0].name} over the seeds that both have: {seeds}")
    several = [run for group in groups if len(group.runs) > 1 for run in group.runs]
    if any(run.log_probabilities for run in several):
        notes.append(
            "log-probabilities of reference answers are not joined over seeds; compare single runs to see them"
        )
    for name in dict.fromkeys(row.benchmark for row in rows if row.only_difficult):
        notes.append(f"{name}, gain not tested: {CHOSEN}, so any other model tends to score higher there")
    notes += [note for row in rows if (note := _left_out_note(row, groups[0].name))]
    notes += [*_not_asked(groups, rows), *_not_shared(groups, rows)]
    without = {row.benchmark: None for row in rows if with_skills and row.skills == []}
    return [*notes, *(f"{name}: no run shows which skills its questions need" for name in without)]


def _not_asked(groups: Sequence[Group], rows: Sequence[Row]) -> list[str]:
    benchmarks = dict.fromkeys(row.benchmark for row in rows)
    lacking = {
        f"{group.name}, {arm}": [name for name in benchmarks if not group.asked(arm, name)]
        for group in groups
        for arm in group.arms
    }
    return [f"{who}: not asked {', '.join(names)}" for who, names in lacking.items() if names]


def _not_shared(groups: Sequence[Group], rows: Sequence[Row]) -> list[str]:
    """Return which benchmarks some run was scored on and another was not, so that they cannot be compared."""
    scored = {group.name: set[str]().union(*group.runs[0].evaluation["arms"].values()) for group in groups}
    shown = {row.benchmark for row in rows}
    every = dict.fromkeys(name for found in scored.values() for name in sorted(found))
    unseen = [name for name in every if name not in shown]
    lacking = {name: ", ".join(run for run, found in scored.items() if name not in found) for name in unseen}
    return [f"not compared: {name}, on which {runs} was not scored" for name, runs in lacking.items() if runs]


def _left_out_note(row: Row, first: str) -> str:
    counted, missing = (row.to_first or row.gain).n, sum(row.left_out)
    if not missing or 100 * missing < OFTEN_LEFT_OUT_PERCENT * (counted + missing):
        return ""
    against = f"against {first}" if row.to_first else "against its base"
    told = f"{missing} of {counted + missing} questions left out ({row.left_out.in_words})"
    return f"{row.name}, {row.arm} on {row.benchmark} {against}: {told}"


def _plain(row: Row) -> dict[str, Any]:
    known, skills = row.log_probability, row.skills
    return {
        **row._asdict(),
        "base": row.base._asdict(),
        "trained": row.trained._asdict(),
        "gain": as_numbers(row.gain),
        "to_first": row.to_first and as_numbers(row.to_first),
        "log_probability": known
        and {
            "base": known.base._asdict(),
            "trained": known.trained._asdict(),
            "gain": as_numbers(known.gain),
            "to_first": known.to_first and as_numbers(known.to_first),
        },
        "costs": row.costs._asdict(),
        "left_out": row.left_out._asdict(),
        "skills": None if skills is None else [_plain_skill(each) for each in skills],
    }


def _plain_skill(each: SkillChange) -> dict[str, Any]:
    q = None if each.q is None else round(each.q, 6)
    return {"skill": each.skill, **as_numbers(each.change), "q": q, "verdict": each.verdict}
