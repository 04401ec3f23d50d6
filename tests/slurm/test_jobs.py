"""Which jobs a run and a sweep have, what each asks for, and what `launch slurm` says; without a cluster."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from stat_train.cli import main
from stat_train.compose import Settings, changed, read_settings
from stat_train.errors import ConfigError, UserError
from stat_train.sbatch import option, quoted
from stat_train.slurm.command import with_numbers
from stat_train.slurm.graph import Graph, NamedRun, jobs_of_runs, table_job
from stat_train.slurm.segments import segments

TEACHER = ["task=math", "difficulty=gold", "teacher=openai", "teacher.model=m"]
SERVED = ["student=endpoint", "student.model=m", "student.base_url=http://h/v1", "until=curate"]


@cache
def composed(*arguments: str) -> Settings:
    return read_settings(arguments)


def run(*arguments: str, name: str = "r") -> NamedRun:
    return NamedRun(name, changed(composed(*arguments), run_dir=name))


def graph(*arguments: str) -> Graph:
    return jobs_of_runs([run(*arguments)])


def sweep(*each: tuple[str, ...], base: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Return the jobs of runs named a, b, ..., each with what it comes after."""
    runs = [run(*arguments, name="abcdef"[index]) for index, arguments in enumerate(each)]
    return {job.name: job.after for job in jobs_of_runs(runs, base).jobs}


# -- the jobs of a run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "label answer profile curate train evaluate report"),
        (["rl=grpo"], "label answer profile curate train rl evaluate report"),
        (["train=none"], "label answer profile curate evaluate report"),
        (["difficulty=prm"], "label answer grade score profile curate train evaluate report"),
        (["until=questions"], "label"),
        (["until=grade"], "label answer profile"),
        (["until=train", "rl=grpo"], "label answer profile curate train"),
        (SERVED, "label answer profile curate"),
    ],
)
def test_a_run_has_a_job_for_each_part_that_it_has(arguments: list[str], expected: str) -> None:
    assert [segment.name for segment in segments(composed(*arguments).config)] == expected.split()


@pytest.mark.parametrize("until", ["questions", "grade", "diagnose", "train", "report"])
def test_the_last_job_goes_as_far_as_the_run_and_the_others_to_their_end(until: str) -> None:
    jobs = graph(f"until={until}").jobs
    assert [job.until for job in jobs] == [*(job.stage for job in jobs[:-1]), until]
    assert [job.after for job in jobs] == [(), *((job.name,) for job in jobs[:-1])]


def test_every_stage_is_in_one_job() -> None:
    stages = [stage for each in segments(read_settings(["difficulty=prm", "rl=grpo"]).config) for stage in each.stages]
    expected = "questions label answer grade score diagnose profile curate train rl evaluate report"
    assert stages == expected.split()


def test_each_round_has_jobs_of_its_own_and_those_before_the_last_are_whole() -> None:
    jobs = graph("rounds=2", "until=profile").jobs
    first = ["label", "answer", "profile", "curate", "train", "evaluate", "report"]
    assert [job.label for job in jobs] == [*first, *(f"{stage}-round2" for stage in first[:3])]
    assert [job.after for job in jobs[7:]] == [(f"r.{job.label}",) for job in jobs[6:-1]]
    assert [(job.round, job.until) for job in (jobs[6], jobs[-1])] == [(1, "report"), (2, "profile")]


def test_jobs_that_load_weights_have_gpus_and_the_others_none() -> None:
    asked = {job.stage: job.resources.gpus_per_node for job in graph("slurm.gpus_per_node=4", "rl=grpo").jobs}
    assert asked == dict.fromkeys(["answer", "train", "rl", "evaluate"], 4) | dict.fromkeys(
        ["label", "profile", "curate", "report"], 0
    )
    assert not any(job.resources.gpus_per_node for job in graph(*SERVED).jobs)


def test_jobs_that_serve_a_model_themselves_have_gpus_too() -> None:
    served = ["task=math", "difficulty=gold", "teacher=served", "teacher.model=m", "slurm.gpus_per_node=4"]
    asked = {job.stage: job.resources.gpus_per_node for job in graph(*served, "train=none").jobs}
    assert asked == dict.fromkeys(["label", "answer", "profile", "curate", "evaluate"], 4) | {"report": 0}
    elsewhere = {job.stage: job for job in graph(*served, "teacher.server.where=slurm", "until=label").jobs}
    assert elsewhere["label"].resources.gpus_per_node == 0 and len(elsewhere["label"].network) == 2


