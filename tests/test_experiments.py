"""The experiments: each composes, gives way to the command line, has the paper's numbers, and is planned offline."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stat_train.cli import main
from stat_train.compose import choices, config_dir, read_settings
from stat_train.config import Config, LocalStudent, OpenAITeacher, StepRewardDifficulty
from stat_train.errors import ConfigError
from stat_train.evaluation.published import read_published
from stat_train.plan.sweep import plan_sweep
from stat_train.sweeping.expand import Plan, jobs_of
from stat_train.task_settings import TextTask
from stat_train.train_settings import GrpoTraining, SftTraining

ROOT = Path(__file__).parents[1]
# Sweeps, which have no settings of one run.
SUITES = ["paper/suite", "arithmetic_suite", "arithmetic_ablation"]
EXPERIMENTS = [name for name in choices()["experiment"] if name not in SUITES]
PAPERS = ["paper/llama1b", "paper/llama3b", "paper/qwen3b"]
# Fewer questions are planned sooner.
SMALL = ["plan.pool_questions=60", "plan.benchmark_questions=1100"]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection fail, start without any cache, and without the packages that only a run needs."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a plan reached for the network")

    monkeypatch.setattr("stat_train.packages.find_spec", lambda name: None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-cache"))
    monkeypatch.chdir(tmp_path)


def config_of(*arguments: str) -> Config:
    return read_settings(arguments).config


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the plan of these settings."""
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def header(name: str) -> str:
    """Return the comments at the start of an experiment's file."""
    lines = (config_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: lines.index("defaults:")])


# -- what each is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_numbers(name: str) -> None:
    config = config_of(f"experiment={name}", "rl=paper")
    rule, train, rl = config.difficulty, config.train, config.rl
    assert isinstance(rule, StepRewardDifficulty) and rule.prm
    assert (rule.prm.model, rule.tau1, rule.tau2) == ("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", 0.85, 0.7)
    assert isinstance(config.task, TextTask) and (config.task.name, config.task.validation) == ("math", 1000)
    assert (config.teacher.name, getattr(config.teacher, "model", "")) == ("openai", "gpt-4o-mini")
    assert (config.data_recipe.name, config.data_recipe.pairs, config.seed) == ("stat_sel", 9500, 0)
    assert isinstance(train, SftTraining) and train.lora
    assert (train.name, train.load_in_4bit, train.optimizer) == ("sft_qlora", True, "paged_adamw_8bit")
    assert (train.epochs, train.warmup_share, train.effective_batch_size) == (3, 0.03, 8)
    assert (train.weight_decay, train.gradient_clip) == (0.1, 0.3)
    assert train.learning_rates == [5e-4, 2e-4, 1e-4, 8e-5, 2e-5]
    assert (train.lora.rank, train.lora.alpha, train.lora.dropout, train.lora.merge) == (16, 32, 0.05, True)
    attention, mlp = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert set(train.lora.target_modules) == attention | mlp
    assert isinstance(rl, GrpoTraining)
    assert (rl.learning_rate, rl.warmup_share, rl.kl_coefficient, rl.rollouts, rl.epochs) == (5e-7, 0.0, 0.0, 4, 6)
    assert (rl.questions_per_batch, rl.questions_per_update, rl.max_new_tokens) == (256, 64, 2048)


def test_each_paper_experiment_has_its_student() -> None:
    students = {name: config_of(f"experiment={name}").student for name in PAPERS}
    models = {name: student.model for name, student in students.items() if isinstance(student, LocalStudent)}
    llama = "meta-llama/Llama-3.2-{}-Instruct"
    assert models == {PAPERS[0]: llama.format("1B"), PAPERS[1]: llama.format("3B"), PAPERS[2]: "Qwen/Qwen2.5-3B"}
    assert {getattr(student, "temperature", None) for student in students.values()} == {0.1}


def test_the_papers_recipes() -> None:
    """Their defaults are the paper's but for the size and the encoder, which an experiment gives."""
    names = ("stat_sel", "stat_syn", "embed_sel", "embed_syn", "hard")
    found = {name: config_of("experiment=paper/llama3b", f"data_recipe={name}").data_recipe for name in names}
    assert {recipe.pairs for recipe in found.values()} == {9500}
    embedders = {name: recipe.embedder for name, recipe in found.items() if hasattr(recipe, "embedder")}
    assert embedders == dict.fromkeys(("embed_sel", "embed_syn"), "Alibaba-NLP/gte-Qwen2-7B-instruct")
    values = {name: recipe.model_dump() for name, recipe in found.items()}
    assert (values["stat_sel"]["questions_per_skill"], values["stat_sel"]["answers_per_question"]) == (5, 3)
    assert [values["stat_syn"][key] for key in ("references", "solutions", "must_agree")] == [3, 3, 2]
    assert (values["hard"]["levels"], values["embed_sel"]["nearest"]) == ([4, 5], 5)
    assert values["embed_syn"]["questions_per_difficult"] == 5


