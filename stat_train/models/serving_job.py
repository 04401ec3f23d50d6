"""The Slurm job of a model's server: its script, and a small shell program that submits it and ends with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stat_train.launch_settings import Server, Slurm
from stat_train.sbatch import in_log_names, option, sbatch_options
from stat_train.store import write_text

# Runs until the cluster says that the job is gone, not until it fails to answer, and cancels the job as it ends itself.
# sbatch is not to be ended with the shell: nobody would know the job that it made.
WATCH = """\
asked=
trap 'asked=yes' TERM
job=$(trap '' TERM; exec sbatch --parsable "$1") || exit 1
job=${job%%;*}
trap 'scancel "$job" 2>/dev/null' EXIT
trap 'exit 143' TERM
[ -z "$asked" ] || exit 143
echo "submitted as job $job"
while said=$(squeue -h -j "$job" -o %T 2>&1); [ -n "$said" ] && [[ $said != *"Invalid job id"* ]]; do
    sleep 5 & wait $!
done
echo "job $job has ended" $(scontrol show job --oneliner "$job" 2>/dev/null | grep -oE '(JobState|ExitCode)=[^ ]*')
exit 1
"""


def job_command(script: Path) -> list[str]:
    """Return the program that is the server as long as its job is."""
    return ["bash", "-c", WATCH, "bash", str(script)]


def write_script(log: Path, role: str, server: Server, cluster: Slurm, command: Sequence[str]) -> Path:
    """Write the script of the job beside its log; it says where it listens in a file beside it too.

    A port that reads `$port` is one that is the job's own.
    """
    asked: dict[str, Any] = cluster.model_dump() | {"gpus_per_node": server.tensor_parallel_size} | server.slurm
    _address(log).unlink(missing_ok=True)
    options = [option("job-name", f"stat-train-{role}"), *sbatch_options({"nodes": 1} | asked)]
    options += [option("output", in_log_names(log)), "--open-mode=append"]
    place = shlex.quote(str(_address(log).absolute()))
    # Where the port is the job's, the shell is to put it in.
    words = " ".join(word if word == "$port" else shlex.quote(word) for word in command)
    port = "$port" if "$port" in command else command[command.index("--port") + 1]
    image = f"srun --container-image={shlex.quote(asked['container'])} " if asked["container"] else "exec "
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options)]
    lines += ["unset PYTHONPATH PYTHONHOME VIRTUAL_ENV", *asked["setup"]]
    lines += ["port=$((20000 + SLURM_JOB_ID % 20000))"] if port == "$port" else []
    lines += [
        f'echo "${{SLURMD_NODENAME:-$(hostname)}}:{port}" > {place}.new && mv {place}.new {place}',
        f"{image}{words}",
    ]
    script = log.with_suffix(".sh")
    write_text(script, "\n".join(lines) + "\n")
    return script.absolute()


def address_of(log: Path) -> str | None:
    """Return the host and port that the job listens at, once it has started."""
    try:
        return _address(log).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _address(log: Path) -> Path:
    return log.with_suffix(".address")
