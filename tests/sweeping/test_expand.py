"""Which runs a sweep has: its values, names and folders, and what is refused before any run starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stat_train.cli import main
from stat_train.compose import choices, config_dir, read_settings, read_sweep
from stat_train.errors import UserError
from stat_train.sweeping.axes import key_of, sort_arguments, vary
from stat_train.sweeping.expand import jobs_of
from stat_train.sweeping.launcher import take_launcher

FILE = ["sweep.params={data_recipe: 'pool,stat_sel', seed: '0,1'}"]
ALSO = ["sweep.also=[{data_recipe: random, train: none}]"]


def names(*arguments: str) -> list[str]:
    return [job.name for job in jobs_of(arguments).jobs]


def test_a_sweep_has_a_run_for_each_combination_and_each_has_its_folder() -> None:
    plan = jobs_of(["seed=3,4", "data_recipe=stat_sel,pool", "data_recipe.pairs=50"])
    # The seed varies fastest, wherever it was given.
    assert [job.name for job in plan.jobs] == ["stat_sel-seed3", "stat_sel-seed4", "pool-seed3", "pool-seed4"]
    assert plan.jobs[2].overrides == ["data_recipe=pool", "seed=3"]
    config = plan.jobs[2].settings.config
    assert (config.data_recipe.name, config.seed, config.data_recipe.pairs) == ("pool", 3, 50)
    assert Path(config.run_dir) == plan.folder / "pool-seed3"
    assert (plan.fixed, plan.swept, plan.over_seeds) == (["data_recipe.pairs=50"], ["data_recipe", "seed"], True)


def test_a_run_of_a_sweep_has_the_settings_that_it_would_have_alone() -> None:
    for job in jobs_of(["train.learning_rate=1e-4,0.001", "until=curate"]).jobs:
        alone = read_settings(["until=curate", *job.overrides, f"run_dir={job.settings.config.run_dir}"])
        assert job.settings.config == alone.config


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train.learning_rate=1e-4,0.001"], ["learning_rate0.0001", "learning_rate0.001"]),
        (["seed=range(0,3,2)"], ["seed0", "seed2"]),
        (["benchmark=[gsm8k],[gsm8k,amc23]"], ["gsm8k", "gsm8k_amc23"]),
        (["rounds=1,2", "seed=0"], ["rounds1", "rounds2"]),
        # Both keys end in `batch_size`, so neither is short.
        (["student.batch_size=1,2", "evaluate.batch_size=3"], ["batch_size1", "batch_size2"]),
        (
            ["student.batch_size=1,2", "evaluate.batch_size=3,null"],
            [f"student.batch_size{a}-evaluate.batch_size{b}" for a in (1, 2) for b in (3, "null")],
        ),
    ],
    ids=lambda part: " ".join(part),
)
def test_names_are_what_differs(given: list[str], expected: list[str]) -> None:
    assert names(*given) == expected


def test_names_that_would_be_the_same_are_told_apart() -> None:
    found = names("student.prompt.template='{question}?','{question}!'")
    assert len(set(found)) == 2
    assert all(re.fullmatch(r"template_?question-[0-9a-f]{8}", name) for name in found)


def test_the_folder_stays_when_only_the_way_to_run_changes() -> None:
    usual = jobs_of(["seed=0,1", "data_recipe.pairs=50"]).folder
    # Other seeds, a higher cap, a later last stage, another cache: the same sweep goes on.
    more = ["seed=2,3", "budget.max_usd=3", "until=curate", "cache_dir=elsewhere", "train.checkpoints=2"]
    assert jobs_of([*more, "data_recipe.pairs=50"]).folder == usual
    others = [["data_recipe.pairs=51"], ["data_recipe.pairs=50", "rounds=2"], ["sweep.folder=mine"]]
    folders = [jobs_of(["seed=0,1", *more]).folder for more in others]
    assert len({usual, *folders}) == 4
    assert folders[-1] == Path("mine")


def test_the_folder_of_a_sweep_with_nothing_else_is_named_after_what_varies() -> None:
    assert jobs_of(["train.learning_rate=1e-4,1e-3"]).folder == Path("runs/sweep-learning_rate")


# -- a sweep of a file ------------------------------------------------------------------------------------------------


def test_what_a_file_gives_together_is_crossed_with_what_it_leaves_open() -> None:
    plan = jobs_of([*FILE, *ALSO])
    assert [job.name for job in plan.jobs[4:]] == ["random-seed0-none", "random-seed1-none"]
    assert [job.settings.config.train.name for job in plan.jobs] == ["sft"] * 4 + ["none"] * 2
    # A run is no sweep, or its settings could not be given again.
    assert all(job.settings.config.sweep == read_settings([]).config.sweep for job in plan.jobs)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["seed=5"], ["pool-seed5", "stat_sel-seed5", "random-seed5-none"]),
        # One of the file's own values names the run that the whole sweep has.
        (["seed=1", "data_recipe=pool"], ["pool-seed1"]),
        (["data_recipe=hard"], ["hard-seed0", "hard-seed1"]),
        (["train=external,sft", "train.checkpoint=.", "seed=5"], None),
    ],
    ids=lambda part: " ".join(part or []),
)
def test_the_command_line_replaces_what_the_file_gives(more: list[str], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(UserError, match=r"pool-sft-seed5, stat_sel-sft-seed5: train.checkpoint = ") as error:
            names(*FILE, *ALSO, *more)
        assert "none" not in str(error.value), "what the file gives together names train, so it is left out"
    else:
        assert names(*FILE, *ALSO, *more) == expected


def header(file: str) -> tuple[list[str], str]:
    """Return the arguments of the command at the top of a settings file, and its cost in words."""
    found = re.search(r"# Command: stat-train -m (.*?)  +Cost: (.*)", (config_dir() / f"{file}.yaml").read_text())
    assert found, file
    return take_launcher(found[1].split())[1], found[2]


# The suites are composed where the other experiments are.
@pytest.mark.parametrize(
    "file",
    [
        *(f"sweep/{name}" for name in choices()["sweep"] if name != "arithmetic_suite" and "paper" not in name),
        "experiment/arithmetic_ablation",
    ],
)
def test_the_command_of_every_file_is_a_sweep_whose_runs_are_right(file: str) -> None:
    arguments, cost = header(file)
    given = sort_arguments(arguments)
    every = vary(read_sweep(given.fixed), given).combinations
    assert len(every) > 1
    # What costs nothing but time says how many runs it has.
    if file.startswith("sweep/") and cost.startswith("nothing"):
        assert cost.startswith(f"nothing; {len(every)} runs")
    # Seeds change nothing in whether settings are right.
    of_one = [f"seed={every[0]['seed']}"] if "seed" in every[0] else []
    plan = jobs_of([*(argument for argument in arguments if key_of(argument) != "seed"), *of_one])
    assert len(plan.jobs) * len({values.get("seed") for values in every}) == len(every)
    assert len({job.settings.config.run_dir for job in plan.jobs}) == len(plan.jobs)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["seed=0,1", "run_dir=here"], ["run_dir=here", "sweep.folder=FOLDER"]),
        (["seed=0,1", "seed=2,3"], ["seed=2,3", "all its values at once"]),
        (["seed=0,0"], ["seed=0", "twice"]),
        (["seed=interval(0,1)"], ["seed=interval(0,1)", "range(0,3)"]),
        (["sweep.params.seed=0,1"], ["sweep.params.seed=0,1", "such as seed=0,1"]),
        (["sweep=recipies"], ["sweep = recipies", 'Did you mean "recipes"?']),
        (["experiment=suite"], ["experiment = suite", 'Did you mean "paper/suite"?']),
        (["sweep.params={seed: 1}"], ["sweep.params.seed = 1", "expected a text"]),
        (["seed=0,1", "sweep.published=paper_table4"], ["sweep.published = paper_table4", '"paper_table3"']),
        (["seed=0,1", "hydra.sweep.dir=x"], ["hydra.sweep.dir=x", "no such setting"]),
        (["seed=0,1", "hydra/launcher=slurm"], ["hydra/launcher = slurm", "joblib, submitit_local, submitit_slurm"]),
        (["seed=0,1", "hydra.launcher.n_jobs=2"], ["hydra.launcher.n_jobs=2", "This launcher has: no settings"]),
        (
            ["seed=0,1", "hydra/launcher=submitit_slurm", "hydra.launcher.partitoin=a"],
            ["hydra.launcher.partitoin=a", "partition"],
        ),
        # What a run does not have is not left out in silence, also where the file chose for it.
        (["seed=0,1", *ALSO, "train.epochs=2"], ["seed0-random-none, seed1-random-none: train.epochs = 2: no such"]),
        # Every problem of every run, those that all have once.
        (
            ["seed=0,x", "data_recipe=pool,stat_sal", "train.epoch=1"],
            [
                "3 settings are wrong",
                "all 4 jobs: train.epoch = 1",
                "pool-seedx, stat_sal-seedx: seed = 'x'",
                "stat_sal-seed0, stat_sal-seedx: data_recipe = stat_sal",
            ],
        ),
    ],
    ids=lambda part: part[-1],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(
    given: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-m", *given]) == 2
    said = capsys.readouterr()
    assert [text for text in expected if text not in said.err] == []
    assert (said.out, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize("given", [["seed=0,1"], FILE, ALSO], ids=lambda part: part[0])
def test_without_m_a_sweep_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert "add -m" in capsys.readouterr().err


# -- before it is run -------------------------------------------------------------------------------------------------


def test_the_runs_can_be_listed_and_what_they_may_cost_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "--dry-run", "data_recipe=pool,stat_sel", "seed=0,1", "until=curate", "budget.max_usd=1.5"]) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if "to run" in line]
    assert rows[1] == ["pool-seed1", "to", "run", "data_recipe=pool", "seed=1"]
    assert len(rows) == 4
    assert "all: until=curate budget.max_usd=1.5" in said
    assert "$6.00 for 4 of them" in said
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_the_runs_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "seed=0,1", "--cfg", "job"]) == 0
    first, second = capsys.readouterr().out.split("--- # ")[1:]
    assert first.partition("\n")[0] == "seed0" and "\nseed: 0\n" in first
    assert second.partition("\n")[2] == jobs_of(["seed=0,1"]).jobs[1].settings.yaml


def test_help_of_sweeps_is_a_page_that_names_the_files_and_the_launchers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 106
    expected = {*choices()["sweep"], "basic", "joblib", "submitit_slurm", "--dry-run"} - {"none"}
    assert expected <= set(" ".join(lines).replace(",", " ").replace("=", " ").split())
