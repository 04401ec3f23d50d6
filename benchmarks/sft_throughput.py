"""How fast fine-tuning is: tokens a second, TFLOP/s and utilisation, ours against plain TRL on the same rows.

    python benchmarks/sft_throughput.py                                              a small model, CPU or GPU
    python benchmarks/sft_throughput.py --shape llama-3.2-3b --lengths full --length 4096 --step-rows 16 --device-rows 2

Each measurement is a process of its own; those that are compared take turns, `--runs` times, and the table has medians.
Weights are random, of the shape that is named. A token is one of a row, never padding. TFLOP/s are 6 x parameters x
tokens a second; utilisation is their share of the dense bf16 peak in the GPU's data sheet.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from stat_train.compose import read_settings
from stat_train.config import LocalStudent
from stat_train.models.places import model_place
from stat_train.records import Origin, TrainingExample
from stat_train.store import read_records, write_records
from stat_train.tasks.prompts import messages
from stat_train.train_settings import SftTraining, Strategy
from stat_train.training.job import TrainJob

RESULTS = Path(__file__).parent / "results"
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
# Hidden size, MLP size, layers, heads, key-value heads, vocabulary, tied embeddings; None: the shipped tokenizer's.
SHAPES: dict[str, tuple[int, int, int, int, int, int | None, bool]] = {
    "small": (256, 1024, 4, 8, 4, None, True),
    "llama-3.2-1b": (2048, 8192, 16, 32, 8, 128_256, True),
    "llama-3.2-3b": (3072, 8192, 28, 24, 8, 128_256, True),
    "llama-3.1-8b": (4096, 14_336, 32, 32, 8, 128_256, False),
}
# What takes turns. `trl` is given our rows in our order and our settings, so that it does the same work.
KINDS = {
    "ours, padded": "the rows of a step are of similar length",
    "TRL, padded": "the same rows and settings",
    "ours, packed": "the same rows, end to end",
    "TRL, packed": "the same rows and settings",
    "TRL, padded at random": "the same rows in a random order, as TRL has them",
    "ours, as it comes": "the settings of train=sft, but for what is named in the title",
    "TRL, as it comes": "the settings of SFTConfig(), but for rate, batch and epochs",
}


class Measured(NamedTuple):
    """One run: speed, where and how, and the loss of its last steps."""

    tokens_per_second: float
    seconds: float
    loss: float
    parameters: int
    device: str
    attention: str
    peak_memory_bytes: int | None


# -- what is trained --------------------------------------------------------------------------------------------------


def make_student(folder: Path, shape: str) -> None:
    """Write a model of random weights with the shipped tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    hidden, inner, layers, heads, shared, vocabulary, tied = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(model_place("tiny"))
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        vocab_size=vocabulary or len(tokenizer),
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def row_lengths(arguments: argparse.Namespace, count: int) -> list[int]:
    """Return how many words each answer has: skewed (log-normal, most are short), or all as long as may be."""
    random, most = Random(0), arguments.length - 24
    if arguments.lengths == "full":
        return [most] * count
    return [max(4, min(most, round(random.lognormvariate(math.log(most / 12), 0.9)))) for _ in range(count)]


def make_rows(path: Path, arguments: argparse.Namespace) -> None:
    """Write training rows; their texts mean nothing."""
    prompt, random = _prompt(), Random(1)
    rows = []
    for index, length in enumerate(row_lengths(arguments, arguments.steps * arguments.step_rows)):
        question = f"Add {random.randrange(10)} to {random.randrange(10)}."
        answer = " ".join(random.choice(["add", "to", "gives", "the", "is"]) for _ in range(length))
        rows.append(
            TrainingExample(
                id=str(index),
                messages=messages(prompt, question, answer),
                question=question,
                answer=answer,
                skills=[],
                recipe="benchmark",
                origin=Origin(seed_ids=[]),
            )
        )
    write_records(path, rows)


def _prompt() -> Any:
    student = read_settings([]).config.student
    assert isinstance(student, LocalStudent)
    return student.prompt


def make_job(folder: Path, place: Path, kind: str, arguments: argparse.Namespace) -> TrainJob:
    """Return the fine-tuning that a kind of ours is: one epoch, nothing saved on the way."""
    settings = read_settings([]).config.train
    assert isinstance(settings, SftTraining)
    few = {"epochs": 1, "effective_batch_size": arguments.step_rows, "device_batch_size": arguments.device_rows}
    few |= {"max_length": arguments.length, "checkpoints": 1, "learning_rate": 1e-4, "packing": "packed" in kind}
    return TrainJob(
        folder=folder,
        training_set=place / "rows.jsonl",
        model=str(place / "student"),
        revision=None,
        prompt=_prompt(),
        settings=settings.model_copy(update=few),
        strategy=Strategy(name="none", config={}),
        seed=0,
    )


