"""What is wrong between the settings of training, of reinforcement learning, of its processes and of rounds."""

from __future__ import annotations

from pathlib import Path

from stat_train.batches import cannot_split
from stat_train.config import Config, LocalStudent, absent_file, is_local
from stat_train.errors import did_you_mean
from stat_train.task_settings import ArithmeticTask
from stat_train.train_settings import ExternalTraining, GrpoTraining, SftTraining

LONGER_CHAINS = "longer_chains"
PROMPTS = ("pool", "profile", "training_set", LONGER_CHAINS)


def check_training(config: Config) -> list[str]:
    """Return what is wrong between the settings of fine-tuning."""
    train = config.train
    if isinstance(train, ExternalTraining):
        return _check_checkpoint(train.checkpoint)
    if not isinstance(train, SftTraining):
        return []
    problems = _check_adapters(train, config.deepspeed.name)
    rates = train.learning_rates or []
    twice = sorted({rate for rate in rates if rates.count(rate) > 1})
    problems += [f"train.learning_rates = {rates}: {rate} is named twice; expected each rate once" for rate in twice]
    if train.processes is not None and (problem := cannot_train(train, train.processes * train.nodes)):
        problems.append(problem)
    return problems


def _check_checkpoint(place: str) -> list[str]:
    path = Path(place).expanduser()
    # OWNER/NAME may be on the hub.
    if path.exists() or not (place.startswith((".", "/", "~")) or place.count("/") > 1):
        return []
    where = f"no such folder (looked in {path.absolute().parent})"
    return [f"train.checkpoint = {place}: {where}; expected a checkpoint folder, or the name of a hub model"]


def cannot_train(train: SftTraining, processes: int) -> str | None:
    """Return why so many processes cannot share the rows of a step of fine-tuning; None when they can."""
    rows = train.effective_batch_size
    return f"train.effective_batch_size = {rows}: {cannot_split(rows, processes)}" if rows % processes else None


def cannot_reinforce(rl: GrpoTraining, processes: int) -> str | None:
    """Return why so many processes cannot share the answers of an update; None when they can."""
    answers = rl.questions_per_update * rl.rollouts
    if answers % processes == 0:
        return None
    given = f"rl.questions_per_update = {rl.questions_per_update}: with rl.rollouts = {rl.rollouts}, {answers} answers"
    return f"{given} an update, which {cannot_split(answers, processes)}"


def _check_adapters(train: SftTraining, strategy: str) -> list[str]:
    if train.lora is None and train.name != "sft":
        return [
            f"train.lora = null: train={train.name} trains adapters; give the settings of train.lora.*, or train=sft"
        ]
    given = "train.load_in_4bit = true"
    if not train.load_in_4bit:
        return []
    if train.lora is None:
        return [f"{given}: weights of 4 bits cannot be trained themselves; use train=sft_qlora, which trains adapters"]
    if strategy.startswith("zero3"):
        return [f"{given}: deepspeed={strategy} cannot spread weights of 4 bits; use deepspeed=zero2 or train=sft_lora"]
    return []


