"""Reinforcement learning: what the student is asked, what it learns from, and where an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from trl import GRPOTrainer

from stat_train import stage
from stat_train.compose import read_settings
from stat_train.config import Config, Prompt
from stat_train.errors import STOPPED, StatTrainError, UserError
from stat_train.models.transformers import load_model, load_tokenizer
from stat_train.records import Question
from stat_train.store import lease, write_records
from stat_train.tasks.answers import Judgement
from stat_train.tasks.arithmetic import world
from stat_train.tasks.graders import Pair, PlainGrader
from stat_train.tasks.prompts import PromptRenderer, messages
from stat_train.training import grpo
from stat_train.training.grpo_trainer import Asked, by_length, without_padding
from stat_train.training.job import RlJob, rl_job
from stat_train.training.resume import Start
from stat_train.training.world import World

FEW = [
    "rl=grpo",
    "rl.questions_per_batch=4",
    "rl.questions_per_update=2",
    "rl.rollouts=4",
    "rl.max_new_tokens=40",
    "rl.device_batch_size=4",
    "rl.generation_batch_size=8",
]
QUESTIONS = list(world.questions("rl", "pool", "rl", 8, world.Family(steps=(1, 2))))


def settings(*arguments: str) -> Config:
    return read_settings([*FEW, *arguments]).config


def make_job(folder: Path, *arguments: str, questions: Sequence[Question] = QUESTIONS) -> RlJob:
    folder.mkdir(exist_ok=True)
    write_records(folder / "questions.jsonl", questions)
    return rl_job(settings(*arguments), folder, folder / "questions.jsonl", "tiny")


def make_trainer(job: RlJob, grader: Any = None) -> Any:
    asked, _ = grpo.ask(job)
    arguments = grpo.grpo_config(job, asked, vllm=False)
    model = load_model("tiny", None, dtype=torch.float32)
    trainer = grpo.make_trainer(job, asked, grader or PlainGrader("exact"), arguments, model)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = arguments.gradient_accumulation_steps
    return trainer


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RlJob:
    """Train for two batches of answers, two updates each."""
    job = make_job(tmp_path_factory.mktemp("rl") / "whole", "rl.learning_rate=1.0e-3")
    grpo.train(job)
    return job


# -- what is trained --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_made_of_weights_that_all_moved(trained: RlJob) -> None:
    before, after = (load_model(name, None, torch.float32) for name in ("tiny", str(trained.folder / "checkpoint")))
    still = [name for name, value in before.named_parameters() if torch.equal(value, after.get_parameter(name))]
    assert still == []
    assert not (trained.folder / "trainer").exists()


def test_every_update_is_logged(trained: RlJob) -> None:
    rows = metrics(trained.folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    always = {"reward", "same_reward_share", "answer_tokens", "cut_off_share", "clip_share", "unscored_share"}
    assert all(always | {"loss", "kl_to_start", "entropy"} <= set(row) for row in rows)
    # Two updates learn from the same answers; the first is on-policy, so nothing can be clipped.
    assert rows[0]["reward"] == rows[1]["reward"] and rows[0]["clip_share"] == 0.0
    assert all(row["unscored_share"] == 0.0 for row in rows)


def test_the_reward_of_a_skill_is_that_of_its_questions(trained: RlJob) -> None:
    """All eight questions are asked once in an epoch, so the two batches together name each of their skills."""
    named = {key for row in metrics(trained.folder) for key in row if key.startswith("reward/skill/")}
    assert named == {f"reward/skill/{skill}" for question in QUESTIONS for skill in question.skills or []}


def test_what_was_trained_is_told(trained: RlJob) -> None:
    told = json.loads((trained.folder / "training.json").read_text())
    tokenizer = load_tokenizer("tiny", None)
    assert told["prompt_hash"] == PromptRenderer(tokenizer, trained.prompt).hash()
    assert (told["questions"], told["steps"], told["answers_per_step"]) == (8, 4, 8)


def test_a_finished_training_is_not_done_again(trained: RlJob) -> None:
    checkpoint = trained.folder / "checkpoint" / "model.safetensors"
    made = checkpoint.stat().st_mtime_ns
    grpo.train(trained)
    assert checkpoint.stat().st_mtime_ns == made


def test_an_interrupted_training_goes_on_to_the_same_numbers(trained: RlJob, tmp_path: Path) -> None:
    """Asked to stop from the start, it stops after the second update, where the first batch of answers is used up."""
    stop = tmp_path / "STOP"
    job = make_job(tmp_path / "halves", "rl.learning_rate=1.0e-3").model_copy(update={"stop_file": stop})
    stop.touch()
    with pytest.raises(StatTrainError, match="stopped at step 2 of 4") as caught:
        grpo.train(job)
    assert caught.value.exit_code == STOPPED
    stop.unlink()
    grpo.train(job)
    assert metrics(job.folder) == metrics(trained.folder)


def test_states_are_saved_only_where_a_batch_of_answers_is_used_up(tmp_path: Path) -> None:
    """Four batches of two updates, saved once on the way: after the second, update 4. Twice: every second one too."""
    job = make_job(tmp_path, "rl.epochs=2", "rl.checkpoints=1")
    assert grpo.grpo_config(job, grpo.ask(job)[0], vllm=False).save_steps == 4
    job = make_job(tmp_path, "rl.epochs=2", "rl.checkpoints=3")
    assert grpo.grpo_config(job, grpo.ask(job)[0], vllm=False).save_steps == 2


# -- what is asked ----------------------------------------------------------------------------------------------------


def like_llama_3() -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts its first token before every text, and whose chat template writes it too."""
    special = ["<|begin|>", "<|end|>", "<|unknown|>", "<|user|>", "<|assistant|>"]
    words = sorted({word for question in QUESTIONS for word in question.question.replace(".", " .").split()})
    ids = {word: index for index, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        unk_token="<|unknown|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template="{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    )


def test_the_student_is_asked_with_the_tokens_that_it_is_asked_with_elsewhere(tmp_path: Path) -> None:
    """The library's way of reading a rendered prompt puts the first token there twice."""
    tokenizer, prompt = like_llama_3(), Prompt(system=None, template="{question}", chat_template_arguments={})
    renderer = PromptRenderer(tokenizer, prompt)
    texts = [renderer.question_text(messages(prompt, question.question)) for question in QUESTIONS]
    trainer = make_trainer(make_job(tmp_path))
    trainer.processing_class = tokenizer
    trainer.asked = Asked(QUESTIONS, texts, renderer, {1})
    ids, images, fields = trainer._tokenize_prompts(texts)
    assert ids == [renderer.token_ids(text) for text in texts]
    assert (images, fields) == (None, {})
    assert all(row.count(0) == 1 for row in ids)
    theirs, _, _ = GRPOTrainer._tokenize_prompts(trainer, texts)
    assert all(row[:2] == [0, 0] for row in theirs)


def test_each_epoch_has_an_order_of_its_own_that_is_found_again(tmp_path: Path) -> None:
    """The trainer tells the order its epoch, for the library does not when it skips batches in several processes."""
    trainer = make_trainer(make_job(tmp_path))
    loader = trainer.get_train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        trainer.order.set_epoch(epoch)
        orders.append(list(trainer.order))
    assert orders[0] == orders[2] != orders[1]
    trainer.order.set_epoch(1)
    assert loader.batch_sampler.sampler is trainer.order and next(iter(loader))[0]["row"] == orders[1][0]


def test_a_checkpoint_says_what_it_is_and_others_may_read_it(trained: RlJob) -> None:
    card = (trained.folder / "checkpoint" / "README.md").read_text()
    digest = hashlib.sha256(trained.questions.read_bytes()).hexdigest()
    assert f"| SHA-256 of questions.jsonl | {digest} |" in card and "| updates | 4 |" in card
    assert "| rl.rollouts | " in card and "- grpo" in card.split("---")[1]
    rights = {path.stat().st_mode & 0o777 for path in (trained.folder / "checkpoint").iterdir()}
    (trained.folder / "like").touch()
    assert rights == {(trained.folder / "like").stat().st_mode & 0o777}


def test_what_ends_an_answer_is_the_renderers_and_the_checkpoints(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    asked, _ = grpo.ask(job)
    stops = set(asked.stops)
    model = grpo.student(job, Start(None, weights_only=False), asked.stops)
    assert stops == {1} and asked.stops == {1}
    model.generation_config.eos_token_id = [1, 7]
    trainer = grpo.make_trainer(job, asked, PlainGrader("exact"), grpo.grpo_config(job, asked, vllm=False), model)
    assert trainer.generation_config.eos_token_id == [1, 7]


def test_a_question_that_leaves_no_room_for_an_answer_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """The tiny student takes 512 tokens; 40 of them are for the answer."""
    long = Question(id="long", question="5 " * 480, answer="5")
    asked, dropped = grpo.ask(make_job(tmp_path, questions=[*QUESTIONS, long]))
    assert [question.id for question in asked.questions] == [question.id for question in QUESTIONS]
    assert [(row.stage, row.id, row.reason) for row in dropped] == [("rl", "long", "too long")]
    assert dropped[0].detail.endswith("rl.max_new_tokens = 40; the student takes 512")


# -- what is learned from ---------------------------------------------------------------------------------------------


class Scripted:
    """Gives verdicts in the order of a script, whatever is answered."""

    reads_text, needs_gold = True, False

    def __init__(self, *verdicts: str) -> None:
        self.verdicts = verdicts

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [Judgement(verdict) for verdict, _ in zip(self.verdicts, pairs, strict=True)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """Return a trainer, and a batch of four answers to a question of which the third cannot be scored."""
    one = ("rl.questions_per_batch=1", "rl.questions_per_update=1", "rl.max_new_tokens=12", "rl.scale_rewards=group")
    job = make_job(tmp_path_factory.mktemp("unscored"), *one)
    trainer = make_trainer(job, Scripted("correct", "wrong", "unscored", "wrong"))
    torch.manual_seed(0)
    return trainer, trainer._generate_and_score_completions([trainer.train_dataset[0]] * 4)


def gradient(trainer: Any, batch: dict[str, Any]) -> torch.Tensor:
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    return torch.cat([value.grad.flatten() for value in trainer.model.parameters()])


def test_an_unscored_answer_has_no_advantage_and_no_part_in_the_others(unscored: tuple[Any, dict[str, Any]]) -> None:
    """Of the rewards 1, 0, 0 that are left the mean is 1/3 and the standard deviation sqrt(6/9 / 2)."""
    spread = math.sqrt(6 / 9 / 2) + 1e-4
    expected = [2 / 3 / spread, -1 / 3 / spread, 0.0, -1 / 3 / spread]
    advantages = unscored[1]["advantages"].tolist()
    assert advantages == pytest.approx(expected, rel=1e-5)
    assert advantages[2] == 0.0
    assert unscored[0].batch_numbers["unscored_share"] == 0.25
    assert unscored[0].batch_numbers["reward"] == pytest.approx(1 / 3)


def test_an_unscored_answer_moves_nothing(unscored: tuple[Any, dict[str, Any]]) -> None:
    """Whatever it says, the gradient is the same to the last bit; what a scored one says does count."""
    trainer, batch = unscored
    whole = gradient(trainer, batch)
    assert whole.abs().max() > 0
    for row, same in ((2, True), (1, False)):
        changed = batch["completion_ids"].clone()
        changed[row] = changed[row].roll(1)
        assert torch.equal(gradient(trainer, batch | {"completion_ids": changed}), whole) is same


def test_questions_without_any_answer_are_refused(tmp_path: Path) -> None:
    unanswered = [question.model_copy(update={"answer": None}) for question in QUESTIONS]
    with pytest.raises(UserError, match=r"rl\.prompts: none of the 8 questions has a gold answer"):
        grpo.train(make_job(tmp_path, questions=unanswered))


@pytest.mark.parametrize("loss", ["grpo", "dapo"])
def test_padding_and_the_order_of_passes_do_not_change_an_update(loss: str, tmp_path: Path) -> None:
    """The gradient of an update, summed over its passes: with rows sorted and padding cut off, and as they come."""
    trainer = make_trainer(make_job(tmp_path, f"rl.loss={loss}"), Scripted(*["correct", "wrong"] * 8))
    torch.manual_seed(0)
    rows = [trainer.train_dataset[index] for index in (0, 1, 2, 3) for _ in range(4)]
    batch = trainer._generate_and_score_completions(rows)
    passes = [
        {key: value[at : at + 4] if value.dim() else value for key, value in batch.items()} for at in (0, 4, 8, 12)
    ]
    sorted_passes = [without_padding(one) for one in by_length(passes, 2)]
    for start in (0, 2):
        plain = sum(gradient(trainer, one) for one in passes[start : start + 2])
        ours = sum(gradient(trainer, one) for one in sorted_passes[start : start + 2])
        assert torch.allclose(ours, plain, rtol=1e-3, atol=1e-6) and plain.abs().max() > 1e-3
    widths = [one["completion_ids"].size(1) + one["prompt_ids"].size(1) for one in sorted_passes]
    whole = batch["completion_ids"].size(1) + batch["prompt_ids"].size(1)
    assert sum(widths) < 4 * whole


def test_answers_that_teach_nothing_take_no_time(tmp_path: Path) -> None:
    """Of four questions in one update, the answers to two got the same reward: half of the passes are of one row."""
    job = make_job(tmp_path, "rl.questions_per_update=4")
    verdicts = ["correct", "wrong", "wrong", "wrong", *["wrong"] * 4, *["correct"] * 3, "wrong", *["correct"] * 4]
    trainer = make_trainer(job, Scripted(*verdicts))
    torch.manual_seed(0)
    rows = [trainer.train_dataset[index] for index in (0, 1, 2, 3) for _ in range(4)]
    passes = []
    for step in range(4):
        trainer._step = step
        passes.append(trainer._prepare_inputs(rows))
    assert [len(one["completion_ids"]) for one in passes] == [4, 4, 1, 1]
    assert all(one["advantages"].all() for one in passes[:2])
    trainer._metrics["train"].clear()
    losses = [gradient(trainer, one).abs().max().item() > 0 for one in passes]
    assert losses == [True, True, False, False]
    assert len(trainer._metrics["train"]["entropy"]) == 2


# -- how far it moved -------------------------------------------------------------------------------------------------


def test_the_distance_from_the_start_is_measured_on_its_own_answers(tmp_path: Path) -> None:
    """The mean of log p(start) - log p(now) over the answers' tokens, computed here from the logits."""
    trainer = make_trainer(make_job(tmp_path))
    torch.manual_seed(0)
    trainer._generate_and_score_completions([trainer.train_dataset[index] for index in (0, 1) for _ in range(4)])
    assert trainer.drift.measure(trainer) == pytest.approx(0.0, abs=1e-7)
    answers = trainer.drift.start["answers"]
    before = log_probabilities(trainer.model, answers)
    with torch.no_grad():
        for value in trainer.model.parameters():
            value.mul_(1.05)
    after = log_probabilities(trainer.model, answers)
    assert trainer.drift.measure(trainer) == pytest.approx((before - after).mean().item(), rel=1e-3)
    assert (before - after).mean() > 1e-3


@torch.no_grad()
def log_probabilities(model: Any, answers: list[dict[str, list[int]]]) -> torch.Tensor:
    found = []
    for answer in answers:
        prompt, completion = answer["prompt"], answer["completion"]
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(found)


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return the trainer's settings for 512 questions."""

    def arguments(*given: str) -> Any:
        config = read_settings(list(given)).config
        job = make_job(tmp_path).model_copy(update={"settings": config.rl})
        asked, _ = grpo.ask(make_job(tmp_path))
        return grpo.grpo_config(job, asked._replace(questions=QUESTIONS * 64, texts=asked.texts * 64), vllm=False)

    yield arguments


def test_the_papers_settings_in_the_librarys_terms(many: Callable[..., Any]) -> None:
    found = many("rl=paper")
    assert found.per_device_train_batch_size * found.gradient_accumulation_steps == 256
    assert (found.generation_batch_size, found.num_generations) == (1024, 4)
    assert (found.beta, found.entropy_coef, found.num_iterations) == (0.0, 0.0, 1)
    assert (found.loss_type, found.scale_rewards) == ("grpo", "group")
    assert (found.learning_rate, found.lr_scheduler_type.value, found.warmup_steps) == (5e-7, "constant", 0)
    assert (found.max_completion_length, found.num_train_epochs) == (2048, 6)
    assert (found.temperature, found.top_p, found.top_k) == (1.0, 1.0, 0)


def test_answers_are_split_over_processes(many: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"rl\.questions_per_update x rl\.rollouts = 256: cannot be split .* over 3"):
        many("rl=paper")


def test_fewer_questions_than_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rl\.questions_per_batch = 4: there are 3 questions"):
        grpo.ask(make_job(tmp_path, questions=QUESTIONS[:3]))


def test_questions_that_do_not_fill_a_batch_are_told() -> None:
    told = grpo.opening(settings().rl, 11, "transformers")  # type: ignore[arg-type]
    assert told == (
        "11 questions, 4 updates an epoch of 2 x 4 answers, made by transformers; each epoch leaves out 3 that do not "
        "fill a batch, not the same ones"
    )


def test_the_papers_choice_trains(tmp_path: Path) -> None:
    sizes = ["rl=paper", "rl.questions_per_batch=4", "rl.questions_per_update=1", "rl.epochs=1", "rl.max_new_tokens=8"]
    job = make_job(tmp_path, *sizes, questions=QUESTIONS[:4])
    grpo.train(job)
    assert [row["learning_rate"] for row in metrics(tmp_path)] == [5e-7] * 4


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    """Six updates with ZeRO-2, two to a batch: the numbers are of both processes' answers, in one checkpoint.

    A batch's answers are shuffled, so there are passes that one process alone learns from.
    """
    questions = list(world.questions("two", "pool", "two", 6, world.Family(steps=(1, 2))))
    sizes = ["deepspeed=zero2", "rl.questions_per_batch=2", "rl.questions_per_update=1", "rl.max_new_tokens=16"]
    job = make_job(tmp_path / "rl", *sizes, questions=questions)
    with lease(tmp_path / "rl.lease"):
        stage.train("rl", job, job.folder, World(1, 2), job.strategy)
    rows = metrics(job.folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # Two questions with four answers each, so the mean is in eighths.
    assert all((8 * row["reward"]).is_integer() for row in rows)
    assert rows[0]["kl_to_start"] == pytest.approx(0.0, abs=0.05)
    assert load_model(str(job.folder / "checkpoint"), None, torch.float32)
