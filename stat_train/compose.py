"""From a command line to settings: Hydra composes the files, the schema checks the whole, all problems come at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from stat_train.config import Config, contradictions
from stat_train.errors import ConfigError, did_you_mean

PACKAGE = Path(__file__).parent
EXPECTATIONS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list, such as [a,b]",
    "dict_type": "a group of settings",
}


class Settings(NamedTuple):
    """The checked settings of a run, and the same as YAML."""

    config: Config
    yaml: str


def config_dir() -> Path:
    """Return the folder of the configuration files: inside an installed package, beside it in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def choices() -> dict[str, list[str]]:
    """Return the choices of every configuration group."""
    groups = [path for path in sorted(config_dir().iterdir()) if path.is_dir()]
    return {group.name: sorted(path.stem for path in group.glob("*.yaml")) for group in groups}


def read_settings(arguments: Sequence[str]) -> Settings:
    """Compose the settings that the arguments ask for; raises ConfigError with everything that is wrong in them."""
    composed, problems = _compose(arguments)
    values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    problems += [f"{key}: is required; give it as {key}=..." for key in _missing(values)]
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += _schema_problems(error, values)
        raise ConfigError(problems) from None
    problems += contradictions(config)
    if problems:
        raise ConfigError(problems)
    return Settings(config, OmegaConf.to_yaml(composed, resolve=True))


def _compose(arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Compose all arguments that Hydra can take, and describe those that it cannot."""
    usable, problems = [], []
    for argument in arguments:
        usable_argument, problem = _usable(argument)
        usable += usable_argument
        problems += problem
    with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="stat-train"):
        try:
            return compose("config", overrides=usable), problems
        except (HydraException, OmegaConfBaseException):
            composed, more = _compose_one_by_one(usable)
            return composed, problems + more


def _compose_one_by_one(arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Compose what can be composed, and describe each argument that cannot."""
    composed, taken, problems = compose("config"), list[str](), list[str]()
    for argument in arguments:
        try:
            composed = compose("config", overrides=[*taken, argument])
            taken.append(argument)
        except (HydraException, OmegaConfBaseException) as error:
            problems.append(f"{argument.lstrip('+')}: {str(error).strip().partition(chr(10))[0]}")
    return composed, problems


def _usable(argument: str) -> tuple[list[str], list[str]]:
    """Return an argument in a form that Hydra never refuses for its key, or the problem with it."""
    try:
        override: Override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return [], [f"{argument}: expected KEY=VALUE, with quotes around a value that has spaces, commas or brackets"]
    key, groups = override.key_or_group, choices()
    if override.is_delete():
        return [], [f"{argument}: settings cannot be taken away; choose another value"]
    if override.is_sweep_override():
        return [], [f"{argument}: several values; run one at a time, or put quotes around a text with commas"]
    if key in groups:
        return _usable_choice(key, str(override.value()), groups[key])
    return [f"++{argument.lstrip('+')}"], []


def _usable_choice(group: str, chosen: str, known: Sequence[str]) -> tuple[list[str], list[str]]:
    if chosen in known:
        return [f"{group}={chosen}"], []
    hint = did_you_mean(chosen, known)
    nearest = [f"{group}={hint.split(chr(34))[1]}"] if hint else []
    return nearest, [f"{group} = {chosen}: no such choice; expected one of {', '.join(known)}.{hint}"]


def _missing(values: Any, prefix: str = "") -> list[str]:
    if isinstance(values, dict):
        return [
            key
            for name, value in values.items()
            for key in _missing(value, f"{prefix}.{name}" if prefix else str(name))
        ]
    return [prefix] if values == "???" else []


def _schema_problems(error: ValidationError, values: Any) -> list[str]:
    problems = []
    for found in error.errors():
        path = _path(found["loc"], values)
        key = ".".join(map(str, path))
        if found["type"] == "missing" or found["input"] == "???":
            continue
        if found["type"] == "extra_forbidden":
            problems.append(f"{key} = {found['input']}: no such setting.{_nearest_key(path, values)}")
        else:
            expectation = EXPECTATIONS.get(found["type"]) or _plain(found["msg"])
            problems.append(f"{key} = {found['input']!r}: expected {expectation}")
    return problems


def _plain(message: str) -> str:
    """Return pydantic's wording as what follows `expected`."""
    return message.removeprefix("Input should be ").removeprefix("Value should ").removeprefix("Input should ")


def _path(location: tuple[int | str, ...], values: Any) -> list[int | str]:
    """Return the setting's path: the location less the union tags that pydantic puts between."""
    path: list[int | str] = []
    for part in location:
        if isinstance(values, dict) and part in values:
            values = values[part]
            path.append(part)
        elif isinstance(values, list) and isinstance(part, int):
            path.append(part)
    return path


def _nearest_key(path: Sequence[int | str], values: Any) -> str:
    for part in path[:-1]:
        values = values[part]
    siblings = [str(name) for name in values if name != path[-1]]
    hint = did_you_mean(str(path[-1]), siblings)
    prefix = "".join(f"{part}." for part in path[:-1])
    return hint.replace('"', f'"{prefix}', 1) if hint else f" Known here: {', '.join(sorted(siblings))}"
