"""The command line: `stat-train [VERB] [ARGUMENTS]`, where the verb is `run` unless another is named."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stat_train import __version__
from stat_train.ending import exit_code_of
from stat_train.errors import UserError, did_you_mean
from stat_train.help_texts import (
    COMPARE,
    COMPARE_MORE,
    DOCTOR,
    DOCTOR_MORE,
    HELP,
    LAUNCH,
    LAUNCH_MORE,
    PLAN,
    PLAN_MORE,
    PREFETCH,
    PREFETCH_MORE,
    PROFILES,
    PROFILES_MORE,
    STATUS,
    STATUS_MORE,
    SWEEPS,
    TRACE,
    TRACE_MORE,
)

if TYPE_CHECKING:
    from stat_train.compose import Settings

WIDTH_WITHOUT_TERMINAL = 110


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> int:
        verb = _verb(given)
        return VERBS[verb](given[1:] if given[:1] == [verb] else given)

    return exit_code_of(work)


def _verb(given: Sequence[str]) -> str:
    """Return the verb that is meant: the first word when it is one, `run` when it is a setting or an option."""
    first = given[0] if given else "run"
    if first in VERBS:
        return first
    if first.isidentifier():
        from stat_train.compose import choices

        if first in choices():
            raise UserError(f"{first}: is a setting, not a verb; give it as {first}=NAME. See stat-train --help")
        expected = f"expected {', '.join(VERBS)} or KEY=VALUE"
        raise UserError(f"{first}: no such verb; {expected}.{did_you_mean(first, VERBS)} See stat-train --help")
    return "run"


def _run(given: list[str]) -> int:
    if {"-h", "--help"} & set(given):
        return _help({"-m", "--multirun"} & set(given))
    if "--version" in given:
        print(f"stat-train {__version__}")
        return 0
    multirun, dry_run, show = _take(given, "-m", "--multirun"), _take(given, "--dry-run"), _take_cfg(given)
    if options := [argument for argument in given if argument.startswith("-")]:
        raise UserError(f"{' '.join(options)}: no such option; settings are given as KEY=VALUE. See stat-train --help")
    if multirun:
        from stat_train.sweeping.sweep import print_jobs, print_settings, sweep

        return (print_settings if show else print_jobs if dry_run else sweep)(given, console())
    if dry_run:
        raise UserError("--dry-run: lists the runs of -m; of one run, `stat-train plan` says what it will do")
    return _run_one(given, show)


def _run_one(given: list[str], show: bool) -> int:
    from stat_train.compose import read_settings, require_one_run

    settings = read_settings(given)
    if show:
        print(settings.yaml, end="")
        return 0
    require_one_run(settings)
    from stat_train.packages import require_packages_of
    from stat_train.rounds import carry_out

    require_packages_of(settings.config)
    logging.getLogger("datasets").setLevel(logging.ERROR)
    carry_out(settings, ["stat-train", *given], console())
    return 0


def console() -> Console:
    """Return the console to print to; without a terminal, lines are as wide as tables need."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def _take(given: list[str], *names: str) -> bool:
    """Take an option out of the arguments and tell whether it was there."""
    found = [argument for argument in given if argument in names]
    given[:] = [argument for argument in given if argument not in names]
    return bool(found)


def _take_cfg(given: list[str]) -> bool:
    """Take `--cfg job` (or `-c job`) out of the arguments and tell whether it was there."""
    for option in ("--cfg=job", *({"--cfg", "-c"} & set(given))):
        if option in given:
            index = given.index(option)
            if option != "--cfg=job" and given[index + 1 : index + 2] != ["job"]:
                raise UserError(f"{option}: expected `{option} job`, which prints the settings of the run")
            del given[index : index + (1 if "=" in option else 2)]
            return True
    return False