def test_the_papers_benchmarks() -> None:
    """Those of the nine that are on the hub; the files of the others complete them."""
    files = [f"benchmark.{name}.path=o/n" for name in ("math2", "math_perturb_simple", "math_perturb_hard")]
    config = config_of("experiment=paper/llama3b", *files)
    assert {*config.task_benchmarks(), *config.benchmark} == set(read_published("paper_table3").average_of)
    sampled = {name: (each.samples, each.pass_at) for name, each in config.benchmark.items() if each.samples > 1}
    assert sampled == {"amc23": (64, None), "aime24": (64, 64), "aime25": (64, 64)}
    assert {each.temperature for name, each in config.benchmark.items() if name not in sampled} == {0.1}
    assert config.evaluate.temperature == 0.1


def test_the_quick_one_is_cheap() -> None:
    config = config_of("experiment=quick_math")
    assert config.budget.max_usd == 2.0 and config.data_recipe.pairs == 1000
    assert isinstance(config.teacher, OpenAITeacher) and config.difficulty.name == "gold"


# -- beside the command line ------------------------------------------------------------------------------------------


def test_the_command_line_wins() -> None:
    config = config_of(
        "experiment=paper/llama3b", "student.model=o/n", "data_recipe.pairs=7", "train.epochs=1", "seed=3"
    )
    assert (getattr(config.student, "model", ""), config.data_recipe.pairs, config.seed) == ("o/n", 7, 3)
    assert getattr(config.train, "epochs", 0) == 1
    assert config_of("train.epochs=1", "experiment=paper/llama3b").identity()["train"]["epochs"] == 1


def test_another_choice_leaves_the_experiments_settings_of_the_first_behind() -> None:
    config = config_of("experiment=paper/llama3b", "train=none", "teacher=labels", "difficulty=gold", "benchmark=[]")
    assert (config.train.model_dump(), config.teacher.model_dump()) == ({"name": "none"}, {"name": "labels"})
    shared = config_of("experiment=paper/llama3b", "train=sft").train
    assert isinstance(shared, SftTraining) and (shared.name, shared.effective_batch_size) == ("sft", 8)


