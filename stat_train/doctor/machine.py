"""The machine: the packages that a run uses, room on the disk, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from stat_train import __version__
from stat_train.config import Config, EndpointStudent, LocalStudent, OpenAITeacher
from stat_train.doctor.check import Check
from stat_train.train_settings import GrpoTraining, SftTraining

DISTRIBUTION = "stat-train"
LEAST_FREE_BYTES = 10**9
LEAST_FREE_BYTES_FOR_LINKS = 10**7
# A checkpoint of the training has weights and two moments of them, of 4 bytes each; two are kept while one is written.
TRAINING_BYTES_PER_PARAMETER = 3 * 3 * 4
NVIDIA_SMI = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"]
NVIDIA_SMI_SECONDS = 20.0


def loads_weights(config: Config) -> bool:
    """Tell whether the run loads a student's weights on this machine."""
    return isinstance(config.student, LocalStudent) and config.reaches("answer")


def loads_reward_model(config: Config) -> bool:
    """Tell whether the run loads a model that scores steps on this machine."""
    return config.reward_model() is not None and config.reaches("diagnose")


def trains(config: Config) -> bool:
    """Tell whether the run fine-tunes the student."""
    return isinstance(config.train, SftTraining) and config.reaches("train")


def reinforces(config: Config) -> bool:
    """Tell whether the run goes on to reinforcement learning."""
    return isinstance(config.rl, GrpoTraining) and config.reaches("rl")


# -- packages ---------------------------------------------------------------------------------------------------------


def package_checks(config: Config) -> Iterator[Check]:
    """Check that what this run imports is installed, in a version that this package takes."""
    ranges, python = _ranges()
    version = platform.python_version()
    yield _version_check("python", version, SpecifierSet(python), f"install Python {python}")
    yield Check(DISTRIBUTION, "ok", f"{__version__} in {Path(__file__).parents[1]}")
    used = packages_used(config)
    for name in sorted(used):
        yield package_check(name, ranges.get(name, SpecifierSet()))
    if rest := sorted(set(ranges) - used):
        yield Check("other packages", "skipped", f"this run does not use {', '.join(rest)}")


def package_check(name: str, wanted: SpecifierSet) -> Check:
    """Check the installed version of one package."""
    remedy = f"pip install '{name}{wanted}'"
    try:
        return _version_check(name, metadata.version(name), wanted, remedy)
    except metadata.PackageNotFoundError:
        return Check(name, "failed", f"is not installed; expected {wanted or 'any version'}", remedy)


def packages_used(config: Config) -> set[str]:
    """Return the packages that the stages of this run import."""
    used = {"datasets", "hydra-core", "pydantic", "rich"}
    if isinstance(config.teacher, OpenAITeacher) or isinstance(config.student, EndpointStudent):
        used |= {"openai", "httpx2", "tenacity"}
    if loads_weights(config) or loads_reward_model(config):
        used |= {"jinja2", "torch", "transformers"}
    used |= _packages_of_training(config) if trains(config) or reinforces(config) else set()
    if config.task.grader == "math" and config.reaches("grade"):
        used |= {"math-verify", "pebble"}
    if config.reaches("profile"):
        used.add("scipy")
    if getattr(config.data_recipe, "embedder", "tfidf") != "tfidf" and config.reaches("curate"):
        used.add("sentence-transformers")
    if config.evaluate.harness and config.reaches("evaluate"):
        used.add("lm-eval")
    if config.reaches("report"):
        used.add("jinja2")
    if config.track.name != "none":
        used.add(config.track.name)
    return used


def _packages_of_training(config: Config) -> set[str]:
    used, train, rl = {"accelerate", "trl"}, config.train, config.rl
    if isinstance(train, SftTraining) and trains(config):
        used |= {"peft"} if train.lora else set()
        used |= {"bitsandbytes"} if train.load_in_4bit or train.optimizer == "paged_adamw_8bit" else set()
        used |= {"liger-kernel"} if train.liger else set()
    if isinstance(rl, GrpoTraining) and reinforces(config):
        used |= {"vllm"} if rl.engine == "vllm" else set()
        used |= {"liger-kernel"} if rl.liger else set()
    return used | ({"deepspeed"} if config.deepspeed.name.startswith("zero") else set())