def _help(of_sweeps: Collection[str]) -> int:
    from stat_train.compose import choices, config_dir

    if of_sweeps:
        print(SWEEPS.format(sweeps=_wrapped("", [name for name in choices()["sweep"] if name != "none"])))
        return 0
    known = choices() | {"sweep": ["stat-train -m --help lists them"]}
    groups = "\n".join(_wrapped(group, names) for group, names in known.items())
    print(HELP.format(groups=groups, place=config_dir()))
    return 0


def _wrapped(group: str, names: Sequence[str]) -> str:
    return textwrap.fill(", ".join(names), 96, initial_indent=f"  {group:<14} ", subsequent_indent=" " * 17)


def _parser(verb: str, description: str, more: str) -> argparse.ArgumentParser:
    """Return the parser of a verb; its texts are shown as they are written."""
    return argparse.ArgumentParser(
        prog=f"stat-train {verb}",
        description=description,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _compare(given: list[str]) -> int:
    parser = _parser("compare", COMPARE, COMPARE_MORE)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--benchmark", metavar="NAME", help="another benchmark than the runs' first, or: all")
    parser.add_argument("--over-seeds", action="store_true", help="one row for runs that differ in the seed alone")
    parser.add_argument(
        "--with-seed", default="", metavar="KEYS", help="settings that go with it: task.mix,student.model"
    )
    parser.add_argument("--skills", action="store_true", help="print what became of each skill")
    parser.add_argument("--fail-if-regressed", action="store_true", help="exit code 4 when something became worse")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args(given)
    with_seed = [key.strip() for key in arguments.with_seed.split(",") if key.strip()]
    if with_seed and not arguments.over_seeds:
        raise UserError("--with-seed: says what goes with the seed where runs are joined; give --over-seeds too")
    from stat_train.evaluation.compare import as_json, compare
    from stat_train.evaluation.compare_gate import require_no_regression
    from stat_train.evaluation.compare_page import write_page
    from stat_train.evaluation.compare_table import print_comparison
    from stat_train.evaluation.tables import plain

    with_skills = bool(arguments.skills or arguments.fail_if_regressed or arguments.html or arguments.json)
    found = compare(arguments.runs, arguments.benchmark, arguments.over_seeds, with_skills, with_seed)
    if arguments.html:
        write_page(arguments.html, found, ["stat-train", "compare", *given])
    if arguments.json:
        print(json.dumps(as_json(found.rows), indent=2))
        for note in found.notes:
            print(f"stat-train: {plain(note)}", file=sys.stderr)
    else:
        print_comparison(found, console(), arguments.skills)
    if arguments.fail_if_regressed:
        require_no_regression(found.rows)
    return 0


def _profiles(given: list[str]) -> int:
    parser = _parser("profiles", PROFILES, PROFILES_MORE)
    parser.add_argument("first", type=Path, metavar="A", help="a run folder, at least up to its profile")
    parser.add_argument("second", type=Path, metavar="B", help="another one")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    arguments = parser.parse_args(given)
    from stat_train.evaluation.compare_profiles import as_json, compare_profiles, load_profile, print_profiles

    found = compare_profiles(load_profile(arguments.first), load_profile(arguments.second))
    if arguments.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print_profiles(found, console())
    return 0


def _trace(given: list[str]) -> int:
    parser = _parser("trace", TRACE, TRACE_MORE)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, at least up to its training set")
    parser.add_argument("row", nargs="?", metavar="ROW_ID", help="the id of a row of its training_set.jsonl")
    parser.add_argument("--skill", metavar="NAME", help="list the rows drawn for a missing skill")
    parser.add_argument("--question", metavar="ID", help="list the rows drawn for a difficult question")
    parser.add_argument("--call", metavar="ID", help="list the rows that depend on a call of a model")
    parser.add_argument("--json", action="store_true", help="print what is found as JSON")
    arguments = parser.parse_args(given)
    from stat_train.trace.lineage import KINDS, as_json, trace
    from stat_train.trace.show import print_trace

    sought = {kind: value for kind in KINDS if (value := getattr(arguments, kind)) is not None}
    found = trace(arguments.run, sought)
    if arguments.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        print_trace(found, console())
    return 0


def _status(given: list[str]) -> int:
    parser = _parser("status", STATUS, STATUS_MORE)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="a run folder, or that of a sweep")
    parser.add_argument("--json", action="store_true", help="print what is known as JSON, a list of runs")
    arguments = parser.parse_args(given)
    from stat_train.status.show import as_json, print_statuses, statuses

    found = statuses(arguments.runs)
    if arguments.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print_statuses(found, console())
    return 0


