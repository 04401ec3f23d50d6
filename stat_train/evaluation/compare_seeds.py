"""Which runs of a comparison are the same training with another seed, and what changed on average over the seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, NamedTuple

from stat_train.compose import is_below
from stat_train.errors import UserError, did_you_mean
from stat_train.evaluation.compare_runs import RunResult, settings_of
from stat_train.evaluation.over_seeds import over_seeds
from stat_train.evaluation.scores import Scores
from stat_train.evaluation.statistics import PairedDifference
from stat_train.evaluation.summary import BASE, difference

SETTINGS_NAMED = 3


class Group(NamedTuple):
    """The runs that a row of the comparison is made of: one, or one for each seed; `settings` are those they share."""

    name: str
    runs: list[RunResult]
    settings: dict[str, Any]

    @property
    def seeds(self) -> list[Any]:
        """Return the seed of each run."""
        return [run.config.get("seed") for run in self.runs]

    @property
    def arms(self) -> list[str]:
        """Return the arms that all its runs have, the last trained first."""
        return [arm for arm in self.runs[0].arms if all(arm in run.arms for run in self.runs)]

    def asked(self, arm: str, benchmark: str) -> bool:
        """Return whether an arm was scored on a benchmark in all its runs; prompting, for one, has no harness tasks."""
        return all(benchmark in run.evaluation["differences"][f"{arm} - {BASE}"] for run in self.runs)


class LeftOut(NamedTuple):
    """How many questions a change does not count: those not scored every time, and those not asked every time."""

    unscored: int
    unshared: int

    @property
    def in_words(self) -> str:
        """Return both counts for reading."""
        return f"{self.unscored} not scored both times, {self.unshared} asked of one alone"


class Change(NamedTuple):
    """A paired difference, over several seeds their mean; `per_seed` are then the changes that it is the mean of."""

    difference: PairedDifference
    per_seed: list[float]


def one_by_one(runs: Sequence[RunResult]) -> list[Group]:
    """Return a group for each run."""
    return [Group(run.name, [run], settings_of(run.config)) for run in runs]


def by_seed(runs: Sequence[RunResult], with_seed: Collection[str] = ()) -> list[Group]:
    """Return the runs that differ in nothing but their seed together, in the order in which the first of each is given.

    The settings `with_seed`, and those that belong to them, were changed together with the seed. Raises
    UserError when no run has one of these, when a run has no other to be joined with, or two have one seed.
    """
    groups, apart = list[Group](), ["seed", *with_seed]
    _require_settings(with_seed, runs)
    for run in runs:
        settings = {key: value for key, value in settings_of(run.config).items() if not is_below(key, apart)}
        same = next((group for group in groups if group.settings == settings), None)
        if same:
            same.runs.append(run)
        else:
            groups.append(Group(run.name, [run], settings))
    for group in groups:
        _require_seeds(group, groups)
    return [group._replace(name=name) for group, name in zip(groups, _names(groups), strict=True)]


def differing(first: Group, second: Group) -> list[str]:
    """Return the settings in which two groups differ."""
    keys = dict.fromkeys([*first.settings, *second.settings])
    return [key for key in keys if first.settings.get(key) != second.settings.get(key)]


def seed_pairs(first: Group, second: Group) -> list[tuple[RunResult, RunResult]]:
    """Return the runs of two groups that have one seed; two single runs are a pair, whatever their seeds."""
    if len(first.runs) == len(second.runs) == 1:
        return [(first.runs[0], second.runs[0])]
    of_seed = dict(zip(first.seeds, first.runs, strict=True))
    return [(of_seed[seed], run) for seed, run in zip(second.seeds, second.runs, strict=True) if seed in of_seed]


def change_of(pairs: Sequence[tuple[Scores, Scores]], ids: Sequence[str] | None = None) -> Change:
    """Return the change from before to after on questions (None: all), over the seeds that there is a pair of each."""
    if not pairs:
        return Change(PairedDifference(0, None, None, None, None), [])
    asked = list(dict.fromkeys(chain.from_iterable(before for before, _ in pairs)) if ids is None else ids)
    if len(pairs) == 1:
        return Change(difference(*pairs[0], asked), [])
    found = over_seeds([([before.get(id) for id in asked], [after.get(id) for id in asked]) for before, after in pairs])
    return Change(PairedDifference(found.n, found.difference, found.low, found.high, found.p), found.per_seed)


def left_out(pairs: Sequence[tuple[Scores, Scores]]) -> LeftOut:
    """Return how many of the questions asked before or after, in any pair, a change over the pairs does not count."""
    if not pairs:
        return LeftOut(0, 0)
    each = list(chain.from_iterable(pairs))
    shared = set(each[0]).intersection(*each[1:])
    unscored = sum(any(scores[id] is None for scores in each) for id in shared)
    return LeftOut(unscored, len(set().union(*each)) - len(shared))


def _require_settings(with_seed: Collection[str], runs: Sequence[RunResult]) -> None:
    known = sorted({key for run in runs for key in settings_of(run.config)})
    for key in with_seed:
        if not any(is_below(one, [key]) for one in known):
            raise UserError(f"--with-seed: no run has a setting {key}; expected one of them.{did_you_mean(key, known)}")


def _require_seeds(group: Group, groups: Sequence[Group]) -> None:
    seeds = group.seeds
    if twice := [run.name for run in group.runs if seeds.count(run.config.get("seed")) > 1]:
        raise UserError(
            f"--over-seeds: {' and '.join(twice)} have the same settings and the same seed, which would count one run "
            "twice; give one of them"
        )
    if len(group.runs) > 1:
        return
    others = [other for other in groups if other is not group]
    reason = "it is the only run"
    if others:
        nearest = min(others, key=lambda other: len(differing(group, other)))
        reason = f"the nearest, {nearest.name}, also differs in {_in_words(group, nearest)}"
    raise UserError(
        f"--over-seeds: no other run differs from {group.name} in its seed alone ({reason}). Give runs of several "
        "seeds for each training, name what else changes with the seed (--with-seed KEY,KEY), or leave out --over-seeds"
    )


def _in_words(first: Group, second: Group) -> str:
    keys = differing(first, second)
    told = [f"{key} ({first.settings.get(key)} and {second.settings.get(key)})" for key in keys[:SETTINGS_NAMED]]
    return ", ".join(told) + (f" and {len(keys) - SETTINGS_NAMED} more" if len(keys) > SETTINGS_NAMED else "")


def _names(groups: Sequence[Group]) -> list[str]:
    """Return a name for each group: its recipe, or where others have it too, its first run's, less the seed."""
    recipes = [group.settings.get("data_recipe.name") for group in groups]
    names = [_without_seed(group) for group in groups]
    if "" in names or len(set(names)) < len(groups):
        names = [group.name for group in groups]
    return [
        str(recipe) if recipe and recipes.count(recipe) == 1 else name
        for recipe, name in zip(recipes, names, strict=True)
    ]


def _without_seed(group: Group) -> str:
    """Return what a sweep would call a group's first run if the seed did not vary."""
    return "-".join(part for part in group.name.split("-") if part != f"seed{group.seeds[0]}")
