"""Which runs a sweep has: from the arguments of `stat-train -m` to the settings, name and folder of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.compose import Settings, changed, choices, is_below, leaves, read_settings, read_sweep
from stat_train.config import NOT_OF_A_RUN
from stat_train.errors import ConfigError, UserError
from stat_train.evaluation.published import read_published
from stat_train.launch_settings import Sweep
from stat_train.sweeping.axes import SEED, Values, as_arguments, key_of, sort_arguments, vary

# What a sweep's folder has beside those of its jobs.
NO_NAMES = ("jobs", "launcher", "slurm")
NO_SWEEP = Sweep(params={}, together={}, also=[], folder=None, published=None, results=None)
# Nobody reads more of a folder's name.
MAX_VALUE_CHARACTERS = 40
# Of jobs with the same problem, so many are named.
MAX_NAMES = 3
# No identity of a stage, and yet a sweep with others is another sweep.
MADE_OF_STAGES = ("experiment", "rounds")


class SweepJob(NamedTuple):
    """One run of a sweep; `overrides` are the settings in which it differs from the others, as given."""

    name: str
    settings: Settings
    overrides: list[str]


class Plan(NamedTuple):
    """The runs of a sweep, and the folder that has one for each.

    `fixed` are the arguments that all share, `swept` the keys that tell the runs apart, `over_seeds` whether the seed
    is one of them and `with_seed` the settings that change with it. `published`: the table of published numbers that
    the sweep names; `results`: the folder for raw results.
    """

    folder: Path
    jobs: list[SweepJob]
    fixed: list[str]
    swept: list[str]
    over_seeds: bool
    with_seed: list[str]
    published: str | None
    results: Path | None

    def varies(self, job: SweepJob) -> dict[str, str]:
        """Return the settings in which a job differs from those that are not the same with another seed."""
        given = (override.partition("=") for override in job.overrides)
        return {key: value for key, _, value in given if key not in (SEED, *self.with_seed)}


def jobs_of(arguments: Sequence[str]) -> Plan:
    """Return the runs that `stat-train -m` with these arguments makes, all composed and checked.

    Raises ConfigError with everything that is wrong in any of them, and UserError when there is nothing to vary.
    """
    given = sort_arguments(arguments)
    sweep = read_sweep(given.fixed)
    if sweep.published:
        # Better known now than at the end.
        read_published(sweep.published)
    combinations, varied, with_seed = vary(sweep, given)
    if not combinations:
        read_settings(given.fixed)
        raise UserError("-m: nothing varies; expected a setting with several values, such as seed=0,1, or sweep=NAME")
    fixed = [argument for argument in given.fixed if not _is_sweeps(argument) and not _replaced(argument, combinations)]
    names = _names(combinations, varied)
    settings = _composed(given.fixed, dict(zip(names, combinations, strict=True)))
    folder = Path(sweep.folder or _usual_folder(varied, fixed, settings[0]))
    jobs = [
        SweepJob(name, changed(one, run_dir=str(folder / name), sweep=NO_SWEEP), as_arguments(values))
        for name, values, one in zip(names, combinations, settings, strict=True)
    ]
    over_seeds = len({values.get(SEED) for values in combinations}) > 1
    results = Path(sweep.results).expanduser() if sweep.results else None
    return Plan(folder, jobs, fixed, varied, over_seeds, with_seed, sweep.published, results)


# -- their settings ---------------------------------------------------------------------------------------------------


def _is_sweeps(argument: str) -> bool:
    return key_of(argument).partition(".")[0] == "sweep"


def _replaced(argument: str, combinations: Sequence[Values]) -> bool:
    return all(key_of(argument) in values for values in combinations)


def _composed(fixed: Sequence[str], jobs: Mapping[str, Values]) -> list[Settings]:
    """Return the settings of each job; raises ConfigError with each problem once, and the jobs that have it."""
    settings, problems = list[Settings](), dict[str, list[str]]()
    for name, values in jobs.items():
        try:
            own = [argument for argument in fixed if not _is_sweeps(argument) and not _replaced(argument, [values])]
            settings.append(read_settings([*own, *as_arguments(values)]))
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(name)
    if problems:
        raise ConfigError([f"{_whose(names, len(jobs))}: {problem}" for problem, names in problems.items()])
    return settings


def _whose(names: Sequence[str], count: int) -> str:
    if len(names) == count > 1:
        return f"all {count} jobs"
    return ", ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} of {count} jobs (first: {names[0]})"


# -- their names ------------------------------------------------------------------------------------------------------


def _names(combinations: Sequence[Values], varied: Sequence[str]) -> list[str]:
    """Return a name for each job, from what tells it apart; never the same for two."""
    shown = _shown_keys(varied)
    names = [
        "-".join(_part(shown[key], value) for key, value in values.items() if key in shown) for values in combinations
    ]
    count = Counter([*names, *NO_NAMES])
    return [
        name if count[name] == 1 else f"{name}-{_hash(values)}"
        for name, values in zip(names, combinations, strict=True)
    ]


def _shown_keys(varied: Sequence[str]) -> dict[str, str]:
    """Return what stands before a value: nothing for a choice, else the key's last part, or all where two share it."""
    last = {key: key.rpartition(".")[2] for key in varied}
    count, groups = Counter(last.values()), choices()
    return {key: "" if key in groups else name if count[name] == 1 else key for key, name in last.items()}


def _part(key: str, value: str) -> str:
    """Return a key and its value in characters that every shell and file system takes."""
    text = value.strip("'\"").rpartition("/")[2] if not key else value
    safe = re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_.") or "empty"
    return key + (safe if len(safe) <= MAX_VALUE_CHARACTERS else f"{safe[:MAX_VALUE_CHARACTERS]}_{_hash(value)}")


def _usual_folder(varied: Sequence[str], fixed: Sequence[str], first: Settings) -> str:
    """Return the folder of a sweep that names none: what varies, and a hash of what makes its results others.

    With a higher cap, another cache or a later last stage a sweep goes on in the folder where it was begun.
    """
    name = "-".join(["runs/sweep", *(key.rpartition(".")[2] for key in varied)])
    identity = [key for key, value in leaves(first.config.identity()) if value != {}]
    counted = sorted(argument for argument in fixed if _makes_others(key_of(argument), identity))
    return f"{name}-{_hash(counted)}" if counted else name


def _makes_others(key: str, identity: Iterable[str]) -> bool:
    own = any(is_below(one, [key]) or is_below(key, [one]) for one in identity)
    return key.partition(".")[0] in MADE_OF_STAGES or (own and not is_below(key, NOT_OF_A_RUN))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
