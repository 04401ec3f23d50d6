"""A real Slurm on this machine: one controller and two nodes of it, on free ports, gone at the end."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = ("n1", "n2")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs=16 RealMemory=100000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs=16 RealMemory=100000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def cannot_start() -> str | None:
    """Return why no Slurm can be started here."""
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "munge", "munged") if _which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "starting slurmd needs root"
    return None


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start a cluster and yield its slurm.conf; the processes of it are ended by their ids."""
    (folder / "state").mkdir()
    first, second, controller = _free_ports(3)
    text = CONFIGURATION.format(folder=folder, controller=controller, first=first, second=second)
    place = folder / "slurm.conf"
    place.write_text(text)
    _name_the_nodes()
    _start_munge()
    environment = os.environ | {"SLURM_CONF": str(place)}
    for command in (["slurmctld", "-i"], *(["slurmd", "-N", node] for node in NODES)):
        subprocess.run([_which(command[0]) or "", *command[1:]], env=environment, check=True, capture_output=True)
    try:
        wait_for(lambda: _states(environment) == {"idle"}, 30)
        yield place
    finally:
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, capture_output=True)
        # The steps of what was cancelled are ended before the daemons that would have done it.
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not queue(environment), 15)
        for pid in (*(folder / f"slurmd.{node}.pid" for node in NODES), folder / "slurmctld.pid"):
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not list(folder.glob("*.pid")), 15)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _name_the_nodes() -> None:
    """Let the nodes' names lead here: the processes of a training meet on the first node, by its name."""
    hosts = Path("/etc/hosts")
    if not any(line.split()[1:] == list(NODES) for line in hosts.read_text().splitlines()):
        with hosts.open("a") as file:
            file.write(f"127.0.0.1 {' '.join(NODES)}\n")


def _start_munge() -> None:
    """Start the service that tells the daemons who is who, unless it runs; it is the machine's, and stays."""
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge"], check=True)
        subprocess.run(["runuser", "-u", "munge", "--", _which("munged") or "munged"], check=True)


def _states(environment: dict[str, str]) -> set[str]:
    listed = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True)
    return set(listed.stdout.split())


def queue(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Return the jobs that wait or run, with their states; each task of an array as ID_TASK."""
    command = ["squeue", "-h", "-r", "-o", "%i %T"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(line.split() for line in listed.stdout.splitlines())


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Return when something holds; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)
