"""From a command line to settings: Hydra composes the files, the schema checks the whole, all problems come at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stat_train.config import Config
from stat_train.contradictions import contradictions
from stat_train.errors import ConfigError, UserError, did_you_mean
from stat_train.experiment_settings import beside_experiment, without_strangers
from stat_train.launch_settings import Sweep

PACKAGE = Path(__file__).parent
# The group of which several choices can be made, each under its own name; one of the user's has the settings of OWN.
SEVERAL, OWN = "benchmark", "jsonl"
MISSING = "???"
# What composing raises for a value that does not fit; ValueError for a word where a list has a number.
REFUSED = (HydraException, OmegaConfBaseException, ValueError)
EXPECTATIONS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "a text that contains {question}",
    "list_type": "a list, such as [a,b]",
    "too_short": "a list that is not empty",
    "dict_type": "a group of settings",
    "model_type": "a group of settings",
}


class Composed(NamedTuple):
    """What could be composed; the same choices without single settings; what is wrong, and the keys of that."""

    settings: DictConfig
    defaults: DictConfig
    problems: list[str]
    refused: list[str]


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
    return {
        group.name: sorted(path.relative_to(group).with_suffix("").as_posix() for path in group.rglob("*.yaml"))
        for group in groups
    }


def read_settings(arguments: Sequence[str]) -> Settings:
    """Compose the settings that the arguments ask for; raises ConfigError with everything that is wrong in them."""
    composed, defaults, problems, refused = _compose(arguments)
    problems += _unresolved(composed, defaults)
    values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    problems += [f"{key}: is required; give it as {key}=..." for key, value in leaves(values) if value == MISSING]
    try:
        config = Config.model_validate(values)
        problems += _contradictions(config)
    except ValidationError as error:
        problems += _schema_problems(error, values)
        problems += _contradictions_of_the_rest(error, composed, defaults)
    # Below a choice that there is none of, nobody knows what is right.
    problems = [problem for problem in problems if not problem.startswith(tuple(f"{key}." for key in refused))]
    if problems:
        raise ConfigError(problems)
    return Settings(config, OmegaConf.to_yaml(composed, resolve=True))


def read_sweep(arguments: Sequence[str]) -> Sweep:
    """Return the sweep that the arguments choose; raises ConfigError with what is wrong in it or in what brings it."""
    composed, _, problems, _ = _compose(arguments)
    problems = [problem for problem in problems if re.match(r"\+*(sweep|experiment)\b", problem)]
    try:
        values: Any = OmegaConf.to_container(composed.sweep, resolve=True)
        sweep = Sweep.model_validate(values)
    except OmegaConfBaseException as error:
        raise ConfigError([f"sweep: cannot be resolved: {str(error).partition(chr(10))[0]}"]) from error
    except ValidationError as error:
        problems += [f"sweep.{problem}" for problem in _schema_problems(error, values)]
    if problems:
        raise ConfigError(problems)
    return sweep


def require_one_run(settings: Settings) -> None:
    """Raise UserError when the settings have a sweep, which is more than one run."""
    sweep = settings.config.sweep
    if sweep.params or sweep.together or sweep.also:
        keys = ", ".join([*sweep.params, *sweep.together]) or "sweep.also"
        raise UserError(f"these settings are a sweep over {keys}; add -m for its runs, or sweep=none for one run")


def saved_settings(text: str) -> Settings:
    """Return the settings that were written down as YAML, as they were; raises UserError when they are no run's."""
    try:
        return Settings(Config.model_validate(OmegaConf.to_container(OmegaConf.create(text), resolve=False)), text)
    except (ValidationError, ValueError, OmegaConfBaseException, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        message = f"these settings were written by another version of stat-train ({reason}); give them anew"
        raise UserError(message) from error


def changed(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with other values of these names."""
    config = settings.config.model_copy(update=changes)
    return Settings(config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def is_below(key: str, settings: Iterable[str]) -> bool:
    """Tell whether a setting is one of these, or belongs to one of them: train.epochs to train."""
    return any(f"{key}.".startswith(f"{setting}.") for setting in settings)


def leaves(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return every setting under its full key; an empty group counts as one."""
    if not isinstance(values, dict) or (not values and prefix):
        return [(prefix, values)]
    return [
        leaf for name, value in values.items() for leaf in leaves(value, f"{prefix}.{name}" if prefix else str(name))
    ]


def _compose(arguments: Sequence[str]) -> Composed:
    """Compose all arguments that Hydra can take, and describe those that it cannot."""
    usable, problems, refused = list[str](), list[str](), list[str]()
    for argument in arguments:
        usable_argument, problem = _usable(argument)
        usable += usable_argument
        problems += problem
        refused += [argument.partition("=")[0].lstrip("+")] if problem and not usable_argument else []
    usable += _named(usable)
    with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="stat-train"):
        replaced = any(re.match(rf"\+*{SEVERAL}=", argument) for argument in arguments)
        usable = beside_experiment(usable, SEVERAL, replaced)
        defaults = _defaults(*(argument for argument in usable if not argument.startswith("++")))
        try:
            # Composing takes a while, and a sweep does it for each run.
            given = any(argument.startswith("++") for argument in usable)
            return Composed(_compose_all(usable) if given else defaults, defaults, problems, refused)
        except REFUSED:
            composed, more = _compose_one_by_one(usable)
            return Composed(composed, defaults, problems + more, refused)


# The runs of a sweep share most choices.
@lru_cache(maxsize=128)
def _defaults(*chosen: str) -> DictConfig:
    """Return the settings of these choices, to be read only."""
    return _compose_all(list(chosen))


def _compose_all(arguments: list[str]) -> DictConfig:
    return without_strangers(compose("config", overrides=arguments), arguments)


def _compose_one_by_one(arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Compose what can be composed, and describe each argument that cannot."""
    composed, taken, problems = _compose_all([]), list[str](), list[str]()
    for argument in arguments:
        try:
            composed = _compose_all([*taken, argument])
            taken.append(argument)
        except REFUSED:
            problems.append(f"{argument.lstrip('+')}: expected a value of the same kind as the default")
    return composed, problems


def _usable(argument: str) -> tuple[list[str], list[str]]:
    """Return an argument in a form that Hydra never refuses for its key, or the problem with it."""
    try:
        override: Override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return [], [f"{argument}: expected KEY=VALUE, with quotes around a value that has spaces, commas or brackets"]
    key, groups = override.key_or_group, choices()
    if not key:
        return [], [f"{argument}: expected KEY=VALUE"]
    if re.split("[./]", key)[0] == "hydra" or override.package is not None:
        return [], [f"{argument}: no such setting; Hydra's own are not used here"]
    if override.is_delete():
        return [], [f"{argument}: settings cannot be taken away; choose another value"]
    if override.is_sweep_override():
        return [], [f"{argument}: several values; add -m for a run with each, or put quotes around a text with commas"]
    if key.endswith(".name") and key.removesuffix(".name") in groups:
        return [], [f"{argument}: comes with the choice; use {key.removesuffix('.name')}=CHOICE"]
    if key == SEVERAL:
        return _usable_choices(override.value(), groups[key])
    if key == "rounds" and not isinstance(override.value(), dict):
        return [f"++rounds.count={_shown(override.value())}"], []
    if key in groups:
        return _usable_choice(key, _shown(override.value()).strip("'"), groups[key])
    return [f"++{argument.lstrip('+')}"], []


def _usable_choice(group: str, chosen: str, known: Sequence[str]) -> tuple[list[str], list[str]]:
    if chosen in known:
        return [f"{group}={chosen}"], []
    hint = did_you_mean(chosen, known)
    nearest = [f"{group}={hint.split(chr(34))[1]}"] if hint else []
    return nearest, [f"{group} = {chosen}: no such choice; expected one of {', '.join(known)}.{hint}"]


def _usable_choices(given: Any, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the choices of a list, each as a group of its own name; `{}` is how settings show that there are none."""
    several = given if isinstance(given, list) else [] if given == {} else [given]
    chosen = [_shown(each).strip("'") for each in several]
    found = [_usable_choice(SEVERAL, name, known) for name in dict.fromkeys(chosen)]
    usable = [_under(name, name) for right, _ in found for name in (each.partition("=")[2] for each in right)]
    twice = [f"{SEVERAL} = {name}: named twice; expected each once" for name in known if chosen.count(name) > 1]
    remedy = f" For a file of yours give {SEVERAL}.NAME.path=FILE"
    unknown = [problem + remedy for _, problems in found for problem in problems]
    return list(dict.fromkeys(usable)), unknown + twice


def _under(name: str, choice: str) -> str:
    return f"+{SEVERAL}@{SEVERAL}.{name}={choice}"


def _named(arguments: Sequence[str]) -> list[str]:
    """Return the choices that come with settings below a name that was not chosen."""
    keys = [argument.partition("=")[0].removeprefix("++").split(".") for argument in arguments]
    names = dict.fromkeys(key[1] for key in keys if key[0] == SEVERAL and len(key) > 2)
    known = choices()[SEVERAL]
    every = [_under(name, name if name in known else OWN) for name in names]
    return [choice for choice in every if choice not in arguments]


def _unresolved(composed: DictConfig, defaults: DictConfig) -> list[str]:
    """Describe the settings that refer to something absent, and put their default in the place of each."""
    problems = []
    given = leaves(OmegaConf.to_container(composed, resolve=False))
    known = dict(leaves(OmegaConf.to_container(defaults, resolve=False)))
    for key, value in given:
        if "${" not in str(value) or value == known.get(key):
            continue
        try:
            OmegaConf.to_container(OmegaConf.create({"value": OmegaConf.select(composed, key)}), resolve=True)
        except (OmegaConfBaseException, RecursionError) as error:
            reason = str(error).partition("\n")[0] if isinstance(error, OmegaConfBaseException) else "refers to itself"
            problems.append(
                f"{key} = {value}: cannot be resolved: {reason}; expected a value, or ${{KEY}} of a setting"
            )
            OmegaConf.update(composed, key, known.get(key))
    return problems


def _contradictions_of_the_rest(error: ValidationError, composed: DictConfig, defaults: DictConfig) -> list[str]:
    """Return the contradictions between those settings that are right alone, so that they too are said at once."""
    values: Any = OmegaConf.to_container(composed, resolve=True)
    usual: Any = OmegaConf.to_container(defaults, resolve=True)
    keys = [_key(found, values) for found in error.errors()]
    for found in error.errors():
        _restore(values, usual, _path(found["loc"], values))
    try:
        config = Config.model_validate(values)
    except ValidationError:
        return []
    return [problem for problem in _contradictions(config) if not any(key in problem for key in keys)]


def _contradictions(config: Config) -> list[str]:
    """Return the contradictions, less those with a value that is required and was not given."""
    return [problem for problem in contradictions(config) if f" = {MISSING}:" not in problem]


def _restore(values: Any, usual: Any, path: Sequence[int | str]) -> None:
    """Put the default back at `path`, or take away what has none; an item of a list goes back with its list."""
    for part in path[:-1]:
        if not isinstance(values.get(part), dict):
            path = [part]
            break
        values, usual = values[part], usual.get(part) or {}
    if path[-1] in usual:
        values[path[-1]] = usual[path[-1]]
    else:
        values.pop(path[-1], None)


def _schema_problems(error: ValidationError, values: Any) -> list[str]:
    found = [one for one in error.errors() if one["type"] != "missing" and one["input"] != MISSING]
    unknown = [_key(one, values) for one in found if one["type"] == "extra_forbidden"]
    known = [key for key, _ in leaves(values) if not is_below(key, unknown)]
    problems: dict[str, list[str]] = {}
    places = [_key(one, values) for one in found]
    for one, key in zip(found, places, strict=True):
        # Where a group could be given, what is wrong in it says more than that it is no number.
        if isinstance(one["input"], dict) and any(place.startswith(f"{key}.") for place in places):
            continue
        if one["loc"][-1] == "[key]":
            problems[key] = [f"no such setting; expected {_expectation(one)}"]
            continue
        # A group that was given in the place of one setting is named setting by setting, as it was given.
        for full_key, value in leaves(one["input"], key):
            if one["type"] == "extra_forbidden":
                text = f"no such setting.{_nearest_key(full_key, key, known)}"
            else:
                below = "" if full_key == key else f"nothing below {key}, which is "
                text = f"expected {below}{_expectation(one)}"
            # A secret that was given where its place is not must not end up in a log.
            shown = "(not shown)" if "api_key" in full_key else _shown(value)
            problems.setdefault(f"{full_key} = {shown}", []).append(text)
    missing = [one for one in error.errors() if one["type"] == "missing"]
    groups = dict.fromkeys(_key(one, values) for one in missing)
    for group in groups:
        names = [str(one["loc"][-1]) for one in missing if _key(one, values) == group]
        expected = f"expected all of its settings, as a choice of {group.partition('.')[0]}= gives them"
        problems[group] = [f"lacks {', '.join(names)}; {expected}"]
    # A setting that may be one thing or another is wrong as both.
    return [f"{given}: {'; or '.join(dict.fromkeys(texts))}" for given, texts in problems.items()]


def _key(found: ErrorDetails, values: Any) -> str:
    return ".".join(map(str, _path(found["loc"], values)))


def _expectation(found: ErrorDetails) -> str:
    text = EXPECTATIONS.get(found["type"]) or _plain(found["msg"])
    hint = did_you_mean(str(found["input"]), re.findall("'([^']*)'", text)) if found["type"] == "literal_error" else ""
    return f"{text}.{hint}" if hint else text


def _shown(value: Any) -> str:
    """Return a value as it is given on the command line."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


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


def _nearest_key(full_key: str, unknown: str, known: Sequence[str]) -> str:
    """Return a hint at the nearest known key: among the neighbours, or anywhere when a whole group is unknown."""
    group, _, name = unknown.rpartition(".")
    prefix = f"{group}." if group else ""
    if full_key != unknown and not group and (hint := did_you_mean(full_key, known)):
        return hint
    neighbours = sorted({key.removeprefix(prefix).partition(".")[0] for key in known if key.startswith(prefix)})
    if neighbours == ["name"]:
        return f" What {group}= chooses here has no settings; leave it out, or choose another"
    hint = did_you_mean(name, neighbours)
    return hint.replace('"', f'"{prefix}', 1) or f" Known here: {', '.join(neighbours)}"