def _ranges() -> tuple[dict[str, SpecifierSet], str]:
    """Return which versions this package takes, of each package and of Python, as it was installed."""
    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return {}, ""
    wanted = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {canonicalize_name(one.name): one.specifier for one in here}, "".join(about.get_all("Requires-Python") or [])


def _version_check(name: str, version: str, wanted: SpecifierSet, remedy: str) -> Check:
    if wanted.contains(version, prereleases=True):
        return Check(name, "ok", version)
    return Check(name, "failed", f"{version}; expected {wanted}", remedy)


# -- disk -------------------------------------------------------------------------------------------------------------


def cache_check(config: Config, parameters: int | None) -> Check:
    """Check the room where artifacts are kept; a student that is trained needs some for its `parameters`."""
    needed, why = LEAST_FREE_BYTES, ""
    if (trains(config) or reinforces(config)) and parameters:
        needed += parameters * TRAINING_BYTES_PER_PARAMETER
        why = " to train this student"
    elif trains(config) or reinforces(config):
        why = " and more for the training: the size of the student is not known"
    return _disk("cache_dir", config.cache_dir, needed, why)


def run_dir_check(config: Config) -> Check:
    """Check that the run folder can be written: it has links and small files."""
    return _disk("run_dir", config.run_dir, LEAST_FREE_BYTES_FOR_LINKS, "")


def nearest_folder(place: str) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = Path(place).expanduser().absolute()
    return next(one for one in (path, *path.parents) if os.path.exists(one))


def _disk(key: str, place: str, needed: int, why: str) -> Check:
    folder = nearest_folder(place)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written to" if folder.is_dir() else "is not a folder"
        return Check(key, "failed", f"{folder} {what}", f"give {key}=FOLDER, in a place that you can write to")
    free = shutil.disk_usage(folder).free
    seen = f"{_size(free)} free in {folder}, needed: {_size(needed)}{why}"
    return Check(key, "ok", seen) if free >= needed else Check(key, "failed", seen, f"make room, or give {key}=FOLDER")


def _size(count: int) -> str:
    return f"{count / 10**9:,.1f} GB" if count >= 10**8 else f"{count / 10**6:,.0f} MB"


# -- GPUs -------------------------------------------------------------------------------------------------------------


def gpu_check(config: Config) -> Check:
    """List the GPUs. None is needed: everything that is there so far runs on a CPU too."""
    if not (loads_weights(config) or loads_reward_model(config)):
        return Check("GPU", "skipped", "this run loads no model on this machine")
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS)
    except FileNotFoundError:
        return Check("GPU", "ok", "no GPU; CPU is used")
    except (OSError, subprocess.TimeoutExpired) as error:
        return _no_driver(str(error))
    found = done.stdout.strip().splitlines()
    if done.returncode or not found:
        return _no_driver(done.stderr.strip() or done.stdout.strip() or "it lists no GPU")
    return _gpus("; ".join(" ".join(line.split()) for line in found))


def _no_driver(words: str) -> Check:
    remedy = "if this machine has a GPU that should be used, repair its driver (nvidia-smi must list it)"
    return Check("GPU", "skipped", f"nvidia-smi does not work, so CPU is used: {words}", remedy)


def _gpus(listed: str) -> Check:
    """Return the GPUs (name, memory, free memory), and what keeps them from being used."""
    torch = _version("torch")
    if torch.endswith("+cpu"):
        remedy = "install the torch build for your CUDA version: https://pytorch.org/get-started/locally"
        return Check("GPU", "ok", f"{listed}; not used: torch {torch} is built without CUDA", remedy)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Check("GPU", "ok", listed + (f"; CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
