"""Training in a world of several processes: the same as in one, and ended or gone on with as one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

from worlds import ROWS, deadline, make_job, pid_of_rank, run, run_here, sft_settings, strategy

from stat_train import stage
from stat_train.batches import Split, split_batch
from stat_train.compose import choices, read_settings
from stat_train.errors import STOPPED, StatTrainError, UserError
from stat_train.train_settings import GrpoTraining, SftTraining
from stat_train.training import launch
from stat_train.training.distributed import strategy_arguments
from stat_train.training.job import TrainJob
from stat_train.training.world import World, require_launchable, require_packages

STEPS = ROWS // 8
CLOSE = 1e-3


# -- before anything is started ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "processes", "device_batch_size", "expected"),
    [
        (8, 1, 8, Split(8, 1)),
        (8, 1, 1, Split(1, 8)),
        (8, 2, 8, Split(4, 1)),
        (64, 64, 8, Split(1, 1)),
        (48, 2, 10, Split(8, 3)),  # 24 rows each; the largest divisor of 24 up to 10
        (62, 2, 8, Split(1, 31)),  # a prime number of rows each
    ],
)
def test_the_rows_of_a_step_are_split_by_themselves(
    rows: int, processes: int, device_batch_size: int, expected: Split
) -> None:
    split = split_batch(rows, processes, device_batch_size)
    assert split == expected
    assert split.device_batch_size * split.accumulation_steps * processes == rows


@pytest.mark.parametrize(("rows", "processes", "such_as"), [(30, 4, 32), (8, 64, 64), (100, 64, 128)])
def test_an_impossible_split_names_the_numbers(rows: int, processes: int, such_as: int) -> None:
    expected = f"train.effective_batch_size = {rows}: .* over {processes} processes; .* such as {such_as}"
    with pytest.raises(UserError, match=expected):
        split_batch(rows, processes, 8)


def test_several_nodes_are_started_by_one_launcher_each(monkeypatch: pytest.MonkeyPatch) -> None:
    command = launch.command(World(2, 8), "train", Path("job.json"), 29_500)
    assert command[:4] == ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    assert command[-2:] == ["train", "job.json"]
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setattr(launch, "first_node", lambda: "n1")
    given = launch.accelerate_arguments(launch.arguments_of([*command[7:]]))
    assert {"--num_processes=16", "--num_machines=2", "--machine_rank=1", "--main_process_ip=n1"} <= set(given)
    assert given[given.index("--module") :] == ["--module", "stat_train.stage", "train", "job.json"]


def test_a_stage_is_of_no_world_that_its_run_was_started_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in stage.OF_A_WORLD:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("HF_HOME", "kept")
    told = stage._environment()
    assert told["HF_HOME"] == "kept" and not {*stage.OF_A_WORLD} & {*told}


def test_what_cannot_be_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stat_train.training.world.visible_gpus", lambda: [])
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    with pytest.raises(UserError, match=r"fsdp2: works on GPUs only"):
        require_launchable(World(1, 2), strategy("fsdp2"))
    with pytest.raises(UserError, match=r"train.nodes = 2: .* Slurm allocation of 2 nodes"):
        require_launchable(World(2, 8), strategy("zero2"))
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    require_launchable(World(2, 8), strategy("zero2"))
    monkeypatch.setattr("stat_train.training.world.visible_gpus", lambda: ["0", "1"])
    with pytest.raises(UserError, match=r"^train.processes = 4: 2 GPUs are visible"):
        require_launchable(World(1, 4), strategy("none"))
    with pytest.raises(UserError, match=r"^rl.processes = 4: 2 GPUs are visible"):
        require_launchable(World(1, 4), strategy("none"), "rl")


# Their optimizer's state or their shards need a GPU's memory or its library.
GPU_ONLY = {"zero2_offload", "zero3_offload", "fsdp2"}
ON_A_CPU = ("none", "zero2", "zero3")


def test_every_strategy_is_trained_with_or_needs_a_gpu() -> None:
    assert set(choices()["deepspeed"]) == {*ON_A_CPU, *GPU_ONLY}


@pytest.mark.parametrize(
    ("name", "stage", "offloaded"),
    [("zero2", 2, []), ("zero3", 3, []), ("zero2_offload", 2, ["o"]), ("zero3_offload", 3, ["o", "p"])],
)
def test_deepspeed_reads_its_files(name: str, stage: int, offloaded: list[str]) -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    read = DeepSpeedZeroConfig.model_validate(strategy(name).config["zero_optimization"])
    found = {"o": read.offload_optimizer, "p": read.offload_param}
    assert (read.stage, [part for part, place in found.items() if place]) == (stage, offloaded)
    assert read.gather_16bit_weights_on_model_save == (stage == 3), "its checkpoint would be shards"
    assert not read.model_extra, "a setting that DeepSpeed does not know"


def test_fsdp_reads_its_file(tmp_path: Path) -> None:
    from trl import SFTConfig

    given = strategy_arguments(strategy("fsdp2"))
    read = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, **given).fsdp_plugin_args
    assert read == {
        "fsdp_version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": True,
        "reshard_after_forward": True,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train.attention=flash_attention_2"], r"train\.attention = flash_attention_2: needs flash_attn, .*\[gpu\]"),
        (["train.liger=true"], r"train\.liger = true: needs liger_kernel, which is not installed; .*\[gpu\]"),
        (["train=sft_qlora"], r"train\.load_in_4bit = true: needs bitsandbytes, .*\[qlora\]"),
        (["train=none", "rl=grpo", "rl.engine=vllm"], r"rl\.engine = vllm: needs vllm, .*\[vllm\]"),
    ],
)
def test_a_package_that_is_asked_for_by_name_is_missed_early(
    given: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, installed = read_settings(given).config, set[str]()
    settings = config.rl if config.train.name == "none" else config.train
    monkeypatch.setattr("stat_train.packages.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr("stat_train.training.world.visible_gpus", lambda: ["0"])
    assert isinstance(settings, SftTraining | GrpoTraining)
    with pytest.raises(UserError, match=expected):
        require_packages(settings)
    installed |= {"flash_attn", "liger_kernel", "bitsandbytes", "vllm"}
    require_packages(settings)
    monkeypatch.setattr("stat_train.training.world.visible_gpus", list)
    if "qlora" in given[0]:
        require_packages(settings)
        return
    with pytest.raises(UserError, match="needs a GPU, and none is visible"):
        require_packages(settings)


# -- real processes ---------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """A training and the loss of each of its steps."""

    job: TrainJob
    losses: list[float]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train in one process."""
    job = make_job(tmp_path_factory.mktemp("alone") / "job", sft_settings())
    return Trained(job, run_here(job))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Train in two processes, with each of the strategies that a CPU takes."""
    folder = tmp_path_factory.mktemp("two")
    jobs = {name: make_job(folder / name, sft_settings(), name) for name in ON_A_CPU}
    return {name: Trained(job, run(job, 2)) for name, job in jobs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_A_CPU)
def test_two_processes_train_as_one(name: str, alone: Trained, two: dict[str, Trained]) -> None:
    job, together = two[name]
    assert len(alone.losses) == STEPS and together == pytest.approx(alone.losses, abs=CLOSE)
    assert alone.losses[-1] < alone.losses[0] - 10 * CLOSE, "losses so alike prove nothing"
    assert _distance(job, alone.job) < 1e-3
    assert not (job.folder / "trainer").exists()


@pytest.mark.slow
def test_one_process_trains_with_deepspeed(alone: Trained, tmp_path: Path) -> None:
    assert run(make_job(tmp_path / "job", sft_settings(), "zero2"), 1) == pytest.approx(alone.losses, abs=CLOSE)


def _distance(first: TrainJob, second: TrainJob) -> float:
    """Return the largest difference between two trained weights; a weight that is a shard has another shape."""
    from transformers import AutoModelForCausalLM

    loaded = [AutoModelForCausalLM.from_pretrained(job.folder / "checkpoint") for job in (first, second)]
    weights = [{name: weight.detach() for name, weight in model.named_parameters()} for model in loaded]
    assert weights[0].keys() == weights[1].keys()
    return max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """Stop a training of two processes: with a stop file from the start, it is seen after the first step."""
    folder = tmp_path_factory.mktemp("stopped")
    job = make_job(folder / "job", sft_settings(), "zero2")
    (folder / "job" / "STOP").touch()
    with pytest.raises(StatTrainError, match="asked to stop") as error:
        run(job, 2, folder / "words")
    assert error.value.exit_code == STOPPED
    assert f"stopped at step 1 of {STEPS}, as asked" in (folder / "words").read_text()
    return job


def _again(stopped: TrainJob, folder: Path, name: str) -> TrainJob:
    """Return the stopped training in a folder of its own, without its stop file."""
    shutil.copytree(stopped.folder, folder / "train")
    return stopped.model_copy(update={"folder": folder / "train", "strategy": strategy(name), "stop_file": None})


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    stopped: TrainJob, two: dict[str, Trained], tmp_path: Path
) -> None:
    assert run(_again(stopped, tmp_path, "zero2"), 2, tmp_path / "words") == two["zero2"].losses
    assert "going on at step 1" in (tmp_path / "words").read_text()


@pytest.mark.slow
def test_other_processes_go_on_from_the_weights_alone_and_say_so(
    stopped: TrainJob, alone: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows that follow are the same, and so is the loss of the next step; the optimizer is new after it."""
    followed = run_here(_again(stopped, tmp_path, "none"))
    words = capsys.readouterr().out
    assert "the saved state is of other processes (zero2-2)" in words and "at step 1 with its weights" in words
    assert len(followed) == STEPS and followed[:2] == pytest.approx(alone.losses[:2], abs=CLOSE)


