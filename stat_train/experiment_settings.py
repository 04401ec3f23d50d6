"""What the settings of an experiment mean beside those of the command line, which win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from stat_train.config import Config
from stat_train.setting_types import Node

CHOSEN = "experiment="


def beside_experiment(arguments: Sequence[str], group: str, replaced: bool) -> list[str]:
    """Return the arguments, less those choices of a group of several that the experiment makes too.

    Hydra would refuse them. With `replaced`, a list on the command line takes the place of the experiment's, and what
    only that one chooses is taken away. To be called where Hydra is ready to compose.
    """
    added = {_name(argument): argument for argument in arguments if argument.startswith(f"+{group}@")}
    if not (added or replaced) or not any(argument.startswith(CHOSEN) for argument in arguments):
        return list(arguments)
    others = [argument for argument in arguments if not argument.startswith("++") and argument not in added.values()]
    chosen = list(compose("config", overrides=others)[group])
    twice = [added[name] for name in chosen if name in added]
    taken_away = [f"~{group}@{group}.{name}" for name in chosen if replaced and name not in added]
    return [argument for argument in arguments if argument not in twice] + taken_away


def _name(argument: str) -> str:
    return argument.partition("=")[0].rpartition(".")[2]


def without_strangers(composed: DictConfig, arguments: Sequence[str]) -> DictConfig:
    """Return the settings without those of an experiment that are of another choice than the one that was made.

    An experiment that sets train.epochs goes with train=none all the same. What the command line itself gives stays,
    and so does what no choice of the group knows: that is said to be wrong.
    """
    if not any(argument.startswith(CHOSEN) for argument in arguments):
        return composed
    given = {argument.removeprefix("++").partition("=")[0] for argument in arguments if argument.startswith("++")}
    OmegaConf.set_struct(composed, False)
    for group, key in list(_strangers(composed)):
        if not any(f"{one}.".startswith(f"{group}.{key}.") for one in given):
            del composed[group][key]
    OmegaConf.set_struct(composed, True)
    return composed


def _strangers(composed: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield the settings that another choice of their group has, and the one that was made has not."""
    for group, field in Config.model_fields.items():
        kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, Node)]
        values = composed.get(group)
        if len(kinds) < 2 or not isinstance(values, DictConfig):
            continue
        own = {name for kind in kinds if _is(kind, values) for name in kind.model_fields}
        known = {name for kind in kinds for name in kind.model_fields}
        yield from ((group, str(key)) for key in values if own and key in known - own)


def _is(kind: type[Node], values: DictConfig) -> bool:
    return values.get("name") in get_args(kind.model_fields["name"].annotation)
