"""Make a tiny student from scratch: `torchrun --nproc-per-node 2 -m stat_train.training.pretrain --output DIR`.

The student is a standard Llama-architecture checkpoint with tokenizer and chat template. Its skill gaps come from its
training mix alone: skills are weak because they are rare in the mix, or because they are hard. Each process takes its
share of every batch; two processes of one thread are faster on two cores than one of two. Where there is a GPU, it is
used; `--hidden-size` and `--layers` make larger students of the same family.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

from stat_train.tasks.arithmetic import world
from stat_train.tasks.arithmetic.mixes import MIXES
from stat_train.tasks.arithmetic.skills import SKILL_NAMES

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# A tiny student for the `arithmetic` task (mix {mix}, seed {seed})

A Llama-architecture model of {parameters} parameters, trained from scratch on chains of 1 to 3 named arithmetic
skills. Its gaps come from its training mix alone. Made by

    torchrun --nproc-per-node {processes} -m stat_train.training.pretrain {options} --output DIR

in {seconds} seconds {machine}. On the way: {points}.

Greedy accuracy on single-skill questions ({card_questions} a skill, none trained on):

| skill | share of the training mix | accuracy |
|---|---|---|
{rows}
"""
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|unknown|>", "<|user|>", "<|assistant|>"]
RANK, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEAD_SIZE = 32
# Questions answered at a time.
BATCH = 500
WORD = Regex(r" ?[A-Za-z]+| ?\d|\n\n| ?[^\sA-Za-z\d]|\s")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer with single digits, over the words that the task can write."""
    splitter = pre_tokenizers.Split(WORD, behavior="isolated")
    random, words = Random("tokenizer"), set[str]()
    for index in range(20_000):
        question = world.make_question(random, world.Family(unseen_phrasings=index % 8 == 0), "", "pool")
        for text in (question.question, question.solution or ""):
            words.update(word for word, _ in splitter.pre_tokenize_str(text))
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unknown|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, hidden_size: int = 128, layers: int = 3) -> LlamaForCausalLM:
    """Return an untrained student, of about 0.7 million parameters where no other size is given."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // HEAD_SIZE,
        num_key_value_heads=hidden_size // HEAD_SIZE,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, seed: int, mix: str, examples: int) -> list[tuple[list[int], int]]:
    """Return (token ids, length of the prompt) of freshly made training examples of the mix."""
    random, family = Random(f"pretrain/{seed}/{mix}"), world.Family(weights=MIXES[mix])
    made = [world.make_question(random, family, "", "pool") for _ in range(examples)]
    prompts = tokenizer([f"<|user|>{question.question}<|assistant|>" for question in made])["input_ids"]
    answers = tokenizer([f"{question.solution}<|end|>" for question in made])["input_ids"]
    return [(prompt + answer, len(prompt)) for prompt, answer in zip(prompts, answers, strict=True)]


