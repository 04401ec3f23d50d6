"""Which of Hydra's launchers starts the jobs of a sweep, with which settings, and how it is ended."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from stat_train.errors import ConfigError, UserError, did_you_mean
from stat_train.gpus import visible_gpus
from stat_train.sweeping.files import launcher_log

BASIC, JOBLIB, SLURM = "basic", "joblib", "submitit_slurm"
# launcher -> the package it comes in, and the extra that installs it
PLUGINS = {
    BASIC: None,
    JOBLIB: ("hydra_plugins.hydra_joblib_launcher", "sweep"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    SLURM: ("hydra_plugins.hydra_submitit_launcher", "slurm"),
}
REQUIRED = ["folder=.", "job=none"]
CHOICE, SETTING = "hydra/launcher", "hydra.launcher."
# Without GPUs; the libraries that train use several cores each.
JOBS_AT_ONCE_ON_A_CPU = 2


class Launcher(NamedTuple):
    """A launcher: its name, and its settings as Hydra's own arguments."""

    name: str
    arguments: list[str]

    @property
    def at_once(self) -> int:
        """Return how many jobs share this machine; 0 where they do not, or where nobody can tell."""
        given = dict(argument.partition("=")[::2] for argument in self.arguments)
        number = given.get(f"{SETTING}n_jobs", "")
        return int(number) if number.isdecimal() else 0


def take_launcher(arguments: Sequence[str]) -> tuple[Launcher, list[str]]:
    """Return the launcher that the arguments ask for, and the other arguments; the only settings of Hydra's taken.

    Raises UserError when there is no such launcher, or when it is not installed.
    """
    own = [argument for argument in arguments if re.match(r"\+*hydra[/.]launcher\b", argument)]
    name = next((text.partition("=")[2] for text in own if text.partition("=")[0] == CHOICE), BASIC)
    if name not in PLUGINS:
        expected = f"expected one of {', '.join(PLUGINS)}"
        raise UserError(f"{CHOICE} = {name}: no such launcher; {expected}.{did_you_mean(name, PLUGINS)}")
    _require_installed(name)
    if name == JOBLIB and not any(text.startswith(f"{SETTING}n_jobs=") for text in own):
        # Its own default is one for each core of the machine.
        own.append(f"{SETTING}n_jobs={len(visible_gpus()) or JOBS_AT_ONCE_ON_A_CPU}")
    _check(own)
    return Launcher(name, own), [argument for argument in arguments if argument not in own]


def _require_installed(name: str) -> None:
    plugin = PLUGINS[name]
    with suppress(ModuleNotFoundError):
        if plugin is None or importlib.util.find_spec(plugin[0]):
            return
    raise UserError(f"{CHOICE} = {name}: is not installed; pip install 'stat-train[{plugin and plugin[1]}]'")


def _check(arguments: Sequence[str]) -> None:
    with initialize_config_module("stat_train.sweeping", version_base="1.3", job_name="stat-train-sweep"):
        try:
            compose("jobs", overrides=[*arguments, *REQUIRED], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            reason = str(error).partition("\n")[0]
            chosen = [text for text in arguments if text.startswith(CHOICE)]
            usual = compose("jobs", overrides=[*chosen, *REQUIRED], return_hydra_config=True).hydra.launcher
            known = ", ".join(str(key) for key in usual if key != "_target_") or "no settings"
            raise ConfigError([f"{' '.join(arguments)}: {reason} This launcher has: {known}"]) from error


@contextmanager
def launched(launcher: Launcher, folder: Path, names: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Have the launcher carry out the jobs of these names; whoever leaves before it has ended ends it.

    Its processes have a group of their own, so that Ctrl-C reaches the sweep alone, which then ends them in order. When
    the sweep is killed or its terminal goes, its end of their pipe closes, and they end too.
    """
    jobs = ",".join(f"'{name}'" for name in names)
    command = [sys.executable, "-m", "stat_train.sweeping.jobs", "--multirun", f"job={jobs}"]
    command += [
        "folder='{}'".format(str(folder).replace("'", "\\'")),
        f"at_once={launcher.at_once}",
        *launcher.arguments,
    ]
    log = launcher_log(folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as words:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=words, start_new_session=True)
    try:
        yield process
    except BaseException:
        signal_all(process, signal.SIGKILL)
        process.wait()
        raise
    finally:
        if process.stdin:
            process.stdin.close()


def signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a launcher and to all that it started on this machine."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
