"""Which runs a sweep has: from the arguments of `stat-train -m` to the settings, name and folder of each.

Hydra's own grammar says what several values are: `seed=0,1`, `seed=range(0,5)`, `train=choice(sft,none)`, `x=[a],[b]`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from stat_train.compose import Settings, changed, choices, leaves, read_settings, read_sweep
from stat_train.config import NOT_OF_A_RUN
from stat_train.errors import ConfigError, UserError
from stat_train.evaluation.published import read_published
from stat_train.launch_settings import Sweep

# Settings for one job, each with one value, as on a command line: {"seed": "0"}.
Values = dict[str, str]
SEED = "seed"
# What a sweep's folder has beside those of its jobs.
NO_NAMES = ("jobs", "launcher", "slurm")
NO_SWEEP = Sweep(params={}, also=[], folder=None, published=None)
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

    `fixed` are the arguments that all share, `swept` the keys with several values, `over_seeds` whether the seed is one
    of them. `published`: the table of published numbers that the sweep names.
    """

    folder: Path
    jobs: list[SweepJob]
    fixed: list[str]
    swept: list[str]
    over_seeds: bool
    published: str | None


class Given(NamedTuple):
    """The arguments of a sweep, sorted: with one value, in their order, and key by key with several."""

    fixed: list[str]
    swept: dict[str, list[str]]


def jobs_of(arguments: Sequence[str]) -> Plan:
    """Return the runs that `stat-train -m` with these arguments makes, all composed and checked.

    Raises ConfigError with everything that is wrong in any of them, and UserError when there is nothing to vary.
    """
    given = _sorted(arguments)
    sweep = read_sweep(given.fixed)
    if sweep.published:
        # Better known now than at the end.
        read_published(sweep.published)
    chosen = _without_replaced(sweep, given)
    combinations = _combinations(chosen, given.swept)
    if not combinations:
        read_settings(given.fixed)
        raise UserError("-m: nothing varies; expected a setting with several values, such as seed=0,1, or sweep=NAME")
    varied = list(dict.fromkeys(key for values in combinations for key in values))
    fixed = [argument for argument in given.fixed if not _is_sweeps(argument) and not _replaced(argument, combinations)]
    names = _names(combinations, varied)
    settings = _composed(given.fixed, dict(zip(names, combinations, strict=True)))
    folder = Path(sweep.folder or _usual_folder(varied, fixed, settings[0]))
    jobs = [
        SweepJob(name, changed(one, run_dir=str(folder / name), sweep=NO_SWEEP), _as_arguments(values))
        for name, values, one in zip(names, combinations, settings, strict=True)
    ]
    over_seeds = len({values.get(SEED) for values in combinations}) > 1
    return Plan(folder, jobs, fixed, varied, over_seeds, sweep.published)


# -- what varies ------------------------------------------------------------------------------------------------------


def _sorted(arguments: Sequence[str]) -> Given:
    given, problems = Given([], {}), list[str]()
    for argument in arguments:
        several, key = _several_values(argument), _key(argument)
        if key == "run_dir":
            problems.append(f"{argument}: a run of a sweep has a folder of its own; give sweep.folder=FOLDER")
        elif several is None:
            given.fixed.append(argument)
        elif key.partition(".")[0] == "sweep":
            problems.append(f"{argument}: a sweep has one; give the values to the setting itself, such as seed=0,1")
        elif key in given.swept:
            problems.append(f"{argument}: {key} was given before; expected all its values at once")
        else:
            given.swept[key] = several
    if problems:
        raise ConfigError(problems)
    return given


def _several_values(argument: str) -> list[str] | None:
    """Return the values of an argument that has several; None for one value, and for what is no setting at all."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    if not override.is_sweep_override():
        return None
    try:
        return list(override.sweep_string_iterator())
    except HydraException as error:
        expected = "expected KEY=A,B or KEY=range(0,3)"
        raise ConfigError([f"{argument}: {expected}; the values must be countable and named"]) from error


def _without_replaced(sweep: Sweep, given: Given) -> Sweep:
    """Return what is left of a sweep when what the command line gives has replaced its own."""
    ours = {_key(argument) for argument in given.fixed} | set(given.swept)
    if "sweep" not in ours:
        # The experiment that chose the sweep is there to be varied by it.
        ours.discard("experiment")
    params = {key: value for key, value in sweep.params.items() if key not in ours}
    also = [entry for entry in sweep.also if not ours & set(entry)]
    return sweep.model_copy(update={"params": params, "also": also})


def _combinations(sweep: Sweep, swept: Mapping[str, list[str]]) -> list[Values]:
    """Return the settings of each job: every combination of what varies, then those of `also`."""
    varied = {key: _values(key, value) for key, value in sweep.params.items()} | dict(swept)
    if SEED in varied:
        # What differs in the seed alone stands together.
        varied[SEED] = varied.pop(SEED)
    found = _crossed(varied) if varied else []
    for entry in sweep.also:
        found += _crossed(varied | {key: _values(key, value) for key, value in entry.items()})
    twice = [values for index, values in enumerate(found) if values in found[:index]]
    if twice:
        raise ConfigError([f"{' '.join(_as_arguments(values))}: the sweep has this run twice" for values in twice])
    return found


def _values(key: str, text: str) -> list[str]:
    several = _several_values(f"{key}={text}")
    return [text] if several is None else several


def _crossed(varied: Mapping[str, list[str]]) -> list[Values]:
    return [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]


def _as_arguments(values: Values) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+")


def _replaced(argument: str, combinations: Sequence[Values]) -> bool:
    return all(_key(argument) in values for values in combinations)


def _is_sweeps(argument: str) -> bool:
    return _key(argument).partition(".")[0] == "sweep"


# -- their settings ---------------------------------------------------------------------------------------------------


def _composed(fixed: Sequence[str], jobs: Mapping[str, Values]) -> list[Settings]:
    """Return the settings of each job; raises ConfigError with each problem once, and the jobs that have it."""
    settings, problems = list[Settings](), dict[str, list[str]]()
    for name, values in jobs.items():
        try:
            own = [argument for argument in fixed if not _is_sweeps(argument) and not _replaced(argument, [values])]
            settings.append(read_settings([*own, *_as_arguments(values)]))
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
    """Return a name for each job, from what it differs in; never the same for two."""
    shown = _shown_keys(varied)
    names = ["-".join(_part(shown[key], value) for key, value in values.items()) for values in combinations]
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
    counted = sorted(argument for argument in fixed if _makes_others(_key(argument), identity))
    return f"{name}-{_hash(counted)}" if counted else name


def _makes_others(key: str, identity: Iterable[str]) -> bool:
    own = any(_is_below(one, [key]) or _is_below(key, [one]) for one in identity)
    return key.partition(".")[0] in MADE_OF_STAGES or (own and not _is_below(key, NOT_OF_A_RUN))


def _is_below(key: str, groups: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{group}.") for group in groups)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
