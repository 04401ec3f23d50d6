"""Small trainings: students of random weights, rows of the embedded task, and settings as a user would give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import tokenizers
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stat_train.compose import read_settings
from stat_train.models.places import SHIPPED
from stat_train.records import Origin, TrainingExample
from stat_train.store import write_records
from stat_train.tasks.arithmetic import world
from stat_train.training.job import TrainJob

TEMPLATES = Path(__file__).parents[1] / "fixtures" / "chat_templates"


def make_student(folder: Path, tokenizer: Any = None, layers: int = 2) -> Path:
    """Write a Llama of random weights, with the embedded student's tokenizer if no other is given."""
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(SHIPPED["tiny"])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def character_tokenizer(special: Sequence[str], template: str, **named: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single characters and the special tokens of a chat template."""
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: index for index, token in enumerate([*special, "<unknown>", *characters])}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unknown>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = tokenizers.decoders.Fuse()
    core.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unknown>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **named,
    )


def examples(count: int, seed: int = 0) -> list[TrainingExample]:
    """Return rows of the embedded task."""
    random, family = Random(seed), world.Family()
    made = [world.make_question(random, family, f"q{index}", "pool") for index in range(count)]
    return [row(question.id, question.question, question.solution or "") for question in made]


def row(id: str, question: str, answer: str, recipe: str = "stat_sel") -> TrainingExample:
    """Return one row."""
    return TrainingExample(
        id=id,
        messages=[{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        question=question,
        answer=answer,
        skills=["add"],
        recipe=recipe,
        origin=Origin(question_id=id, skill="add", seed_ids=[id], call_ids=[]),
    )


def make_job(folder: Path, student: Path | str, rows: Sequence[TrainingExample], *settings: str) -> TrainJob:
    """Return a training of `rows` in a folder; 8 rows a step, one epoch and small steps unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "training_set.jsonl", rows)
    few = ["train.epochs=1", "train.effective_batch_size=8", "train.device_batch_size=8"]
    config = read_settings(["student=local", f"student.model={student}", *_with_few(settings, few)]).config
    return TrainJob(
        folder=folder,
        training_set=folder / "training_set.jsonl",
        model=str(student),
        revision=None,
        prompt=config.student.prompt,
        settings=config.train,
        strategy=config.deepspeed,
        seed=0,
    )


def _with_few(settings: Sequence[str], few: Sequence[str]) -> list[str]:
    given = {text.partition("=")[0] for text in settings}
    return [*(text for text in few if text.partition("=")[0] not in given), *settings]


def metrics(folder: Path, name: str = "loss") -> list[float]:
    """Return what was logged, one number a step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows]


def result(folder: Path) -> dict[str, Any]:
    """Return `training.json`."""
    return dict(json.loads((folder / "training.json").read_text()))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file that a training makes, less those of the time it took."""
    of_time = ("throughput.json", "device_seconds.json")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in of_time]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ending_after(step: int) -> Callable[..., None]:
    """Return what ends a training in the middle of a step, as a failing machine would, once it has made `step`."""

    def end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step:
            raise KeyboardInterrupt

    return end