def batches(
    encoded: list[tuple[list[int], int]], batch_size: int, seed: int, padding: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield shuffled batches of examples of similar length; the loss counts the answer only."""
    random, order = Random(seed), list(range(len(encoded)))
    random.shuffle(order)
    span = 50 * batch_size
    groups = [sorted(order[i : i + span], key=lambda j: len(encoded[j][0])) for i in range(0, len(order), span)]
    chunks = [group[i : i + batch_size] for group in groups for i in range(0, len(group), batch_size)]
    random.shuffle(chunks)
    for chunk in chunks:
        mine = chunk[RANK::PROCESSES]
        longest = max(len(encoded[j][0]) for j in mine)
        ids = torch.full((len(mine), longest), padding)
        labels = torch.full((len(mine), longest), -100)
        for row, j in enumerate(mine):
            tokens, prompt = encoded[j]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        yield {"input_ids": ids.to(DEVICE), "labels": labels.to(DEVICE)}


def pretrain(arguments: argparse.Namespace) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, list[dict[str, float]]]:
    """Train a student and return it with its tokenizer and its curve (step, loss, accuracy in percent, seconds)."""
    torch.manual_seed(arguments.seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, arguments.hidden_size, arguments.layers).to(DEVICE)
    encoded = encode(tokenizer, arguments.seed, arguments.mix, arguments.examples)
    steps = math.ceil(len(encoded) / arguments.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 50, steps)
    curve, started = [], time.monotonic()
    stream = batches(encoded, arguments.batch_size, arguments.seed, tokenizer.pad_token_id)
    for step, batch in enumerate(stream):
        loss = model(**batch).loss
        loss.backward()
        _average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if RANK == 0 and (step % max(1, steps // 8) == 0 or step == steps - 1):
            scores = skill_accuracies(model.eval(), tokenizer, per_skill=50)
            model.train()
            accuracy = sum(scores.values()) / len(scores)
            curve.append(
                {"step": step, "loss": loss.item(), "accuracy": accuracy, "seconds": time.monotonic() - started}
            )
            print(json.dumps(curve[-1] | scores), flush=True)
    return model.eval(), tokenizer, curve


def _average_gradients(model: LlamaForCausalLM) -> None:
    if PROCESSES == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / PROCESSES
    torch.distributed.all_reduce(flat)
    for gradient, averaged in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def skill_accuracies(model: Any, tokenizer: Any, per_skill: int) -> dict[str, float]:
    """Return the student's greedy accuracy in percent on single-step questions of the validation split, per skill."""
    asked = []
    for name in SKILL_NAMES:
        random, family = Random(f"card/{name}"), world.Family(steps=(1, 1), weights={name: 1.0})
        asked += [world.make_question(random, family, "", "validation") for _ in range(per_skill)]
    # All in few batches: a GPU takes as long for a batch of one skill as for one of them all.
    right = [
        each for start in range(0, len(asked), BATCH) for each in _right(model, tokenizer, asked[start : start + BATCH])
    ]
    parts = {name: right[place * per_skill : (place + 1) * per_skill] for place, name in enumerate(SKILL_NAMES)}
    return {name: round(100 * sum(part) / per_skill, 1) for name, part in parts.items()}


@torch.inference_mode()
def _right(model: Any, tokenizer: Any, asked: Sequence[Any]) -> list[bool]:
    prompts = [f"<|user|>{question.question}<|assistant|>" for question in asked]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(DEVICE)
    output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.endswith(f"The answer is {q.answer}.") for text, q in zip(texts, asked, strict=True)]


def model_card(
    arguments: argparse.Namespace, parameters: int, scores: dict[str, float], curve: list[dict[str, float]]
) -> str:
    """Return the student's model card as Markdown."""
    mix, total = MIXES[arguments.mix], sum(MIXES[arguments.mix].values())
    names = ("mix", "seed", "examples", "batch_size", "learning_rate", "hidden_size", "layers")
    on_cpu = f"with {PROCESSES} processes of one thread on a CPU"
    options = " ".join(f"--{name.replace('_', '-')} {getattr(arguments, name)}" for name in names)
    points = "; ".join(f"step {row['step']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.1f} %" for row in curve)
    rows = [f"| {name} | {100 * mix[name] / total:.1f} % | {scores[name]:.1f} % |" for name in SKILL_NAMES]
    return CARD.format(
        **vars(arguments),
        options=options,
        processes=PROCESSES,
        parameters=f"{parameters:,}",
        machine="on one GPU" if DEVICE == "cuda" else on_cpu,
        seconds=round(curve[-1]["seconds"]),
        points=points,
        rows="\n".join(rows),
    )


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--mix", choices=sorted(MIXES), default="a", help="how often each skill is trained")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=320_000, help="training examples, each seen once")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--hidden-size", type=int, default=128, help=f"a multiple of {HEAD_SIZE}")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--card-questions", type=int, default=300, help="questions per skill for the model card")
    arguments = parser.parse_args()
    if arguments.hidden_size < HEAD_SIZE or arguments.hidden_size % HEAD_SIZE:
        parser.error(f"--hidden-size {arguments.hidden_size}: expected a multiple of {HEAD_SIZE}, the size of a head")
    return arguments


def main() -> None:
    """Train a student and write its checkpoint, loss curve and model card."""
    arguments = parse_arguments()
    if PROCESSES > 1:
        torch.distributed.init_process_group("gloo")
    model, tokenizer, curve = pretrain(arguments)
    if RANK != 0:
        return
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    scores = skill_accuracies(model, tokenizer, arguments.card_questions)
    (arguments.output / "curve.json").write_text(json.dumps(curve) + "\n")
    (arguments.output / "README.md").write_text(model_card(arguments, model.num_parameters(), scores, curve))
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