def test_what_the_command_line_gives_to_a_choice_without_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs = 2: no such setting"):
        config_of("experiment=paper/llama3b", "train=none", "train.epochs=2")
    with pytest.raises(ConfigError, match=r"train\.epochs = 2: no such setting"):
        config_of("train=none", "train.epochs=2")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["math_difficult", "gsm8k", "amc23", "aime24", "aime25"]),
        (["benchmark=[gsm8k]"], ["gsm8k"]),
        (["benchmark=[math2,gsm8k]", "benchmark.math2.path=o/n"], ["gsm8k", "math2"]),
        (["benchmark=[]"], []),
        (["benchmark={}"], []),
        (["benchmark.mine.path=o/n"], ["math_difficult", "gsm8k", "amc23", "aime24", "aime25", "mine"]),
        (["benchmark.gsm8k.top_p=0.5"], ["math_difficult", "gsm8k", "amc23", "aime24", "aime25"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_list_of_benchmarks_takes_the_place_of_the_experiments(arguments: list[str], expected: list[str]) -> None:
    assert list(config_of("experiment=paper/llama3b", *arguments).benchmark) == expected


def test_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"experiment {', '.join(choices()['experiment'])}" in shown


def command_of(name: str) -> list[str]:
    """Return the arguments of the command at the top of an experiment's file."""
    command = re.search(r"# Command: stat-train (.*?)  +Cost: ", header(name))
    assert command, header(name)
    return command[1].split()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_of_each_header_composes(name: str) -> None:
    given = read_settings(command_of(name)).config
    assert given.run_dir.startswith(f"runs/{name.rpartition('/')[2]}-stat_sel")


# -- their plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "recipe"), [*((name, "stat_sel") for name in EXPERIMENTS), ("paper/llama3b", "stat_syn")]
)
def test_each_is_planned_without_network(name: str, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """60 pool and 1,000 (or 200) validation questions are labelled; 60 % of these are diagnosed."""
    made = planned(capsys, f"experiment={name}", f"data_recipe={recipe}", *SMALL)
    calls = {stage["stage"]: stage["calls"] for stage in made["stages"]}
    validation = 200 if name == "quick_math" else 1000
    assert (calls["label"], calls["diagnose"]) == (60 + validation, 0.6 * validation)
    assert made["total"]["usd"]["low"] > 0 and "60 of task.pool, 1,100 of task.benchmark" in made["notes"][0]
    assert made["answers"]["validation"] == validation
    # Made-up questions leave nothing where the run will look.
    assert not [path for path in (*Path("runs").rglob("*"), *Path("no-cache").rglob("*")) if path.is_file()]


def test_no_connection_is_tried_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Even with a cache to look in, nothing of the hub's or OpenAI's is imported that could connect."""
    script = (
        "import sys, socket\n"
        "def refuse(*_): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from stat_train.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "print({'torch', 'httpx', 'requests'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, "plan", "experiment=quick_math", *SMALL]
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "no-cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "No call was made." in done.stdout and done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", ["paper/llama3b", "quick_math"])
def test_the_cost_in_the_header_is_that_of_the_plan(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"Cost: \$([\d.]+) to \$([\d.]+) for the teacher", header(name))
    calls = re.search(r"([\d,]+) calls", header(name))
    assert found and calls
    made = planned(capsys, f"experiment={name}")
    usd = made["total"]["usd"]
    assert [round(usd["low"], 2), round(usd["high"], 2)] == [float(found[1]), float(found[2])]
    assert f"{made['total']['calls']:,}" == calls[1]


# -- the table of the paper -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite() -> Plan:
    """Return the runs of the suite's command."""
    option, *arguments = command_of("paper/suite")
    assert option == "-m"
    return jobs_of(arguments)


def test_the_suite_is_table_3(suite: Plan) -> None:
    """Three students, each with seven training sets and without any, all with GRPO: 3 x 8 runs."""
    recipes = {"pool", "augment", "hard", "embed_sel", "embed_syn", "stat_sel", "stat_syn"}
    runs = [job.settings.config for job in suite.jobs]
    made = Counter((getattr(each.student, "model", ""), each.train.name, each.data_recipe.name) for each in runs)
    students = set(read_published("paper_table3").students)
    trained = {(model, "sft_qlora", recipe) for model in students for recipe in recipes}
    assert made == Counter(trained | {(model, "none", "pool") for model in students}) and len(runs) == 24
    assert {(each.rl.name, each.data_recipe.pairs) for each in runs} == {("paper", 9500)}
    assert {each.data_recipe.allow_short for each in runs if each.data_recipe.name != "pool"} == {False}
    assert (len({each.run_dir for each in runs}), suite.published) == (24, "paper_table3")


def test_a_sweep_of_one_student() -> None:
    jobs = jobs_of(["experiment=paper/qwen3b", "data_recipe=stat_sel,stat_syn"]).jobs
    assert [job.settings.config.data_recipe.name for job in jobs] == ["stat_sel", "stat_syn"]


def test_the_plan_of_the_suite_is_that_of_its_header(suite: Plan) -> None:
    """Labels once; diagnoses once a student; 22,500 rewrites in all; both syntheses for each student.

    9,500 / 0.6 = 15,833 solutions of 5,278 questions, two a reply: 2,639.
    """
    written = 15833 + 2639
    assert f"{507 + 8500 + 3 * 600 + 22500 + 6 * written:,} calls" in header("paper/suite")
    small = ["plan.pool_questions=50", "plan.benchmark_questions=110", "task.validation=100"]
    few = jobs_of(["experiment=paper/llama1b,paper/qwen3b", "data_recipe=stat_sel,stat_syn", *small]).jobs
    found = plan_sweep(few)
    # 150 questions are read for a list of 7 subjects and then labelled; there are 150 rewrites.
    assert sum(each.total.calls for each in found) == 157 + 150 + 2 * 60 + 150 + 2 * written


def test_the_suite_of_the_embedded_task_has_every_recipe_for_each_seed_with_its_student() -> None:
    """With seed 1: eleven recipes by fine-tuning, four of them with GRPO after it, and GRPO alone."""
    option, *arguments = command_of("arithmetic_suite")
    given = [argument for argument in arguments if "launcher" not in argument]
    plan = jobs_of([*given, "seed=1"])
    runs = [job.settings.config for job in plan.jobs]
    assert option == "-m" and plan.results == Path("results/arithmetic_suite")
    assert Counter((each.rl.name, each.train.name) for each in runs) == {
        ("none", "sft"): 11,
        ("grpo", "sft"): 4,
        ("grpo", "none"): 1,
    }
    assert {each.data_recipe.name for each in runs} == set(choices()["data_recipe"])
    assert {(each.seed, getattr(each.student, "model", "")) for each in runs} == {(1, "tiny_b")}
    assert {(getattr(each.task, "mix", ""), getattr(each.teacher, "error_rate", 0)) for each in runs} == {("b", 0.3)}
    assert {getattr(each.rl, "prompts", "longer_chains") for each in runs} == {"longer_chains"}
    assert len({each.data_recipe.pairs for each in runs}) == 1
    assert all(list(each.benchmark) == ["difficult"] for each in runs)


def test_a_plan_names_the_packages_that_only_its_runs_need(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["plan.pool_questions=50", "plan.benchmark_questions=110", "task.validation=100"]
    notes = planned(capsys, "experiment=paper/llama3b", "data_recipe=embed_sel", "track=tensorboard", *small)["notes"]
    assert "pip install 'stat-train[embed]'" in notes[-1] and "pip install 'stat-train[tensorboard]'" in notes[-1]
    assert main(["experiment=paper/llama3b", "data_recipe=embed_sel"]) == 2
    assert "needs sentence-transformers; pip install 'stat-train[embed]'" in capsys.readouterr().err
    assert main(["-m", "seed=0,1", "track=tensorboard"]) == 2
    assert capsys.readouterr().err.count("needs tensorboard") == 1


def test_a_suite_without_m_is_not_planned_as_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "experiment=paper/suite"]) == 2
    assert "add -m" in capsys.readouterr().err


def test_a_group_in_the_place_of_a_verb_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "--help"]) == 2
    assert "give it as experiment=NAME" in capsys.readouterr().err