def _settings_of(verb: str, given: list[str], description: str, more: str) -> tuple[Settings, bool]:
    """Return the settings of the run that a verb looks at, and whether its result is wanted as JSON."""
    from stat_train.compose import read_settings

    arguments, json_wanted = _arguments_of(verb, given, description, more)
    return read_settings(arguments), json_wanted


def _arguments_of(verb: str, given: list[str], description: str, more: str) -> tuple[list[str], bool]:
    """Return the arguments that are settings, and whether the result is wanted as JSON."""
    parser = _parser(verb, description, more)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="the settings of the run, as you would run it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, when it is whole")
    arguments = parser.parse_intermixed_args(given)
    return arguments.settings, arguments.json


def _doctor(given: list[str]) -> int:
    settings, json_wanted = _settings_of("doctor", given, DOCTOR, DOCTOR_MORE)
    from stat_train.doctor.check import as_json, show
    from stat_train.doctor.checks import examine

    checks = examine(settings.config)
    if not json_wanted:
        return 0 if show(checks, console()) else 1
    text, works = as_json(checks)
    print(text)
    return 0 if works else 1


def _plan(given: list[str]) -> int:
    if _take(given, "-m", "--multirun"):
        return _plan_of_sweep(given)
    settings, json_wanted = _settings_of("plan", given, PLAN, PLAN_MORE)
    from stat_train.compose import require_one_run
    from stat_train.plan.show import as_json, make_plan, print_plan

    require_one_run(settings)
    plan = make_plan(settings)
    if json_wanted:
        print(json.dumps(as_json(plan), indent=2))
    else:
        print_plan(plan, console())
    return 0


def _plan_of_sweep(given: list[str]) -> int:
    arguments, json_wanted = _arguments_of("plan -m", given, PLAN, PLAN_MORE)
    from stat_train.plan.sweep import as_json, plan_sweep, print_sweep
    from stat_train.sweeping.expand import jobs_of

    found = plan_sweep(jobs_of(arguments).jobs)
    if json_wanted:
        print(json.dumps(as_json(found), indent=2))
    else:
        print_sweep(found, console())
    return 0


def _prefetch(given: list[str]) -> int:
    settings, json_wanted = _settings_of("prefetch", given, PREFETCH, PREFETCH_MORE)
    from stat_train.prefetch.show import as_json, prefetch, print_prefetched

    found = prefetch(settings)
    if json_wanted:
        print(json.dumps(as_json(found), indent=2))
    else:
        print_prefetched(found, console())
    return 0 if found.whole else 1


def _launch(given: list[str]) -> int:
    if {"-h", "--help"} & set(given) or not given:
        print(f"usage: stat-train launch slurm [KEY=VALUE ...] [-m] [--dry-run]\n\n{LAUNCH}\n\n{LAUNCH_MORE}")
        return 0 if given else UserError.exit_code
    if given[0] != "slurm":
        raise UserError(
            f"launch {given[0]}: no such place; expected `stat-train launch slurm KEY=VALUE ...`. On this machine, "
            "leave out `launch`"
        )
    from stat_train.slurm.command import launch

    launch(given[1:], console())
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "plan": _plan,
    "doctor": _doctor,
    "compare": _compare,
    "profiles": _profiles,
    "trace": _trace,
    "status": _status,
    "prefetch": _prefetch,
    "launch": _launch,
}


if __name__ == "__main__":
    sys.exit(main())
