"""Models with weights, the student and a reward model: whether their files are whole; and one step of training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from httpx2 import HTTPError

from stat_train import stage
from stat_train.config import Config, LocalStudent
from stat_train.doctor.check import Check
from stat_train.doctor.machine import loads_reward_model, loads_weights, nearest_folder, trains
from stat_train.errors import StatTrainError
from stat_train.models.places import model_place
from stat_train.records import Origin, TrainingExample
from stat_train.store import lease, write_records
from stat_train.tasks.prompts import messages
from stat_train.train_settings import ExternalTraining, SftTraining, Strategy
from stat_train.training.job import TrainJob

NAME, STEP, REWARDS, CHECKPOINT = "student files", "training step", "reward model", "checkpoint"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HUB_SECONDS = 10.0
ROWS = (("What is 1 + 1?", "1 + 1 = 2"), ("What is 2 + 3?", "2 + 3 = 5"))
REMEDY = "give {key}=FOLDER of a whole checkpoint (config, tokenizer, weights), or the name of a hub model"


class Student(NamedTuple):
    """What was found of a model's files; `parameters` is None where they were not counted."""

    check: Check
    parameters: int | None = None


# -- its files --------------------------------------------------------------------------------------------------------


def find_student(config: Config) -> Student:
    """Check a local student's files, in a folder or on the hub, without loading them."""
    student = config.student
    if not isinstance(student, LocalStudent):
        return Student(Check(NAME, "skipped", f"student={student.name} has no weights here"))
    if not loads_weights(config):
        return Student(Check(NAME, "skipped", f"until={config.until} does not load the student"))
    return _find(NAME, "student.model", student.model, student.revision)


def find_reward_model(config: Config) -> Check:
    """Check the files of the model that scores steps, in a folder or on the hub, without loading them."""
    model = config.reward_model()
    if model is None or not loads_reward_model(config):
        return Check(REWARDS, "skipped", "this run asks none")
    return _find(REWARDS, "difficulty.prm.model", model.model, model.revision).check


def find_checkpoint(config: Config) -> Check:
    """Check the files of a checkpoint that was trained elsewhere."""
    train = config.train
    if not isinstance(train, ExternalTraining) or not config.reaches("train"):
        return Check(CHECKPOINT, "skipped", "this run takes none from elsewhere")
    folder = Path(model_place(train.checkpoint))
    if not folder.is_dir():
        return _on_hub(CHECKPOINT, "train.checkpoint", train.checkpoint, None).check
    problem, remedy = what_is_wrong_with(folder), REMEDY.format(key="train.checkpoint")
    return (
        Check(CHECKPOINT, "failed", f"{folder}: {problem}", remedy) if problem else Check(CHECKPOINT, "ok", str(folder))
    )


def _find(check: str, key: str, model: str, revision: str | None) -> Student:
    """Check a model's files; `key` is the setting that names it."""
    folder = Path(model_place(model))
    if not folder.is_dir():
        return _on_hub(check, key, model, revision)
    if problem := what_is_wrong(folder):
        return Student(Check(check, "failed", f"{folder}: {problem}", REMEDY.format(key=key)))
    return _whole(check, folder)


