"""Settings that are wrong: what is said about each, alone and with others; and what the schema promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from stat_train import packages
from stat_train.cli import main
from stat_train.compose import leaves, read_settings
from stat_train.config import OPERATIONAL, Config, Node
from stat_train.errors import ConfigError

ROOT = Path(__file__).parents[1]
TEXT_TASK = ["task=jsonl", "teacher=labels", "difficulty=gold"]


ASKED_AGAIN = ["teacher=openai", "teacher.model=m", "audit.sample=5"]
ASKED_AGAIN += ["teacher.usd_per_million_input_tokens=1.0", "teacher.usd_per_million_output_tokens=1.0"]


class Wrong(NamedTuple):
    """Arguments with something wrong in them, and for each problem what its line must hold: key, value, expectation."""

    given: list[str]
    problems: list[list[str]]

    @property
    def groups(self) -> set[str]:
        """Return the parts of the settings that the arguments touch; benchmarks are a part of the evaluation."""
        keys = [argument.lstrip("+~").partition("=")[0] for argument in self.given]
        return {re.split("[.@]", key)[0].replace("benchmark", "evaluate") for key in keys}


WRONG = {
    "unknown key": Wrong(["sed=3"], [["sed = 3", "no such setting", 'Did you mean "seed"?']]),
    "unknown key in a group": Wrong(
        ["train.learningrate=1"], [["train.learningrate = 1", "no such setting", 'Did you mean "train.learning_rate"?']]
    ),
    "unknown key, none near": Wrong(["train.zzz=1"], [["train.zzz = 1", "no such setting", "Known here:", "epochs"]]),
    "unknown group": Wrong(["tasc.pool=1"], [["tasc.pool = 1", "no such setting", 'Did you mean "task.pool"?']]),
    "of nothing": Wrong(
        ["train=none", "train.epochs=2"], [["train.epochs = 2", "train= chooses here has no settings"]]
    ),
    "added": Wrong(["+foo=1"], [["foo = 1", "no such setting", "Known here:", "run_dir"]]),
    "added by force": Wrong(
        ["++student.temprature=1"], [["student.temprature = 1", 'Did you mean "student.temperature"?']]
    ),
    "text for a whole number": Wrong(["train.epochs=many"], [["train.epochs = 'many'", "expected a whole number"]]),
    "fraction for a whole number": Wrong(["train.epochs=2.5"], [["train.epochs = 2.5", "expected a whole number"]]),
    "text for a number": Wrong(["difficulty.tau2=high"], [["difficulty.tau2 = 'high'", "expected a number"]]),
    "number for a text": Wrong(["run_dir=5"], [["run_dir = 5", "expected a text"]]),
    "empty text": Wrong(["cache_dir="], [["cache_dir = ''", "expected a text that is not empty"]]),
    "null for a number": Wrong(["seed=null"], [["seed = null", "expected a whole number"]]),
    "word for a switch": Wrong(
        ["data_recipe.allow_short=perhaps"], [["data_recipe.allow_short = 'perhaps'", "expected true or false"]]
    ),
    "word for a list": Wrong(["task.benchmarks=standard"], [["task.benchmarks = 'standard'", "expected a list"]]),
    "empty list": Wrong(["task.benchmarks=[]"], [["task.benchmarks = []", "expected a list that is not empty"]]),
    "too low": Wrong(["seed=-1"], [["seed = -1", "expected", "0"]]),
    "seed that numpy does not take": Wrong(
        ["seed=4294967296"], [["seed = 4294967296", "expected less than or equal to 4294967295"]]
    ),
    "too high": Wrong(["difficulty.tau1=1.5"], [["difficulty.tau1 = 1.5", "expected less than or equal to 1"]]),
    "template without the question": Wrong(
        ["student.prompt.template='Answer this:'"],
        [["student.prompt.template = 'Answer this:'", "expected a text that contains {question}"]],
    ),
    "batch that cannot be split": Wrong(
        ["train.effective_batch_size=48", "train.processes=5"],
        [["train.effective_batch_size = 48", "equally over 5 processes", "expected a multiple of 5, such as 50"]],
    ),
    "batch that cannot be split over nodes": Wrong(
        ["train.processes=8", "train.nodes=3"],
        [["train.effective_batch_size = 32", "equally over 24 processes", "as divide 32"]],
    ),
    "rate named twice": Wrong(
        ["train.learning_rates=[0.001,0.0001,0.001]"],
        [["train.learning_rates = [0.001, 0.0001, 0.001]", "0.001 is named twice"]],
    ),
    "no rate": Wrong(["train.learning_rates=[]"], [["train.learning_rates = []", "expected a list that is not empty"]]),
    "all rows replayed": Wrong(
        ["train.replay_fraction=1.0"], [["train.replay_fraction = 1.0", "expected less than 1"]]
    ),
    "checkpoint that is absent": Wrong(
        ["train=external", "train.checkpoint=runs/gone/checkpoint"],
        [["train.checkpoint = runs/gone/checkpoint", "no such folder", "or the name of a hub model"]],
    ),
    "required checkpoint": Wrong(["train=external"], [["train.checkpoint: is required", "train.checkpoint=..."]]),
    "adapters that are not given": Wrong(
        ["train=sft_lora", "train.lora=null"], [["train.lora = null", "train=sft_lora trains adapters", "or train=sft"]]
    ),
    "whole weights of 4 bits": Wrong(
        ["train.load_in_4bit=true"], [["train.load_in_4bit = true", "cannot be trained", "use train=sft_qlora"]]
    ),
    "4 bits spread over processes": Wrong(
        ["train=sft_qlora", "deepspeed=zero3"],
        [["train.load_in_4bit = true", "deepspeed=zero3 cannot spread", "use deepspeed=zero2 or train=sft_lora"]],
    ),
    "misspelt prompts": Wrong(
        ["rl=grpo", "rl.prompts=profil"],
        [["rl.prompts = profil", "expected pool, profile, training_set, longer_chains", 'Did you mean "profile"?']],
    ),
    "longer chains of another task": Wrong(
        ["task=gsm8k", "teacher=labels", "difficulty=gold", "rl=grpo", "rl.prompts=longer_chains"],
        [["rl.prompts = longer_chains", "only task=arithmetic makes questions", "use rl.prompts=profile"]],
    ),
    "longer chains without number": Wrong(
        ["rl=paper", "rl.prompts=longer_chains"],
        [["rl.questions = null", "rl.prompts=longer_chains makes as many as are wanted", "such as rl.questions=4800"]],
    ),
    "prompts that are absent": Wrong(
        ["rl=grpo", "rl.prompts=gone.jsonl"], [["rl.prompts = gone.jsonl", "no such file", "looked in"]]
    ),
    "questions of a batch and of an update": Wrong(
        ["rl=grpo", "rl.questions_per_batch=50"],
        [["rl.questions_per_batch = 50", "a multiple of rl.questions_per_update = 48"]],
    ),
    "answers that cannot be split": Wrong(
        ["rl=grpo", "rl.processes=5"],
        [["rl.questions_per_update = 48", "384 answers an update", "equally over 5 processes"]],
    ),
    "adapter that goes on": Wrong(
        ["train=sft_lora", "train.lora.merge=false", "rl=grpo"], [["rl = grpo", "use train.lora.merge=true"]]
    ),
    "rewards by the teacher": Wrong(
        [
            *("task=gsm8k", "teacher=openai", "teacher.model=m", "difficulty=gold"),
            *("task.grader=judge", "rl=grpo"),
        ],
        [["rl = grpo", "task.grader=judge would ask the teacher", "or rl=none"]],
    ),
    "rollouts by a server that is nowhere": Wrong(
        ["rl=grpo", "rl.vllm.mode=server"],
        [["rl.vllm.base_url = null", "needs where the server is"]],
    ),
    "recorded student that cannot be reinforced": Wrong(
        ["student=recorded", f"student.path={__file__}", "train=none", "rl=grpo"],
        [["student = recorded", "no weights to train", "until=curate or rl=none"]],
    ),
    "agreement of more than all": Wrong(
        ["student=tiny", "difficulty=consistency", "difficulty.min_agreement=6"],
        [["difficulty.min_agreement = 6", "expected at most difficulty.samples = 5"]],
    ),
    "length that no answer has": Wrong(
        ["student=tiny", "difficulty=length"],
        [["difficulty.min_words = 800", "expected at most student.max_new_tokens = 96", "no question is difficult"]],
    ),
    "reward model that is not named": Wrong(
        ["difficulty.step_rewarder=prm"],
        [["difficulty.step_rewarder = prm", "needs a model", "try difficulty=prm"]],
    ),
    "reward model that is not asked": Wrong(
        ["difficulty=prm", "difficulty.step_rewarder=checker"],
        [["difficulty.step_rewarder = checker", "asks no model", "try difficulty=step_rewards"]],
    ),
    "absent reward model": Wrong(
        ["difficulty=prm", "difficulty.prm.model=./gone"], [["difficulty.prm.model = ./gone", "no such file"]]
    ),
    "reward model of the other form": Wrong(
        ["difficulty=prm", "difficulty.step_rewarder=token_prm"],
        [["difficulty.prm.separator = null", "token_prm scores at a token"]],
    ),
    "separator without use": Wrong(
        ["difficulty=token_prm", "difficulty.step_rewarder=prm"],
        [["difficulty.prm.separator = <extra_0>", "try difficulty=token_prm"]],
    ),
    "reward model that is told to err": Wrong(
        ["difficulty=prm", "difficulty.checker_error_rate=0.1"],
        [["difficulty.checker_error_rate = 0.1", "the checker of task=arithmetic", "use difficulty=step_rewards"]],
    ),
    "reward model that is told to be unsure": Wrong(
        ["difficulty=prm", "difficulty.checker_spread=0.1"],
        [["difficulty.checker_spread = 0.1: is how unsure the checker of task=arithmetic is", "leave it at 0.0"]],
    ),
    "checker that errs more often than always": Wrong(
        ["difficulty.checker_error_rate=1.1"],
        [["difficulty.checker_error_rate = 1.1", "expected less than or equal to 1"]],
    ),
    "half a reward model": Wrong(
        ["difficulty.prm.model=m"],
        [["difficulty.prm", "lacks revision, trust_remote_code", "as a choice of difficulty= gives them"]],
    ),
    "checker of another task": Wrong(
        ["task=gsm8k", "teacher=labels", "difficulty=step_rewards"],
        [["difficulty.step_rewarder = checker", "task=arithmetic only", "try difficulty=prm, gold or consistency"]],
    ),
    "infinite": Wrong(["train.learning_rate=inf"], [["train.learning_rate = inf", "expected a finite number"]]),
    "unknown choice": Wrong(
        ["data_recipe=stat_sell"],
        [["data_recipe = stat_sell", "expected one of", "uniform_skill", 'Did you mean "stat_sel"?']],
    ),
    "unknown choice, none near": Wrong(
        ["train=xyz"], [["train = xyz", "no such choice", "expected one of external, none, sft"]]
    ),
    "unknown word": Wrong(
        ["until=currate"], [["until = 'currate'", "expected 'questions', 'label'", 'Did you mean "curate"?']]
    ),
    "unknown word in a list": Wrong(
        ["task.benchmarks=[standard,retentoin]"],
        [["task.benchmarks.1 = 'retentoin'", "expected 'standard'", 'Did you mean "retention"?']],
    ),
    "absent pool": Wrong(
        [*TEXT_TASK, "task.pool=gone/pool.jsonl", "task.benchmark=owner/name"],
        [["task.pool = gone/pool.jsonl", "no such file", "looked in", "/gone)"]],
    ),
    "absent recording": Wrong(
        ["student=recorded", "student.path=gone", "train=none"],
        [["student.path = gone", "no such file", "give a JSONL file"]],
    ),
    "absent weights": Wrong(["student=local", "student.model=./gone"], [["student.model = ./gone", "no such file"]]),
    "required": Wrong(["student=local"], [["student.model: is required", "student.model=..."]]),
    "required path": Wrong(["student=recorded", "train=none"], [["student.path: is required", "student.path=..."]]),
    "required, twice": Wrong(TEXT_TASK, [["task.pool: is required"], ["task.benchmark: is required"]]),
    "teacher that cannot rewrite": Wrong(
        ["teacher=labels", "data_recipe.answers=rewrites"],
        [["data_recipe.answers = rewrites", "teacher=labels cannot rewrite", "use data_recipe.answers=own"]],
    ),
    "teacher of another task": Wrong(
        ["task=jsonl", "teacher=arithmetic", "difficulty=gold", "task.pool=o/n", "task.benchmark=o/n"],
        [["teacher = arithmetic", "task=arithmetic only", "try teacher=labels"]],
    ),
    "student that cannot be trained": Wrong(
        ["student=recorded", f"student.path={__file__}", "until=train"],
        [["student = recorded", "no weights to train", "until=curate or train=none"]],
    ),
    "served student that cannot be trained": Wrong(
        ["student=endpoint", "student.base_url=http://h/v1", "student.model=m"],
        [["student = endpoint", "cannot be trained", "until=curate or train=none"]],
    ),
    "server of a model that is served elsewhere": Wrong(
        ["teacher=served", "teacher.model=m", "teacher.base_url='http://h/v1'"],
        [["teacher.base_url = http://h/v1", "at the server that the run starts"]],
    ),
    "no address": Wrong(
        ["teacher=openai", "teacher.model=m", "teacher.base_url=null"],
        [["teacher.base_url = null", "or use teacher=served"]],
    ),
    "no server": Wrong(
        ["student=served", "student.model=m", "student.server=null", "until=curate"],
        [["student.server = null", "student = served starts one"]],
    ),
    "fewer GPUs than are to share the weights": Wrong(
        ["teacher=served", "teacher.model=m", "teacher.server.tensor_parallel_size=4", "teacher.server.gpus=[0,1]"],
        [["teacher.server.gpus = [0, 1]", "as many as teacher.server.tensor_parallel_size = 4"]],
    ),
    "second model that nobody serves": Wrong(
        ["teacher=served", "teacher.model=m", "audit.sample=5", "audit.model=n"],
        [["audit.model = n", "serves m alone", "give audit.base_url too"]],
    ),
    "address with an impossible port": Wrong(
        ["teacher=openai", "teacher.model=m", "teacher.base_url='http://h:80000/v1'"],
        [["teacher.base_url = 'http://h:80000/v1'", "expected a URL with a port from 0 to 65535"]],
    ),
    "address without its protocol": Wrong(
        ["teacher=openai", "teacher.model=m", "teacher.base_url='h:8000/v1'"],
        [["teacher.base_url = 'h:8000/v1'", "expected a URL such as http://host:8000/v1"]],
    ),
    "dollars without prices": Wrong(
        ["teacher=openai", "teacher.model=m", "budget.max_usd=1.0", "teacher.usd_per_million_input_tokens=1.0"],
        [["budget.max_usd = 1.0", "give teacher.usd_per_million_output_tokens (0 for a server of your own)"]],
    ),
    "dollars without the second teacher's prices": Wrong(
        [*ASKED_AGAIN, "audit.model=n", "budget.max_usd=1.0", "audit.usd_per_million_input_tokens=1.0"],
        [["budget.max_usd = 1.0", "give audit.usd_per_million_output_tokens (0 for a server of your own)"]],
    ),
    "labels asked again": Wrong(
        ["teacher=labels", "audit.sample=5"], [["audit.sample = 5", "nobody to ask again", "teacher=openai"]]
    ),
    "second model for an exact teacher": Wrong(
        ["teacher=arithmetic", "audit.sample=5", "audit.model=m"], [["audit.model = m", "for teacher=openai only"]]
    ),
    "benchmark without a size": Wrong(
        ["task.benchmark={standard: 5}", "task.benchmarks=[standard,retention]"],
        [["task.benchmark = {'standard': 5}", "each of task.benchmarks", "none for retention", "one number for all"]],
    ),
    "size of no benchmark": Wrong(
        ["task.benchmark={standard: 5, longer_chains: 5}", "task.benchmarks=[standard]"],
        [["task.benchmark = {", "task.benchmarks = [standard]; longer_chains: not among them"]],
    ),
    "size of a benchmark that there is none of": Wrong(
        ["task.benchmark={standrd: 5}"], [["task.benchmark.standrd", 'Did you mean "standard"?']]
    ),
    "benchmark of no question": Wrong(
        ["task.benchmark={standard: 0}"], [["task.benchmark.standard = 0", "greater than or equal to 1"]]
    ),
    "minimum above maximum": Wrong(
        ["task.min_steps=3", "task.max_steps=2"], [["task.min_steps = 3", "expected at most task.max_steps = 2"]]
    ),
    "rewrites without a teacher that writes": Wrong(
        ["teacher=labels", "data_recipe=augment"], [["data_recipe = augment", "cannot rewrite", "data_recipe=random"]]
    ),
    "new questions without a teacher that writes": Wrong(
        ["teacher=labels", "data_recipe=stat_syn"],
        [["data_recipe = stat_syn", "data_recipe=stat_sel", "teacher=openai"]],
    ),
    "more to agree than solutions": Wrong(
        ["teacher=openai", "teacher.model=m", "data_recipe=stat_syn", "data_recipe.must_agree=4"],
        [["data_recipe.must_agree = 4", "expected at most data_recipe.solutions = 3"]],
    ),
    "two answers that both agree": Wrong(
        ["teacher=openai", "teacher.model=m", "data_recipe=embed_syn", "data_recipe.solutions=4"],
        [["data_recipe.must_agree = 2", "more than half of data_recipe.solutions = 4"]],
    ),
    "more answers than solutions": Wrong(
        ["teacher=openai", "teacher.model=m", "data_recipe=stat_syn", "data_recipe.answers_per_question=5"],
        [["data_recipe.answers_per_question = 5", "expected at most data_recipe.solutions = 3"]],
    ),
    "profile of other skills": Wrong(
        ["teacher=openai", "teacher.model=m", "data_recipe=skillmix", "data_recipe.skills=teacher"],
        [["data_recipe.skills_from = profile", "data_recipe.skills_from=all"]],
    ),
    "no level": Wrong(
        ["data_recipe=hard", "data_recipe.levels=[]"],
        [["data_recipe.levels = []", "expected a list that is not empty"]],
    ),
    "more references than nearest": Wrong(
        ["teacher=openai", "teacher.model=m", "data_recipe=embed_syn", "data_recipe.references=9"],
        [["data_recipe.references = 9", "expected at most data_recipe.nearest = 5"]],
    ),
    "task of the harness named twice": Wrong(
        ["evaluate.harness=[ifeval,mmlu,ifeval]"],
        [["evaluate.harness = [ifeval, mmlu, ifeval]", "ifeval is named twice"]],
    ),
    "folder of tasks that is not there": Wrong(
        ["evaluate.harness_tasks=gone"], [["evaluate.harness_tasks = gone", "no such folder", "looked in"]]
    ),
    "benchmark named twice": Wrong(
        ["decontaminate.against=[owner/name,owner/name]"], [["decontaminate.against = owner/name", "named twice"]]
    ),
    "benchmark that is not there": Wrong(
        ["decontaminate.against=[nowhere.jsonl]"], [["decontaminate.against = nowhere.jsonl", "no such file"]]
    ),
    "impatience": Wrong(
        ["track=wandb", "track.connect_timeout_seconds=0.0"],
        [["track.connect_timeout_seconds = 0.0", "expected greater than 0"]],
    ),
    "unknown mode of tracking": Wrong(
        ["track=wandb", "track.mode=onlin"], [["track.mode = 'onlin'", 'Did you mean "online"?']]
    ),
    "more of k than samples": Wrong(
        ["evaluate.pass_at=8", "evaluate.samples=4", "evaluate.temperature=0.5"],
        [["evaluate.pass_at = 8", "expected at most evaluate.samples = 4"]],
    ),
    "samples that are all alike": Wrong(
        ["evaluate.samples=4"],
        [["evaluate.samples = 4", "greedy answers are all alike", "use evaluate.temperature=0.6"]],
    ),
    "unknown benchmark": Wrong(
        ["benchmark=[gsm8k,amc32]"], [["benchmark = amc32", "expected one of aime24", 'Did you mean "amc23"?']]
    ),
    "benchmark chosen twice": Wrong(["benchmark=[gsm8k,gsm8k]"], [["benchmark = gsm8k", "named twice"]]),
    "benchmark of a name with a meaning": Wrong(
        ["benchmark.Validation.path=owner/name"], [["benchmark = Validation", "the validation set has this name"]]
    ),
    "difficult by the steps of other questions": Wrong(
        ["benchmark.mine.path=owner/name", "benchmark.mine.only_difficult=true"],
        [["benchmark.mine.only_difficult = true", "the embedded task's own questions", "use difficulty=prm"]],
    ),
    "benchmark of the task's name": Wrong(
        ["benchmark.standard.path=owner/name"], [["benchmark = standard", "the task's own benchmark has this name"]]
    ),
    "benchmark without its file": Wrong(
        ["benchmark.mine.samples=1"], [["benchmark.mine.path: is required", "benchmark.mine.path=..."]]
    ),
    "benchmark whose file is absent": Wrong(
        ["benchmark.mine.path=gone.jsonl"], [["benchmark.mine.path = gone.jsonl", "no such file"]]
    ),
    "setting that no benchmark has": Wrong(
        ["benchmark.gsm8k.sample=3"], [["benchmark.gsm8k.sample = 3", 'Did you mean "benchmark.gsm8k.samples"?']]
    ),
    "benchmark without a name": Wrong(["benchmark.path=x"], [["benchmark.path = 'x'", "expected a group of settings"]]),
    "benchmark judged by nobody": Wrong(
        ["benchmark.mine.path=owner/name", "benchmark.mine.grader=judge"],
        [["benchmark.mine.grader = judge", "needs teacher=openai"]],
    ),
    "difficult by the answer key": Wrong(
        ["benchmark=[math_difficult]", "difficulty=gold"],
        [["benchmark.math_difficult.only_difficult = true", "any other answer is a gain", "difficulty=step_rewards"]],
    ),
    "difficult by samples that are not there": Wrong(
        ["benchmark=[math_difficult]", "difficulty=consistency"],
        [["benchmark.math_difficult.only_difficult = true", "5 samples of each answer"]],
    ),
    "benchmark that a served student is not asked": Wrong(
        ["benchmark=[gsm8k]", "student=endpoint", "student.base_url=http://h/v1", "student.model=m", "train=none"],
        [["benchmark = gsm8k", "student=endpoint is not asked benchmarks", "use student=local"]],
    ),
    "task of the harness for a served student": Wrong(
        [
            "student=endpoint",
            "student.base_url=http://h/v1",
            "student.model=m",
            "train=none",
            "evaluate.harness=[mmlu]",
        ],
        [["evaluate.harness = [mmlu]", "student=endpoint has no weights to ask", "or evaluate.harness=[]"]],
    ),
    "rounds of a student without weights": Wrong(
        [
            *("rounds=3", "student=endpoint", "student.base_url=http://h/v1", "student.model=m"),
            *("train=none", "rl=none", "evaluate.samples=1"),
        ],
        [["rounds.count = 3", "student=endpoint has no weights here", "use student=local, or rounds=1"]],
    ),
    "rounds without training": Wrong(
        ["rounds=3", "student=tiny", "train=none", "rl=none"],
        [["rounds.count = 3", "nothing is trained between rounds", "rl=grpo, or rounds=1"]],
    ),
    "rounds of what is trained elsewhere": Wrong(
        ["rounds=2", "student=tiny", "train=external", "train.checkpoint=me/mine", "rl=none"],
        [["rounds.count = 2", "train=external trains nothing", "use rounds=1"]],
    ),
    "rounds that leave adapters": Wrong(
        ["rounds=2", "student=tiny", "train=sft_lora", "train.lora.merge=false", "rl=none"],
        [["rounds.count = 2", "train.lora.merge=false leaves an adapter", "train.lora.merge=true"]],
    ),
    "no round": Wrong(["rounds=0"], [["rounds.count = 0", "expected greater than or equal to 1"]]),
    "new questions that nobody makes": Wrong(
        ["task=math", "teacher=labels", "difficulty=gold", "student=tiny", "rounds.validation=new"],
        [["rounds.validation = new", "only task=arithmetic can make questions", "give a list"]],
    ),
    "listed questions of a task that makes them": Wrong(
        ["task=arithmetic", "student=tiny", "rounds=3", "rounds.validation=[me/a]"],
        [["rounds.validation = ['me/a']", "task=arithmetic makes its questions", "use new or same"]],
    ),
    "more lists of questions than rounds": Wrong(
        [
            *("task=math", "teacher=labels", "difficulty=gold", "student=tiny", "train=sft"),
            *("rounds=2", "rounds.validation=[me/a,me/b]"),
        ],
        [["rounds.validation = ['me/a', 'me/b']", "rounds.count = 2 has 1 after the first", "as many at most"]],
    ),
    "absent questions of a round": Wrong(
        [
            *("task=math", "teacher=labels", "difficulty=gold", "student=tiny", "train=sft"),
            *("rounds=2", "rounds.validation=[absent.jsonl]"),
        ],
        [["rounds.validation = absent.jsonl", "no such file"]],
    ),
    "group taken away": Wrong(["~train"], [["~train", "cannot be taken away", "choose another value"]]),
    "setting taken away": Wrong(["~train.epochs"], [["~train.epochs", "cannot be taken away"]]),
    "several values": Wrong(["seed=1,2"], [["seed=1,2", "add -m"]]),
    "no value": Wrong(["seed=0", "foo"], [["foo", "expected KEY=VALUE"]]),
    "no key": Wrong(["=3"], [["=3", "expected KEY=VALUE"]]),
    "open bracket": Wrong(["run_dir=[1"], [["run_dir=[1", "expected KEY=VALUE", "quotes"]]),
    "below a number": Wrong(
        ["difficulty.tau1.x=3"], [["difficulty.tau1.x = 3", "nothing below difficulty.tau1", "number"]]
    ),
    "below a list": Wrong(["task.benchmarks.x=1"], [["task.benchmarks.x=1", "expected a value of the same kind"]]),
    "group in the place of a list": Wrong(["task.benchmarks={a:1}"], [["task.benchmarks={a:1}", "of the same kind"]]),
    "numbers of questions that are none": Wrong(
        ["plan.benchmark_questions={math: 0}"],
        [["plan.benchmark_questions.math = 0", "expected greater than or equal"]],
    ),
    "reference to nothing": Wrong(
        ["run_dir=${task.nme}"], [["run_dir = ${task.nme}", "cannot be resolved", "expected"]]
    ),
    "reference to itself": Wrong(["seed=${seed}"], [["seed = ${seed}", "cannot be resolved", "expected"]]),
    "name without its choice": Wrong(["student.name=local"], [["student.name=local", "use student=CHOICE"]]),
    "Hydra's own setting": Wrong(["hydra.run.dir=x"], [["hydra.run.dir=x", "no such setting"]]),
    "choice for another place": Wrong(["train@foo=sft"], [["train@foo=sft", "no such setting"]]),
}
NAMES = list(WRONG)


def in_threes() -> list[list[str]]:
    """Return threes of cases that together have each case at least once; no two of a three touch the same settings."""
    left, threes = list(NAMES), []
    while left:
        chosen = left[:1]
        # Those next in the table are about the same.
        for name in (*left[5:], *left[1:5], *NAMES):
            if len(chosen) < 3 and not any(WRONG[name].groups & WRONG[one].groups for one in chosen):
                chosen.append(name)
        threes.append(chosen)
        left = [name for name in left if name not in chosen]
    return threes


THREES = in_threes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(text: str, problems: list[list[str]]) -> None:
    """Check that the message lists these problems, each in a line of its own, and nothing else."""
    count = "1 setting is wrong:" if len(problems) == 1 else f"{len(problems)} settings are wrong:"
    heading, *lines = text.splitlines()
    assert heading == f"stat-train: {count}", text
    assert len(lines) == len(problems), text
    for parts in problems:
        assert any(line.startswith("  - ") and all(part in line for part in parts) for line in lines), (parts, text)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_setting_is_refused_before_anything_is_made(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(WRONG[name].given) == 2
    said = capsys.readouterr()
    check(said.err, WRONG[name].problems)
    assert (said.out, list(here.iterdir())) == ("", [])


@pytest.mark.parametrize("names", THREES, ids=" + ".join)
def test_three_wrong_settings_are_all_named_at_once(
    names: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument for name in names for argument in WRONG[name].given]) == 2
    said = capsys.readouterr()
    check(said.err, [problem for name in names for problem in WRONG[name].problems])
    assert (said.out, list(here.iterdir())) == ("", [])


def test_each_mistake_is_in_a_three() -> None:
    assert {name for names in THREES for name in names} == set(NAMES) and all(len(names) == 3 for names in THREES)


@pytest.mark.parametrize("name", ["unknown key in a group", "several values", "teacher that cannot rewrite"])
def test_the_command_itself_refuses(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stat_train.cli", *WRONG[name].given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (2, "")
    check(done.stderr, WRONG[name].problems)
    assert list(tmp_path.iterdir()) == []


# -- what is not said -------------------------------------------------------------------------------------------------


def problems_of(*arguments: str) -> list[str]:
    """Return what is wrong with these settings."""
    with pytest.raises(ConfigError) as caught:
        read_settings(arguments)
    return caught.value.problems


def test_a_package_that_is_absent_refuses_a_run_and_not_its_settings(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    given = ["data_recipe=embed_sel", "data_recipe.embedder=no/such"]
    assert main([*given, "--cfg", "job"]) == 0
    capsys.readouterr()
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "data_recipe.embedder = no/such" in said and "pip install 'stat-train[embed]'" in said
    assert list(here.iterdir()) == []


def test_a_name_that_is_itself_unknown_is_no_suggestion() -> None:
    assert not any("Did you mean" in problem for problem in problems_of("+foo=1", "+fooo=2"))


def test_a_default_in_the_place_of_a_wrong_value_contradicts_nothing() -> None:
    """task.max_steps is 3 by default, which is less than the 5 given, but was never asked for."""
    (problem,) = problems_of("task.min_steps=5", "task.max_steps=many")
    assert problem.startswith("task.max_steps = 'many'")


def test_nothing_is_said_about_the_settings_of_a_choice_that_there_is_none_of() -> None:
    (problem,) = problems_of("task=xyz", "task.pool=./gone.jsonl")
    assert problem.startswith("task = xyz")


# -- files and folders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "accepted"),
    [
        ("./folder", True),
        ("./folder:CONFIG", True),
        ("./folder:CONFIG@REVISION", True),
        ("./folder@REVISION", True),
        ("./folder:*", True),
        ("pool.jsonl", True),
        ("with:colon.jsonl", True),
        ("owner/name:CONFIG@REVISION", True),
        ("./gone:CONFIG", False),
        ("./pool.jsonl:CONFIG", False),
        ("gone.parquet", False),
    ],
)
def test_questions_may_lie_in_a_folder_laid_out_as_on_the_hub(place: str, accepted: bool, here: Path) -> None:
    (here / "folder").mkdir()
    for name in ("pool.jsonl", "with:colon.jsonl"):
        (here / name).touch()
    arguments = [*TEXT_TASK, f"task.pool='{place}'", "task.benchmark=owner/name"]
    if accepted:
        assert read_settings(arguments).config.task.pool == place
    else:
        assert problems_of(*arguments)[0].startswith(f"task.pool = {place}: no such file (looked in {here})")


@pytest.mark.parametrize("key", ["task.benchmark", "task.validation", "task.skills"])
def test_every_file_of_the_task_is_looked_for(key: str, here: Path) -> None:
    places = {"task.pool": "owner/name", "task.benchmark": "owner/name"} | {key: "./gone.json"}
    (problem,) = problems_of(*TEXT_TASK, *(f"{name}={place}" for name, place in places.items()))
    assert problem.startswith(f"{key} = ./gone.json: no such file")


def test_a_model_folder_has_no_configurations(here: Path) -> None:
    (here / "folder").mkdir()
    assert problems_of("student=local", "student.model='./folder:CONFIG'")[0].startswith(
        "student.model = ./folder:CONFIG"
    )


# -- the schema -------------------------------------------------------------------------------------------------------


def nodes(node: type[Node] = Node) -> list[type[Node]]:
    """Return every group of settings in the schema."""
    return [found for each in node.__subclasses__() for found in (each, *nodes(each))]


def test_every_default_is_in_the_settings_files() -> None:
    """A setting without a default in the schema must be in the files, or no settings are valid."""
    assert {Config, type(read_settings([]).config.task)} < set(nodes())
    hidden = [
        f"{node.__name__}.{name}"
        for node in nodes()
        for name, field in node.model_fields.items()
        if not field.is_required()
    ]
    assert hidden == []


# Known by it where it is not 0: a checker that does not err is the one that there was before it could.
KNOWN_WHERE_IT_COUNTS = {"difficulty.checker_error_rate", "difficulty.checker_spread", "task.pool_evenness"}
# How fast, not what: a batch for inference, how often a state is saved, how many answer at a time.
OPERATIONAL_SETTINGS = {
    "audit.api_key_env",
    "audit.base_url",
    "audit.usd_per_million_input_tokens",
    "audit.usd_per_million_output_tokens",
    "plan.answer_tokens",
    "plan.benchmark_questions",
    "plan.diagnosis_tokens",
    "plan.difficult_share",
    "plan.kept_share",
    "plan.label_tokens",
    "plan.output_tokens_per_second",
    "plan.pool_question_tokens",
    "plan.pool_questions",
    "plan.pool_solution_tokens",
    "plan.question_tokens",
    "plan.rewrite_tokens",
    "plan.skills_per_question",
    "plan.subjects",
    "plan.validation_questions",
    "push_to_hub",
    "student.processes",
    "task.grader_timeout_seconds",
    "track.name",
    "train.device_batch_size",
    "train.processes",
    "train.nodes",
    "train.checkpoints",
    "train.gradient_checkpointing",
    "train.attention",
    "train.liger",
    "deepspeed.name",
    "deepspeed.config",
    "evaluate.batch_size",
    "budget.max_usd",
    "budget.max_calls",
    "budget.max_tokens",
}
# What comes with deepspeed=CHOICE: the weights that training gives are the same, to the last digits of a sum.
OF_A_CHOICE = {"deepspeed.name", "deepspeed.config", "track.name"}
# How reinforcement learning makes its answers; which answers are likely does not depend on it.
OPERATIONAL_OF_ROLLOUTS = {"generation_batch_size", "mode", "memory_share", "tensor_parallel_size", "server_gpus"}
# Who is told of a run, and how.
OPERATIONAL_OF_TRACKING = {"track", "name", "project", "entity", "group", "run_name", "tags", "mode", "folder"}
OPERATIONAL_OF_TRACKING |= {"connect_timeout_seconds", "finish_timeout_seconds"}
# Where an endpoint is, how it is asked and what that costs, whoever it is.
OPERATIONAL_OF_ENDPOINTS = {
    "base_url",
    "api_key_env",
    "timeout_seconds",
    "connect_timeout_seconds",
    "max_retries",
    "max_wait_seconds",
    "max_concurrency",
    "max_slowdown",
    "requests_per_minute",
    "tokens_per_minute",
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
    "server",
}


# How a run is started, none of which any stage depends on.
HOW_STARTED = {"rounds", "sweep", "slurm"}


# Where 8 is no value.
VALUES = {
    "gradient_checkpointing": True,
    "liger": True,
    "attention": "eager",
    "difficult_share": 0.5,
    "kept_share": 0.5,
    "push_to_hub": "me/rows",
    "base_url": "http://h/v1",
    "api_key_env": "THE_KEY",
}


def test_what_is_operational_is_not_in_the_identity() -> None:
    config = read_settings([]).config
    every = {key for key, _ in leaves(config.model_dump())}
    operational = every - {key for key, _ in leaves(config.identity())}
    not_of_the_start = {key for key in operational if key.partition(".")[0] not in HOW_STARTED}
    assert not_of_the_start - KNOWN_WHERE_IT_COUNTS == OPERATIONAL_SETTINGS
    assert {key.partition(".")[0] for key in operational} > HOW_STARTED


@pytest.mark.parametrize("key", sorted(OPERATIONAL_SETTINGS - OF_A_CHOICE))
def test_an_operational_setting_does_not_change_the_identity(key: str) -> None:
    value = VALUES.get(key.rpartition(".")[2], 8)
    changed = read_settings([f"{key}={value}"]).config
    assert dict(leaves(changed.model_dump()))[key] == value
    assert changed.identity() == read_settings([]).config.identity()


@pytest.mark.parametrize("key", ["train.epochs", "train.effective_batch_size", "student.max_new_tokens", "task.pool"])
def test_any_other_setting_changes_the_identity(key: str) -> None:
    usual = dict(leaves(read_settings([]).config.identity()))
    changed = dict(leaves(read_settings([f"{key}=7"]).config.identity()))
    assert {name: value for name, value in changed.items() if value != usual[name]} == {key: 7}


@pytest.mark.parametrize("key", sorted(KNOWN_WHERE_IT_COUNTS))
def test_what_came_later_is_part_of_the_identity_only_where_it_changes_something(key: str) -> None:
    usual, other = (dict(leaves(read_settings([f"{key}={value}"]).config.identity())) for value in ("0.0", "0.1"))
    assert KNOWN_WHERE_IT_COUNTS.isdisjoint(usual)
    assert other == usual | {key: 0.1}


def test_only_settings_that_say_so_are_operational() -> None:
    marked = {name for node in nodes() for name, field in node.model_fields.items() if OPERATIONAL in field.metadata}
    # Where prompts are does not count, and what they say does: it is in the identity of the stages that ask them.
    expected = {key.rpartition(".")[2] for key in OPERATIONAL_SETTINGS - OF_A_CHOICE} | OPERATIONAL_OF_ENDPOINTS
    # `prompts` of reinforcement learning are another setting, and count.
    assert (
        marked == expected | OPERATIONAL_OF_ROLLOUTS | OPERATIONAL_OF_TRACKING | {"prompts", "deepspeed"} | HOW_STARTED
    )
    assert "prompts" in read_settings(["rl=grpo"]).config.rl.identity()


def test_how_training_is_spread_over_processes_does_not_change_the_identity() -> None:
    usual, spread = read_settings([]).config, read_settings(["deepspeed=zero3"]).config
    assert (spread.deepspeed.name, spread.identity()) == ("zero3", usual.identity())


@pytest.mark.parametrize("choice", ["wandb", "tensorboard"])
def test_who_is_told_of_a_run_does_not_change_the_identity(choice: str) -> None:
    usual, told = read_settings([]).config, read_settings([f"track={choice}"]).config
    assert (told.track.name, told.identity()) == (choice, usual.identity())
    assert told.track.identity() == {}


def test_how_reinforcement_learning_is_spread_does_not_change_the_identity() -> None:
    usual = read_settings(["rl=grpo"]).config.rl.identity()
    ways = ["rl.processes=2", "rl.nodes=2", "rl.device_batch_size=2", "rl.vllm.server_gpus=2"]
    ways += ["rl.vllm.mode=server", "rl.vllm.base_url=http://host:8000"]
    assert read_settings(["rl=grpo", *ways]).config.rl.identity() == usual
    assert read_settings(["rl=grpo", "rl.rollouts=4"]).config.rl.identity() != usual


@pytest.mark.parametrize("role", ["teacher=openai", "student=endpoint"])
def test_an_endpoint_is_known_by_its_model_not_by_how_it_is_asked(role: str) -> None:
    group = role.partition("=")[0]
    arguments = [role, f"{group}.model=m", f"{group}.base_url=http://localhost/v1", "until=curate"]
    node = getattr(read_settings(arguments).config, group)
    assert set(node.model_dump()) - set(node.identity()) - {"prompts"} == OPERATIONAL_OF_ENDPOINTS
    moved = read_settings([*arguments, f"{group}.base_url=[http://a/v1,http://b/v1]", f"{group}.max_retries=1"])
    assert getattr(moved.config, group).identity() == node.identity()