def check_reinforcement(config: Config) -> list[str]:
    """Return what is wrong between the settings of reinforcement learning, and with what it starts from."""
    rl, train = config.rl, config.train
    if not isinstance(rl, GrpoTraining):
        return []
    problems = _check_longer_chains(config, rl) if rl.prompts == LONGER_CHAINS else _check_prompts(rl.prompts)
    if config.task.grader == "judge" and config.reaches("rl"):
        problems.append(
            f"rl = {rl.name}: task.grader=judge would ask the teacher for every reward; use another task.grader, such "
            "as math, or rl=none"
        )
    if isinstance(train, SftTraining) and train.lora and not train.lora.merge:
        problems.append(
            f"rl = {rl.name}: starts from whole weights, and train.lora.merge=false leaves an adapter; use "
            "train.lora.merge=true"
        )
    if rl.vllm.mode == "server" and rl.vllm.base_url is None and rl.engine != "transformers":
        problems.append(
            "rl.vllm.base_url = null: rl.vllm.mode=server needs where the server is, such as "
            "rl.vllm.base_url=http://host:8000"
        )
    if rl.questions_per_batch % rl.questions_per_update:
        problems.append(
            f"rl.questions_per_batch = {rl.questions_per_batch}: expected a multiple of rl.questions_per_update = "
            f"{rl.questions_per_update}, the questions of one update"
        )
    if rl.questions is not None and rl.questions < rl.questions_per_batch:
        problems.append(
            f"rl.questions = {rl.questions}: expected at least rl.questions_per_batch = {rl.questions_per_batch}, or "
            "there is no batch"
        )
    if rl.processes is not None and (problem := cannot_reinforce(rl, rl.processes * rl.nodes)):
        problems.append(problem)
    return problems


def _check_prompts(prompts: str) -> list[str]:
    if prompts in PROMPTS:
        return []
    if is_local(prompts) or "/" in prompts:
        problem = absent_file("rl.prompts", prompts)
        return [problem] if problem else []
    expected = f"expected {', '.join(PROMPTS)}, a file of questions (JSONL or Parquet) or OWNER/NAME on the hub"
    return [f"rl.prompts = {prompts}: {expected}.{did_you_mean(prompts, PROMPTS)}"]


def _check_longer_chains(config: Config, rl: GrpoTraining) -> list[str]:
    given, problems = f"rl.prompts = {LONGER_CHAINS}", []
    if not isinstance(config.task, ArithmeticTask):
        remedy = "use rl.prompts=profile, or a file of longer questions"
        problems.append(f"{given}: only task=arithmetic makes questions, task={config.task.name} has them; {remedy}")
    if rl.questions is None:
        made = "makes as many as are wanted; give a number, such as rl.questions=4800"
        problems.append(f"rl.questions = null: {given.replace(' ', '')} {made}")
    return problems


def check_rounds(config: Config) -> list[str]:
    """Return what is wrong between rounds and the rest: each but the first needs the model of the one before."""
    count, problems = config.rounds.count, _check_validation_of_rounds(config)
    given, train = f"rounds.count = {count}", config.train
    if count == 1:
        return problems
    if not isinstance(config.student, LocalStudent):
        problems.append(
            f"{given}: a round asks the model that the one before has trained, and student={config.student.name} has "
            "no weights here; use student=local, or rounds=1"
        )
    elif isinstance(train, ExternalTraining):
        problems.append(f"{given}: train=external trains nothing, so every round would be the same; use rounds=1")
    elif not isinstance(train, SftTraining) and not isinstance(config.rl, GrpoTraining):
        problems.append(f"{given}: nothing is trained between rounds; use another train=, rl=grpo, or rounds=1")
    if isinstance(train, SftTraining) and train.lora and not train.lora.merge:
        problems.append(
            f"{given}: a round goes on from whole weights, and train.lora.merge=false leaves an adapter; use "
            "train.lora.merge=true"
        )
    return problems


def _check_validation_of_rounds(config: Config) -> list[str]:
    validation, count = config.rounds.validation, config.rounds.count
    arithmetic = isinstance(config.task, ArithmeticTask)
    given = f"rounds.validation = {validation}"
    if validation == "new" and not arithmetic:
        return [f"{given}: only task=arithmetic can make questions; give a list of files or hub names, or use same"]
    if not isinstance(validation, list):
        return []
    if arithmetic:
        return [f"{given}: task=arithmetic makes its questions; use new or same"]
    problems = [problem for place in validation if (problem := absent_file("rounds.validation", place))]
    if len(validation) >= count:
        later = f"rounds.count = {count} has {count - 1} after the first" if count > 1 else "rounds.count = 1 has none"
        problems.append(f"{given}: is for the rounds after the first, and {later}; give as many at most")
    return problems