def what_is_wrong(folder: Path) -> str | None:
    """Return what a checkpoint folder lacks, from its files' names and sizes; None when nothing does."""
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        return "an adapter alone, without its model" if adapter else "there is no config.json"
    if not [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        return "there is no tokenizer (tokenizer.json, tokenizer.model)"
    try:
        parameters(folder)
    except (OSError, ValueError) as error:
        return str(error)
    except (KeyError, TypeError, AttributeError) as error:
        return f"its weights or their index are in no form that is known ({type(error).__name__}: {error})"
    return None


def what_is_wrong_with(checkpoint: Path) -> str | None:
    """Return what a trained checkpoint lacks; unlike a student it may be an adapter alone that names its base."""
    if (checkpoint / "config.json").is_file() or not (checkpoint / "adapter_config.json").is_file():
        return what_is_wrong(checkpoint)
    base = adapter_base(checkpoint)
    if base is None:
        return "an adapter that does not name its base (base_model_name_or_path in adapter_config.json)"
    if Path(base).is_absolute() and not Path(base).is_dir():
        return f"an adapter whose base is absent: {base}"
    if not (checkpoint / "adapter_model.safetensors").is_file():
        return "an adapter without its weights (adapter_model.safetensors)"
    return None if [*checkpoint.glob("tokenizer*")] else "there is no tokenizer (tokenizer.json, tokenizer.model)"


def adapter_base(checkpoint: Path) -> str | None:
    """Return the model that an adapter belongs to; None when the folder is a whole model, or names none."""
    about = checkpoint / "adapter_config.json"
    if (checkpoint / "config.json").is_file() or not about.is_file():
        return None
    try:
        named = json.loads(about.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        return None
    return str(named) if named else None


def parameters(folder: Path) -> int:
    """Return how many parameters a checkpoint has; raises ValueError when its weights are not whole."""
    counts = [_safetensors(path) if path.suffix == ".safetensors" else _other(path) for path in _weights(folder)]
    return sum(counts)


def _weights(folder: Path) -> list[Path]:
    """Return the files of the weights: one, or those that an index names."""
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {name}
        files = [folder / one for one in sorted(names)]
        absent = [path.name for path in files if not path.is_file()]
        if not absent:
            return files
        if index.is_file():
            raise ValueError(f"{len(absent)} of {len(files)} files of the weights are absent, such as {absent[0]}")
    raise ValueError(f"there are no weights ({' or '.join(WEIGHTS)})")


def _safetensors(path: Path) -> int:
    """Return the number of values in a file of weights, from its header."""
    size = path.stat().st_size
    broken = ValueError(f"{path.name} is cut off, or no file of weights (a git-lfs pointer?)")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            raise broken
        header = json.loads(file.read(length))
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    if 8 + length + max(tensor["data_offsets"][1] for tensor in tensors) != size:
        raise broken
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def _other(path: Path) -> int:
    """Return about how many values a pickled file has, at most: two bytes each."""
    return path.stat().st_size // 2


def _whole(check: str, folder: Path) -> Student:
    count = parameters(folder)
    return Student(Check(check, "ok", f"{count / 1e6:,.1f} million parameters in {folder}"), count)


def _on_hub(check: str, key: str, name: str, revision: str | None) -> Student:
    """Check a hub name: whole in the local cache, or to be had from the hub."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return Student(Check(check, "failed", f"{name}: neither a folder nor a hub name", REMEDY.format(key=key)))
    if isinstance(cached, str) and not what_is_wrong(Path(cached).parent):
        return _whole(check, Path(cached).parent)
    if constants.HF_HUB_OFFLINE:
        remedy = f"unset HF_HUB_OFFLINE, or fetch it where there is a network: hf download {name}"
        return Student(Check(check, "failed", f"{name}: not whole in {constants.HF_HUB_CACHE}, and offline", remedy))
    return _asked_hub(check, key, name, revision)


def _asked_hub(check: str, key: str, name: str, revision: str | None) -> Student:
    from huggingface_hub import auth_check, model_info

    try:
        info = model_info(name, revision=revision, timeout=HUB_SECONDS)
        if info.gated:
            auth_check(name)
    except (OSError, HTTPError) as error:
        return Student(Check(check, "failed", *why_not(error, key, name, revision)))
    count = info.safetensors.total if info.safetensors else None
    size = f"{count / 1e6:,.1f} million parameters, " if count else ""
    return Student(Check(check, "ok", f"{name}: {size}to be downloaded from the hub when the run starts"), count)


def why_not(error: OSError | HTTPError, key: str, name: str, revision: str | None) -> tuple[str, str]:
    """Return why the hub does not give a model, and what to do about it; `key` is the setting that names it."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        remedy = f"ask for access at https://huggingface.co/{name}, then run: hf auth login"
        return f"{name}: the hub gives it only to those who asked for access", remedy
    if isinstance(error, RevisionNotFoundError):
        return f"{name}: no revision {revision}", f"check {key.rpartition('.')[0]}.revision"
    if isinstance(error, RepositoryNotFoundError):
        return f"{name}: no such model that this account sees", REMEDY.format(key=key)
    words = " ".join(str(error).split()) or type(error).__name__
    remedy = f"check the network, or fetch it where there is one: hf download {name}"
    return f"{name}: the hub cannot be reached ({words})", remedy


# -- one step of its training -----------------------------------------------------------------------------------------


def training_step(config: Config, reason_against: str | None) -> Check:
    """Train the student for one step on two short rows, in a process of its own and a folder that is removed."""
    student, settings = config.student, config.train
    if not (trains(config) and isinstance(student, LocalStudent) and isinstance(settings, SftTraining)):
        return Check(STEP, "skipped", "this run does not train")
    if reason_against:
        return Check(STEP, "skipped", reason_against)
    with TemporaryDirectory(prefix=".stat-train-doctor-", dir=nearest_folder(config.cache_dir)) as temporary:
        folder = Path(temporary) / "train"
        folder.mkdir()
        job = _job(folder, student, settings, config.seed)
        with lease(folder.with_suffix(".lease")), (Path(temporary) / "output").open("w+b") as output:
            return _train(job, output)


def _job(folder: Path, student: LocalStudent, settings: SftTraining, seed: int) -> TrainJob:
    """Write the rows; return the job, its settings as they are but for one step's worth."""
    rows = [_row(index, student, *row) for index, row in enumerate(ROWS)]
    write_records(folder / "training_set.jsonl", rows)
    few = {"epochs": 1, "effective_batch_size": len(ROWS), "checkpoints": 1, "keep_checkpoints": 1}
    few["device_batch_size"] = min(settings.device_batch_size, len(ROWS))
    # One process trains here, with the first of several rates.
    few |= {"processes": 1, "nodes": 1}
    rates: dict[str, Any] = {
        "learning_rates": None,
        "learning_rate": (settings.learning_rates or [settings.learning_rate])[0],
    }
    return TrainJob(
        folder=folder,
        training_set=folder / "training_set.jsonl",
        model=student.model,
        revision=student.revision,
        prompt=student.prompt,
        settings=settings.model_copy(update=few | rates),
        strategy=Strategy(name="none", config={}),
        seed=seed,
    )


def _row(index: int, student: LocalStudent, question: str, answer: str) -> TrainingExample:
    asked = messages(student.prompt, question, answer)
    origin = Origin(seed_ids=[])
    return TrainingExample(
        id=str(index), messages=asked, question=question, answer=answer, skills=[], recipe="doctor", origin=origin
    )


def _train(job: TrainJob, output: IO[bytes]) -> Check:
    try:
        stage.launch("train", job, job.folder, output=output)
    except StatTrainError as error:
        return _step_failed(str(error), output)
    result = json.loads((job.folder / "training.json").read_text())
    loss, steps = result["final_loss"], result["steps"]
    if steps != 1 or not math.isfinite(loss):
        remedy = "lower train.learning_rate, or check that the student's weights are whole"
        return Check(STEP, "failed", f"steps: {steps}, loss: {loss}; expected 1 step and a finite loss", remedy)
    return Check(STEP, "ok", f"1 step on {len(ROWS)} short rows, loss {loss:.3f}, checkpoint written")


def _step_failed(error: str, output: IO[bytes]) -> Check:
    """Return the process' last words, which say more than its exit code."""
    output.seek(0)
    lines = output.read().decode("utf-8", "replace").strip().splitlines()
    words = lines[-1].removeprefix("stat-train: ") if lines else error
    remedy = "the run would end the same way; check student.model and the settings of train"
    if "out of memory" in words.lower():
        remedy = "free memory, or take a smaller student; with so few rows, train.device_batch_size is not the reason"
    return Check(STEP, "failed", words, remedy)