# -- one measurement, in a process of its own -------------------------------------------------------------------------


def measure_ours(job: TrainJob) -> Measured:
    """Fine-tune as the pipeline does."""
    from transformers import AutoModelForCausalLM

    from stat_train.training import sft

    sft.train(job)
    told = json.loads((job.folder / "throughput.json").read_text())
    loss = json.loads((job.folder / "training.json").read_text())["final_loss"]
    model = AutoModelForCausalLM.from_pretrained(job.folder / "checkpoint")
    return Measured(
        told["tokens_per_second"],
        told["seconds"],
        loss,
        model.num_parameters(),
        told["device"],
        told["attention"],
        told["peak_memory_bytes"],
    )


def measure_trl(job: TrainJob, kind: str) -> Measured:
    """Fine-tune with TRL alone: it tokenizes and masks the conversations itself."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer

    from stat_train.training.throughput import Stopwatch

    on_gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    # TRL trains in bf16 with weights in fp32, as we do.
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    rows, lengths = _conversations(job, tokenizer)
    if kind in ("TRL, padded", "TRL, packed"):
        rows = [rows[index] for index in _our_order(job, lengths)]
    watch = Stopwatch()
    trainer = SFTTrainer(
        model=model.to("cuda" if on_gpu else "cpu"),
        args=_trl_config(job, kind, on_gpu),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return Measured(
        sum(lengths) / watch.seconds,
        watch.seconds,
        statistics.mean(losses[-max(1, len(losses) // 50) :]),
        model.num_parameters(),
        torch.cuda.get_device_name() if on_gpu else "cpu",
        model.config._attn_implementation,
        torch.cuda.max_memory_allocated() if on_gpu else None,
    )


def _conversations(job: TrainJob, tokenizer: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the rows as TRL takes them, and how many tokens each has."""
    examples = read_records(job.training_set, TrainingExample)
    rows = [{"prompt": row.messages[:-1], "completion": row.messages[-1:]} for row in examples]
    whole = [tokenizer.apply_chat_template(row.messages, return_dict=True)["input_ids"] for row in examples]
    return rows, [len(ids) for ids in whole]


def _our_order(job: TrainJob, lengths: Sequence[int]) -> list[int]:
    from stat_train.training.rows import ByLength

    order = ByLength(job.settings.effective_batch_size, list(lengths), job.seed)
    order.set_epoch(0)
    return list(order)


