"""What varies in a sweep: from the settings with several values, and those that go together, to those of each run.

Hydra's own grammar says what several values are: `seed=0,1`, `seed=range(0,5)`, `train=choice(sft,none)`, `x=[a],[b]`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from stat_train.compose import is_below
from stat_train.errors import ConfigError, did_you_mean
from stat_train.launch_settings import Sweep

# Settings for one job, each with one value, as on a command line: {"seed": "0"}.
Values = dict[str, str]
# What a job has one entry of each of, under the setting that names it: {"seed": [{"seed": "0", "task.mix": "a"}]}.
Axes = dict[str, list[Values]]
# Settings, each with all that is given for it.
Several = Mapping[str, Sequence[str]]
SEED = "seed"


class Given(NamedTuple):
    """The arguments of a sweep, sorted: with one value, in their order, and key by key with several."""

    fixed: list[str]
    swept: dict[str, list[str]]


class Varied(NamedTuple):
    """The settings of each job of a sweep, and the keys that tell the jobs apart.

    `with_seed` are the settings that the sweep changes together with the seed.
    """

    combinations: list[Values]
    keys: list[str]
    with_seed: list[str]


def sort_arguments(arguments: Sequence[str]) -> Given:
    """Return the arguments with one value and those with several; raises ConfigError for those no sweep can have."""
    given, problems = Given([], {}), list[str]()
    for argument in arguments:
        several, key = _several_values(argument), key_of(argument)
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


def vary(sweep: Sweep, given: Given) -> Varied:
    """Return every combination of what varies, then those of `also`, as far as the command line leaves them open.

    Raises ConfigError where settings that go together are not told apart, where what is given names none of them, and
    when two jobs are the same.
    """
    lists, ours = _lists(sweep), _on_the_command_line(sweep, given)
    also = [{key: _values(key, value) for key, value in entry.items()} for entry in sweep.also]
    _require_known([ours, *also], lists)
    # One value of the command line stays what the sweep varies: its run is the one that the whole sweep has.
    params = {key: _alone(key, ours.get(key) or _values(key, value)) for key, value in sweep.params.items()}
    axes = _kept(params | lists, ours, lists) | _own(given.swept, lists)
    if SEED in axes:
        # What differs in the seed alone stands together.
        axes[SEED] = axes.pop(SEED)
    every = [axes] if axes else []
    for entry in also:
        if not ours.keys() & entry.keys() - lists.keys():
            every.append(_kept(axes, entry, lists) | _own(entry, lists))
    combinations = [values for each in every for values in _crossed(each)]
    twice = [values for index, values in enumerate(combinations) if values in combinations[:index]]
    if twice:
        raise ConfigError([f"{' '.join(as_arguments(values))}: the sweep has this run twice" for values in twice])
    keys = list(dict.fromkeys(key for each in every for key in each))
    of_seed = dict.fromkeys(key for entry in axes.get(SEED, []) for key in entry if key != SEED)
    return Varied(combinations, keys, list(of_seed))


def as_arguments(values: Values) -> list[str]:
    """Return settings as they stand on a command line."""
    return [f"{key}={value}" for key, value in values.items()]


def key_of(argument: str) -> str:
    """Return which setting an argument gives."""
    return argument.partition("=")[0].lstrip("+")


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


def _values(key: str, text: str) -> list[str]:
    several = _several_values(f"{key}={text}")
    return [text] if several is None else several


def _on_the_command_line(sweep: Sweep, given: Given) -> dict[str, list[str]]:
    ours = {key_of(argument): [argument.partition("=")[2]] for argument in given.fixed} | given.swept
    if "sweep" not in ours:
        # The experiment that chose the sweep is there to be varied by it.
        ours.pop("experiment", None)
    return ours


# -- axes -------------------------------------------------------------------------------------------------------------


def _alone(key: str, values: Sequence[str]) -> list[Values]:
    return [{key: value} for value in values]


def _own(given: Several, lists: Axes) -> Axes:
    """Return an axis for each setting that names no list."""
    return {key: _alone(key, values) for key, values in given.items() if key not in lists}


def _kept(axes: Axes, given: Several, lists: Axes) -> Axes:
    """Return what is left of axes: the entries that were asked for, without what is given in place of theirs."""
    replaced = given.keys() - lists.keys()
    return {
        name: [
            {key: value for key, value in entry.items() if key == name or not is_below(key, replaced)}
            for entry in entries
            if name in replaced or entry[name] in given.get(name, [entry[name]])
        ]
        for name, entries in axes.items()
    }


def _crossed(axes: Axes) -> list[Values]:
    combinations = itertools.product(*axes.values())
    return [{key: value for entry in entries for key, value in entry.items()} for entries in combinations]


# -- settings that go together ----------------------------------------------------------------------------------------


def _lists(sweep: Sweep) -> Axes:
    """Return the lists of settings that go together, each under the key that names its entries."""
    problems = [f"sweep.together.{name}: {text}" for name in sweep.together for text in _wrong_in(name, sweep)]
    if problems:
        raise ConfigError(problems)
    return {next(iter(entries[0])): entries for entries in sweep.together.values()}


def _wrong_in(name: str, sweep: Sweep) -> list[str]:
    entries = sweep.together[name]
    first, keys = dict.fromkeys(next(iter(entry)) for entry in entries), _keys(entries)
    problems = []
    if len(first) > 1:
        problems.append(f"its entries begin with {' and '.join(first)}; expected one key, by which they are named")
    problems += [
        f"{key}={value}: an entry has one value of each setting; expected an entry for each value"
        for entry in entries
        for key, value in entry.items()
        if _several_values(f"{key}={value}") is not None
    ]
    others = {"sweep.params": sweep.params} | {
        f"sweep.together.{other}": _keys(sweep.together[other]) for other in sweep.together if other != name
    }
    problems += [
        f"{key} is in {other} too; expected in one of them" for key in keys for other in others if key in others[other]
    ]
    return problems + _wrong_seeds(entries, SEED in first)


def _keys(entries: Iterable[Values]) -> dict[str, None]:
    return dict.fromkeys(key for entry in entries for key in entry)


def _wrong_seeds(entries: Sequence[Values], is_first: bool) -> list[str]:
    """Return what hinders that runs which differ in the seed are joined at the end."""
    count = Counter(entry[SEED] for entry in entries if SEED in entry)
    if count and not is_first:
        return ["seed is not the first key of its entries; expected there, so that the seed names them"]
    return [f"seed={seed} is in {number} entries; expected in one" for seed, number in count.items() if number > 1]


def _require_known(each: Iterable[Several], lists: Axes) -> None:
    """Raise ConfigError when a setting that names the entries of a list is given a value that none of them has."""
    problems = []
    for given in each:
        for key in given.keys() & lists.keys():
            known = list(dict.fromkeys(entry[key] for entry in lists[key]))
            problems += [_unknown(key, value, known) for value in given[key] if value not in known]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _unknown(key: str, value: str, known: Collection[str]) -> str:
    expected = f"expected one that is there: {', '.join(known)}"
    return f"{key} = {value}: no entry of sweep.together has it; {expected}.{did_you_mean(value, known)}"
