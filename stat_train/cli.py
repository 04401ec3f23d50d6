"""The command line: `stat-train [VERB] [ARGUMENTS]`, where the verb is `run` unless another is named."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from stat_train import __version__
from stat_train.errors import StatTrainError, UserError, did_you_mean

if TYPE_CHECKING:
    from stat_train.compose import Settings

WIDTH_WITHOUT_TERMINAL = 110
HELP = """\
stat-train: find what a student model cannot do, and train it on that (STAT, arXiv 2510.10023).

Usage
  stat-train [KEY=VALUE ...]          run the method with these settings
  stat-train compare RUN RUN ...      put finished runs side by side
  stat-train profiles RUN RUN         two students or checkpoints, skill by skill
  stat-train trace RUN ROW_ID         why a training row is there, back to the student's answer
  stat-train plan [KEY=VALUE ...]     what the run will ask of paid models, and what that will cost
  stat-train doctor [KEY=VALUE ...]   check that what this run needs works: models, packages, disk
  stat-train --cfg job [KEY=VALUE ..] print the settings that a run would have, and stop
  stat-train --help | --version

Try it
  stat-train                          the whole method, tiny student: CPU, no network, 2 minutes
  stat-train until=profile            stop when it is known what the student cannot do
  stat-train data_recipe=pool         the same budget without targeting: the baseline to beat

Choices (GROUP=CHOICE; each file of a choice says what it is and what it costs)
{groups}

Common settings
  run_dir=runs/NAME                   where the results are linked together
  until=STAGE                         the last stage to run: label answer grade diagnose profile
                                      curate train rl evaluate report
  seed=N                              all randomness of the run
  data_recipe.pairs=N                 size of the training set
  train.learning_rate=X  train.epochs=N  train.effective_batch_size=N
  train.learning_rates=[X,Y]          several rates; the best on the validation questions goes on
  rl=grpo                             reinforcement learning after fine-tuning (train=none: instead)
  task.pool=FILE task.benchmark=FILE  your own questions, JSONL or Parquet (with task=jsonl)
  student.model=FOLDER_OR_HUB_NAME    your own student (with student=local)
  benchmark=[gsm8k,amc23]             more benchmarks than the task's; benchmark.NAME.path=FILE
All settings with their defaults: stat-train --cfg job, or the files in
  {place}

A run that was interrupted goes on where it was when the same command is given again. A file STOP
in its run_dir asks it to stop: a training saves its state first.
Exit codes: 0 done, 1 a stage or check failed, 2 wrong input, 3 budget spent, 4 a regression found,
75 stopped as asked (start it again), 130 or 143 stopped.
"""

PLAN = """\
Say what a run with these settings will ask of paid models, and what that will cost, before it does:
calls, tokens, US dollars and hours for each stage. No call is made. Then what it will train: rows, steps
and answers, and over how many processes.

Where the inputs of a stage are there, its very requests are counted, less those that the ledger has;
where not, the plan says what it takes for granted (the settings plan.*)."""
PLAN_MORE = """\
The questions are read as the run reads them, and kept in cache_dir for it.

Examples
  stat-train plan task=math teacher=openai teacher.model=NAME student=recorded student.path=FILE ...
  stat-train plan ... teacher.usd_per_million_input_tokens=0.15 teacher.usd_per_million_output_tokens=0.6
  stat-train plan ... plan.difficult_share=0.4 plan.rewrite_tokens=600 --json"""
DOCTOR = """\
Check that what a run with these settings needs works, before the run does:

  packages        installed, in versions that work together
  cache_dir       room for the results, and for the checkpoints when the run trains
  GPU             what there is; without one, the CPU is used
  student files   whole, or to be had from the hub (student=tiny and local)
  reward model    the same of the model that scores steps (difficulty=prm and token_prm)
  student         one real call to each address (student=endpoint)
  teacher         one real call to each address, and one that asks for JSON (teacher=openai)
  checkpoint      whole, or an adapter that names its base (train=external)
  training step   one step on two short rows, as the run would do it (when the run trains)

Each line says ok, failed or skipped, with what was seen; below it, what to do about it."""
DOCTOR_MORE = """\
A call costs a few tokens. It is not written to the ledger and not charged to the budget. The training
step loads the student (from the hub, when it is not here yet), writes a checkpoint near cache_dir and
removes it; two short rows do not show how much memory long ones take.

Examples
  stat-train doctor
  stat-train doctor teacher=openai teacher.model=NAME student=local student.model=FOLDER
  stat-train doctor until=profile --json

Exit codes: 0 everything that this run needs works, 1 a check failed, 2 the settings are wrong."""

COMPARE = """\
Put finished runs side by side: what each scores, what it gained over its own base, how it differs from the
FIRST run on the questions that both scored, and what it cost: tokens trained, dollars paid for replies,
seconds on GPUs (without one: of processes on the CPU)."""
COMPARE_MORE = """\
A skill regressed when its change is clear (p adjusted for the number of skills, at most 0.05) and down; a
benchmark when its 95 % interval lies below 0. With --fail-if-regressed each run is judged against the
first, a single run against its own base, on the benchmarks that are shown.