def _trl_config(job: TrainJob, kind: str, on_gpu: bool) -> Any:
    from trl import SFTConfig

    settings = job.settings
    common = {
        "output_dir": str(job.folder),
        "num_train_epochs": 1,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.device_batch_size,
        "gradient_accumulation_steps": settings.effective_batch_size // settings.device_batch_size,
        "max_length": settings.max_length,
        "use_cpu": not on_gpu,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if kind == "TRL, as it comes":
        return SFTConfig(**common)
    same = {
        "max_length": None,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_share,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.gradient_clip,
        "logging_steps": 1,
        "bf16": on_gpu,
        "gradient_checkpointing": on_gpu,
        "padding_free": "packed" in kind,
        "train_sampling_strategy": "random" if kind.endswith("random") else "sequential",
        "dataloader_pin_memory": on_gpu,
    }
    return SFTConfig(**common | same)


def worker(kind: str, place: Path, arguments: argparse.Namespace) -> None:
    """Measure one kind and print the result as the last line."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        folder.mkdir()
        job = make_job(folder, place, kind, arguments)
        measured = measure_ours(job) if kind.startswith("ours") else measure_trl(job, kind)
    print(json.dumps(measured._asdict()))


# -- all of them, and the table ---------------------------------------------------------------------------------------


def measure_all(kinds: Sequence[str], place: Path, given: Sequence[str], runs: int) -> dict[str, list[Measured]]:
    """Return the runs of each kind; they take turns, so that what else the machine does hits all of them."""
    found: dict[str, list[Measured]] = {kind: [] for kind in kinds}
    for turn in range(runs):
        for kind in kinds:
            command = [sys.executable, __file__, *given, "--worker", kind, "--place", str(place)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{kind}: {done.stderr.strip()[-2000:]}")
            found[kind].append(Measured(**json.loads(done.stdout.splitlines()[-1])))
            print(f"turn {turn + 1}: {kind}: {found[kind][-1].tokens_per_second:,.0f} tokens/s", flush=True)
    return found


def table(found: dict[str, list[Measured]], shape: str) -> list[str]:
    """Return the lines of the result."""
    some = next(iter(found.values()))[0]
    peak = next((value for name, value in PEAK_TFLOPS.items() if name in some.device), None)
    lines = [
        "| run | tokens/s (median; lowest to highest) | TFLOP/s | utilisation | peak memory | loss |",
        "|---|---|---|---|---|---|",
    ]
    for kind, runs in found.items():
        speeds = [run.tokens_per_second for run in runs]
        tflops = 6 * runs[0].parameters * statistics.median(speeds) / 1e12
        used = f"{tflops / peak:.1%}" if peak else "n/a"
        memory = f"{runs[0].peak_memory_bytes / 2**30:.1f} GiB" if runs[0].peak_memory_bytes else "n/a"
        speed = f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})"
        lines.append(f"| {kind}: {KINDS[kind]} | {speed} | {tflops:.3g} | {used} | {memory} | {runs[-1].loss:.4f} |")
    return [f"Attention: {some.attention}. Parameters of `{shape}`: {some.parameters:,}.", "", *lines]


def ratios(found: dict[str, list[Measured]]) -> list[str]:
    """Return what is compared, each as the median of the ratios of the turns."""
    pairs = {
        "ours / TRL, padded": ("ours, padded", "TRL, padded"),
        "ours / TRL, packed": ("ours, packed", "TRL, packed"),
        "ours as it comes / TRL as it comes": ("ours, as it comes", "TRL, as it comes"),
        "ours packed / TRL padded at random": ("ours, packed", "TRL, padded at random"),
        "ours packed / ours padded": ("ours, packed", "ours, padded"),
    }
    lines = ["| ratio of tokens/s | median | each turn |", "|---|---|---|"]
    for name, (first, second) in pairs.items():
        if first in found and second in found:
            each = [a.tokens_per_second / b.tokens_per_second for a, b in zip(found[first], found[second], strict=True)]
            lines.append(f"| {name} | {statistics.median(each):.3f} | {', '.join(f'{one:.2f}' for one in each)} |")
    if {"ours, packed", "ours, padded"} <= set(found):
        apart = abs(found["ours, packed"][0].loss - found["ours, padded"][0].loss)
        lines += ["", f"Loss per token, packed against padded (the same rows in each step): {apart:.1e} apart."]
    return lines


def parse_arguments(given: Sequence[str]) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--lengths", choices=["skewed", "full"], default="skewed", help="of the rows")
    parser.add_argument("--length", type=int, default=512, help="tokens of the longest row")
    parser.add_argument("--step-rows", type=int, default=16, help="rows of an optimizer step")
    parser.add_argument("--device-rows", type=int, default=8, help="rows of a forward pass")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps of a run")
    parser.add_argument("--runs", type=int, default=5, help="turns")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--output", type=Path, help="where the tables go; default: benchmarks/results")
    parser.add_argument("--worker", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    """Measure all kinds in turns, print the tables and write them down."""
    arguments = parse_arguments(given)
    if arguments.worker:
        worker(arguments.worker, arguments.place, arguments)
        return
    with TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_student(place / "student", arguments.shape)
        make_rows(place / "rows.jsonl", arguments)
        found = measure_all(arguments.kinds, place, given, arguments.runs)
    device = next(iter(found.values()))[0].device
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    where = f"{os.cpu_count()} CPU cores ({threads} threads), {platform.machine()}" if device == "cpu" else device
    command = " ".join(["python benchmarks/sft_throughput.py", *given])
    rows = f"{arguments.steps} steps of {arguments.step_rows} rows, {arguments.device_rows} in a forward pass"
    title = f"# Speed of fine-tuning: `{arguments.shape}`, {arguments.lengths} lengths up to {arguments.length} tokens"
    about = f"Made by `{command}` on {where}; {rows}; {arguments.runs} turns."
    text = "\n".join([title, "", about, *table(found, arguments.shape), "", *ratios(found), ""])
    print(text)
    output = arguments.output or RESULTS / f"sft_throughput_{arguments.shape}.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