@pytest.mark.slow
def test_sigterm_saves_the_state(tmp_path: Path) -> None:
    """Twenty epochs of three steps: stopped somewhere among them, and gone on with to the same end."""
    settings = sft_settings(epochs=20)
    whole = make_job(tmp_path / "whole", settings)
    job = make_job(tmp_path / "job", settings)
    job.folder.mkdir()
    (job.folder / "job.json").write_text(job.model_dump_json())
    process = subprocess.Popen([sys.executable, "-m", "stat_train.stage", "train", str(job.folder / "job.json")])
    _wait_until_training(process.pid)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == STOPPED
    (saved,) = (job.folder / "trainer" / "whole").glob("checkpoint-*")
    assert 0 < int(saved.name.removeprefix("checkpoint-")) < 20 * STEPS
    assert run_here(job) == run_here(whole)
    assert _distance(job, whole) == 0


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_with_its_name(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", sft_settings(epochs=10_000), "zero2")
    killer = threading.Thread(target=_kill_when_training, args=(1, job.folder))
    killer.start()
    words = tmp_path / "words"
    with pytest.raises(StatTrainError, match="stage train failed"), deadline(90):
        run(job, 2, words)
    killer.join()
    killed_at = float((tmp_path / "job" / "train" / "killed").read_text())
    assert time.time() - killed_at < 60
    assert "rank 1 of 2 was ended by SIGKILL" in words.read_text()
    assert pid_of_rank(0, job) is None, "rank 0 is left behind"


def _kill_when_training(rank: int, folder: Path) -> None:
    job = make_job(folder.parent / "for_its_pid", sft_settings()).model_copy(update={"folder": folder})
    while (pid := pid_of_rank(rank, job)) is None:
        time.sleep(0.1)
    _wait_until_training(pid)
    time.sleep(1)
    (folder / "killed").write_text(str(time.time()))
    os.kill(pid, signal.SIGKILL)


def _wait_until_training(pid: int) -> None:
    """Wait until the handler of SIGTERM is set: the first step begins."""
    while not int(_field(pid, "SigCgt"), 16) & 1 << (signal.SIGTERM - 1):
        time.sleep(0.05)


def _field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(name))


def test_a_launcher_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        launch.main(["--help"])
    assert "--processes" in capsys.readouterr().out