def test_with_shards_an_array_has_the_gpus_and_the_job_that_waits_for_it_none() -> None:
    jobs = {job.stage: job for job in graph("slurm.gpus_per_node=4", "slurm.shards=16").jobs}
    assert {stage for stage, job in jobs.items() if job.shard} == {"answer", "evaluate"}
    answer = jobs["answer"]
    assert answer.shard and (answer.resources.gpus_per_node, answer.shard.gpus_per_node) == (0, 1)
    assert jobs["train"].resources.gpus_per_node == 4
    harness = {job.stage: job for job in graph("slurm.shards=16", "evaluate.harness=[ifeval]").jobs}
    assert harness["evaluate"].shard is None and harness["evaluate"].resources.gpus_per_node == 1


def test_stages_that_ask_a_server_are_named_and_have_settings_of_their_own() -> None:
    changes = ["slurm.partition=gpu", "slurm.network={partition: login}", "slurm.stages={curate: {time: '1:00:00'}}"]
    jobs = {job.stage: job for job in graph(*TEACHER, *changes).jobs}
    assert {stage for stage, job in jobs.items() if job.network} == {"label", "profile", "curate"}
    assert {stage for stage, job in jobs.items() if job.resources.partition == "login"} == {
        "label",
        "profile",
        "curate",
    }
    assert (jobs["curate"].resources.time, jobs["label"].resources.time) == ("1:00:00", "24:00:00")
    assert "reads questions from the hub" in jobs["label"].network
    assert {job.stage for job in graph(*SERVED).jobs if job.network} == {"answer"}
    assert not any(job.network for job in graph().jobs)


def test_numbers_of_nodes_and_gpus_are_short_for_those_of_every_training() -> None:
    config = with_numbers(read_settings(["rl=grpo", "rl.processes=2"]), {"nodes": 2, "gpus_per_node": 4}).config
    assert config.slurm.gpus_per_node == 4
    assert (config.train.nodes, config.train.processes) == (2, 4)  # type: ignore[union-attr]
    assert (config.rl.nodes, config.rl.processes) == (2, 2)  # type: ignore[union-attr]
    jobs = jobs_of_runs([NamedRun("r", with_numbers(composed("rl=grpo"), {"nodes": 2}))]).jobs
    assert {job.stage for job in jobs if job.resources.nodes == 2} == {"train", "rl"}
    alone = with_numbers(read_settings(["train=none"]), {"nodes": 2, "gpus_per_node": 4}).config
    assert alone.train.name == "none" and alone.slurm.gpus_per_node == 4


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.effective_batch_size"):
        with_numbers(read_settings(["train.effective_batch_size=6"]), {"nodes": 2, "gpus_per_node": 2})


def test_a_change_of_the_wrong_kind_is_named() -> None:
    with pytest.raises(ConfigError, match=r"slurm\.stages\.train\.cpus = many: expected .*integer"):
        graph("slurm.stages={train: {cpus: many}}")
    with pytest.raises(UserError, match=r"slurm\.stages\.train\.nodes = 3: the training is to run on train\.nodes = 1"):
        graph("slurm.stages={train: {nodes: 3}}")


# -- the jobs of a sweep ----------------------------------------------------------------------------------------------


def test_runs_share_the_jobs_before_they_differ() -> None:
    jobs = sweep(("data_recipe=stat_sel",), ("data_recipe=pool",), ("data_recipe=pool", "train.epochs=9"))
    assert list(jobs) == [
        *(f"a.{stage}" for stage in ("label", "answer", "profile", "curate", "train", "evaluate", "report")),
        *(f"b.{stage}" for stage in ("curate", "train", "evaluate", "report")),
        *(f"c.{stage}" for stage in ("train", "evaluate", "report")),
    ]
    assert jobs["b.curate"] == ("a.profile",) and jobs["c.train"] == ("b.curate",)


@pytest.mark.parametrize(
    ("setting", "first_of_its_own"),
    [
        ("task.pool=400", "label"),
        ("seed=1", "label"),
        ("student.max_new_tokens=99", "answer"),
        ("difficulty=gold", "profile"),
        ("decontaminate.template_twins=drop", "curate"),
        ("train.learning_rate=0.1", "train"),
        ("evaluate.log_probabilities=false", "evaluate"),
        ("train.device_batch_size=1", "report"),
    ],
)
def test_a_job_is_of_its_own_from_the_setting_on_that_it_depends_on(setting: str, first_of_its_own: str) -> None:
    jobs = sweep((), (setting,))
    stages = ["label", "answer", "profile", "curate", "train", "evaluate", "report"]
    assert [name for name in jobs if name.startswith("b.")] == [
        f"b.{stage}" for stage in stages[stages.index(first_of_its_own) :]
    ]