Examples
  stat-train compare runs/pool runs/stat_sel --skills
  stat-train compare runs/*-seed* --over-seeds --benchmark all
  stat-train compare runs/released runs/candidate --fail-if-regressed --json > comparison.json
  stat-train compare --html comparison.html runs/pool runs/stat_sel

Exit codes: 0 done, 2 wrong input, or --fail-if-regressed and nothing to judge by, 4 --fail-if-regressed and
something regressed."""

PROFILES = """\
Compare how often each skill was missing in two runs: two students, or two checkpoints of one.

Runs that were asked the same validation questions are compared question by question (McNemar's test,
Tango's score interval), others rate by rate (Fisher's exact test, Newcombe's interval). A change is
"clear" when its p value, adjusted for the number of skills (Benjamini-Hochberg), is at most 0.05. A skill
with fewer than 5 exposures is shown and marked, never called clear."""
PROFILES_MORE = """\
Both runs need a profile (until=profile or later). Shares are of the questions that expose the skill: it
is required or was missing. Positive change: B misses the skill more often than A.

Examples
  stat-train profiles runs/before runs/after
  stat-train profiles runs/small runs/large --json"""

TRACE = """\
Say why a training row is there: recipe, missing skill, the difficult question, what the student answered
(each step with its reward, where steps were scored), the diagnosis, the pool questions that the row was
made from, and each call of a model behind it, with its prompt, its price and who paid it. Or list the
rows that a missing skill, a difficult question or a call led to."""
TRACE_MORE = """\
The run needs a training set (until=curate or later). What is printed is read from its files and from the
ledger of its cache_dir; no model is asked.

Examples
  stat-train trace runs/math stat_sel-00017
  stat-train trace runs/math --skill geometry
  stat-train trace runs/math --call 5f2c9a1b0d3e4f67 --json"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _end_by_signal)
    try:
        verb = _verb(given)
        return VERBS[verb](given[1:] if given[:1] == [verb] else given)
    except StatTrainError as error:
        print(f"stat-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstat-train: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _end_by_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _verb(given: Sequence[str]) -> str:
    """Return the verb that is meant: the first word when it is one, `run` when it is a setting or an option."""
    first = given[0] if given else "run"
    if first in VERBS:
        return first
    if first.isidentifier():
        expected = f"expected {', '.join(VERBS)} or KEY=VALUE"
        raise UserError(f"{first}: no such verb; {expected}.{did_you_mean(first, VERBS)} See stat-train --help")
    return "run"


def _run(given: list[str]) -> int:
    if {"-h", "--help"} & set(given):
        return _help()
    if "--version" in given:
        print(f"stat-train {__version__}")
        return 0
    from stat_train.compose import read_settings

    show = _take_cfg(given)
    if options := [argument for argument in given if argument.startswith("-")]:
        raise UserError(f"{' '.join(options)}: no such option; settings are given as KEY=VALUE. See stat-train --help")
    settings = read_settings(given)
    if show:
        print(settings.yaml, end="")
        return 0
    from stat_train.pipeline import run

    logging.getLogger("datasets").setLevel(logging.ERROR)
    run(settings, ["stat-train", *given], console())
    return 0


def console() -> Console:
    """Return the console to print to; without a terminal, lines are as wide as tables need."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


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


def _help() -> int:
    from stat_train.compose import choices, config_dir

    groups = "\n".join(_wrapped(group, names) for group, names in choices().items())
    print(HELP.format(groups=groups, place=config_dir()))
    return 0


def _wrapped(group: str, names: Sequence[str]) -> str:
    return textwrap.fill(", ".join(names), 96, initial_indent=f"  {group:<14} ", subsequent_indent=" " * 17)


def _compare(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="stat-train compare",
        description=COMPARE,
        epilog=COMPARE_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--benchmark", metavar="NAME", help="another benchmark than the runs' first, or: all")
    parser.add_argument("--over-seeds", action="store_true", help="one row for runs that differ in the seed alone")
    parser.add_argument("--skills", action="store_true", help="print what became of each skill")
    parser.add_argument("--fail-if-regressed", action="store_true", help="exit code 4 when something became worse")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args(given)
    from stat_train.evaluation.compare import as_json, compare
    from stat_train.evaluation.compare_gate import require_no_regression
    from stat_train.evaluation.compare_page import write_page
    from stat_train.evaluation.compare_table import print_comparison
    from stat_train.evaluation.tables import plain

    with_skills = bool(arguments.skills or arguments.fail_if_regressed or arguments.html or arguments.json)
    found = compare(arguments.runs, arguments.benchmark, arguments.over_seeds, with_skills)
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
    parser = argparse.ArgumentParser(
        prog="stat-train profiles",
        description=PROFILES,
        epilog=PROFILES_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    parser = argparse.ArgumentParser(
        prog="stat-train trace",
        description=TRACE,
        epilog=TRACE_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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


def _settings_of(verb: str, given: list[str], description: str, more: str) -> tuple[Settings, bool]:
    """Return the settings of the run that a verb looks at, and whether its result is wanted as JSON."""
    parser = argparse.ArgumentParser(
        prog=f"stat-train {verb}",
        description=description,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="the settings of the run, as you would run it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, when it is whole")
    arguments = parser.parse_intermixed_args(given)
    from stat_train.compose import read_settings

    return read_settings(arguments.settings), arguments.json


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
    settings, json_wanted = _settings_of("plan", given, PLAN, PLAN_MORE)
    from stat_train.plan.show import as_json, make_plan, print_plan

    plan = make_plan(settings)
    if json_wanted:
        print(json.dumps(as_json(plan), indent=2))
    else:
        print_plan(plan, console())
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "plan": _plan,
    "doctor": _doctor,
    "compare": _compare,
    "profiles": _profiles,
    "trace": _trace,
}


if __name__ == "__main__":
    sys.exit(main())