def test_seeds_share_what_no_randomness_is_in() -> None:
    """Of questions from files nothing is random but sampling, the choice of rows, and the training."""
    text = ["task=math", "difficulty=gold", "teacher=labels", "student.temperature=0"]
    assert "b.label" not in sweep(tuple(text), (*text, "seed=1"))
    assert "b.curate" in sweep(tuple(text), (*text, "seed=1"))


def test_the_untrained_student_answers_the_benchmarks_once_before_all_evaluations() -> None:
    jobs = sweep(("data_recipe=stat_sel",), ("data_recipe=pool",), ("train=none",), base=Path("s/slurm"))
    assert jobs["base.base"] == ("a.curate",)
    assert jobs["a.evaluate"] == ("a.train", "base.base") and jobs["b.evaluate"] == ("b.train", "base.base")
    assert [name for name in jobs if name.startswith("c.")] == ["c.evaluate", "c.report"]
    found = jobs_of_runs([run(), run("seed=1", name="b")], Path("s/slurm"))
    (first, second) = (job for job in found.jobs if job.stage == "base")
    assert first.run and (first.run.settings.config.train.name, first.until) == ("none", "evaluate")
    assert first.run.folder == Path("s/slurm/base") and second.run and second.run.folder == Path("s/slurm/base1")


def test_the_table_comes_after_all_that_nothing_else_waits_for() -> None:
    found = jobs_of_runs([run(), run("data_recipe=pool", name="b")])
    assert table_job("s", found.runs[0].settings, found.jobs).after == ("a.report".replace("a", "r"), "b.report")


# -- scripts ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_scripts_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    more = ["slurm.setup=[module load cuda]", "slurm.options=[--exclusive]", "slurm.account=lab one"]
    given = ["slurm", *more, "slurm.container=i.sqsh", "nodes=2", "gpus_per_node=2", "until=train", "--dry-run"]
    assert main(["launch", *given]) == 0
    printed = capsys.readouterr().out
    scripts = printed.split("#!/usr/bin/env bash\n")[1:]
    assert len(scripts) == 5 and list(tmp_path.iterdir()) == []
    train = scripts[-1].splitlines()
    options = {
        "--nodes=2",
        "--gpus-per-node=2",
        "--exclusive",
        "--account='lab one'",
        "--signal=B:USR1@300",
        "--requeue",
    }
    assert {f"#SBATCH {each}" for each in options} < set(train) and "module load cuda" in train
    (started,) = (line for line in train if line.endswith(" &") and line.startswith("srun "))
    assert "--container-image=i.sqsh" in started and started.endswith(" train train 1 &")
    assert re.search(r"^\S+\.train: after \S+\.curate", printed, re.MULTILINE)
    assert "#SBATCH --gpus-per-node" not in scripts[0]


@pytest.mark.parametrize("text", ["two words", "it's", 'a"b', "$(touch x)", "a;b", "a#b", "`id`", "100%"])
def test_a_value_is_one_word_to_a_shell(text: str) -> None:
    assert shlex.split(option("account", text)) == [f"--account={text}"]


def test_a_value_of_two_lines_is_refused() -> None:
    with pytest.raises(UserError, match="without line breaks"):
        quoted("lab\n#SBATCH --nodes=99")


# -- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "usage: stat-train launch slurm"),
        (["--help"], 0, "slurm.shards=N"),
        (["slurm", "--help"], 0, "--dry-run"),
        (["kubernetes"], 2, "launch kubernetes: no such place; expected `stat-train launch slurm"),
        (["slurm", "--verbose"], 2, "--verbose: no such option; expected -m or --dry-run"),
        (["slurm", "nodes=none"], 2, "nodes=none: expected a whole number of at least 1"),
        (["slurm", "slurm.time=soon"], 2, "slurm.time = 'soon': expected HOURS:MINUTES:SECONDS"),
        (["slurm"], 2, "squeue: not found; expected Slurm's commands on the PATH"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["launch", *arguments]) == code
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
