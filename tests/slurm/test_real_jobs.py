"""Runs on a real Slurm: chained jobs, training over two nodes, what is interrupted, what is shared by an array."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import play_vllm
import pytest
from chat_server import ChatServer
from cluster import queue, wait_for

from stat_train.cli import main

REPOSITORY = Path(__file__).parents[2]
SETTINGS = [
    *("task.pool=300", "task.validation=20", "task.benchmark=20", "student.max_new_tokens=16"),
    *("data_recipe.pairs=64", "train.effective_batch_size=4", "train.epochs=4", "train.checkpoints=1"),
    *("slurm.gpus_per_node=0", "slurm.cpus=2", "slurm.time=00:30:00"),
]
STEPS = 64

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def on_the_cluster(slurm: Path) -> None:
    """Let the jobs find the package, as an installed one is found."""
    os.environ["PYTHONPATH"] = str(REPOSITORY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the runs are; a name that a shell and sbatch must be told in quotes."""
    return tmp_path_factory.mktemp("it's 100%j of $HOME")


def arguments(folder: Path, name: str, *settings: str, cache: str = "cache") -> list[str]:
    places = [f'{key}="{folder / place}"' for key, place in (("run_dir", name), ("cache_dir", cache))]
    return [*SETTINGS, *places, *settings]


def submitted(folder: Path, name: str, *settings: str, cache: str = "cache") -> dict[str, str]:
    """Submit a run; return the id of each of its jobs."""
    assert main(["launch", "slurm", *arguments(folder, name, *settings, cache=cache)]) == 0
    rows = read(folder / name / "slurm" / "jobs.json")
    return {row["stage"]: row["job_id"] for row in rows if row["array"] is None}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def told(job_id: str) -> dict[str, str]:
    """Return what Slurm knows of a job."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", job_id], capture_output=True, text=True, check=True
    )
    return dict(re.findall(r"(\w+)=(\S*)", shown.stdout.splitlines()[0]))


def states(run: Path, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], str]:
    """Return what `status` says of a run's jobs, by id and stage."""
    capsys.readouterr()
    assert main(["status", str(run)]) == 0
    said = re.findall(r"^ +job (\d+) \((\w+).*?\): (.*?)(?:,| \(|$)", capsys.readouterr().out, re.MULTILINE)
    return {(job_id, stage): state for job_id, stage, state in said}


def wait_until_done(*ids: str) -> None:
    wait_for(lambda: not [id for id in queue() if id.partition("_")[0] in ids], 180)


def require_completed(jobs: dict[str, str], folder: Path) -> None:
    states = {stage: told(job_id)["JobState"] for stage, job_id in jobs.items()}
    words = "\n".join(path.read_text()[-2000:] for path in folder.glob("slurm/*.log"))
    assert set(states.values()) == {"COMPLETED"}, f"{states}\n{words}"


# -- a chain of jobs, the last one on two nodes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(folder: Path) -> dict[str, str]:
    """Return the jobs of a run that has come to its end: fine-tuning with ZeRO-2, one process on each of two nodes."""
    jobs = submitted(
        folder, "chain", "nodes=2", "train.processes=1", "deepspeed=zero2", "train.epochs=1", "until=train"
    )
    found = {stage: told(job_id)["Dependency"] for stage, job_id in jobs.items()}
    # The first may have ended already, and a dependency that is met is no longer shown.
    assert found["profile"] == f"afterok:{jobs['answer']}(unfulfilled)"
    assert found["train"] == f"afterok:{jobs['curate']}(unfulfilled)"
    assert main(["launch", "slurm", *arguments(folder, "chain", "train.epochs=1")]) == 2
    wait_until_done(*jobs.values())
    require_completed(jobs, folder / "chain")
    return jobs


def test_a_chain_of_jobs_makes_what_one_process_makes(
    chain: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(chain) == ["label", "answer", "profile", "curate", "train"]
    assert states(folder / "chain", capsys) == {(id, stage): "COMPLETED" for stage, id in chain.items()}
    assert main(arguments(folder, "alone", "until=curate")) == 0
    assert "all stages were done before; nothing was run" in capsys.readouterr().out
    logs = {stage: (folder / "chain" / "slurm" / f"{stage}-{id}.log").read_text() for stage, id in chain.items()}
    assert re.search(r"^answer +[\d.]+ s$", logs["answer"], re.MULTILINE)
    assert re.search(r"^answer +done before$", logs["profile"], re.MULTILINE)


def test_two_nodes_train_together(chain: dict[str, str], folder: Path) -> None:
    assert told(chain["train"])["NodeList"] == "n[1-2]" and told(chain["curate"])["NumNodes"] == "1"
    speed = read(folder / "chain" / "throughput.json")
    assert (speed["processes"], speed["steps"]) == (2, STEPS // 4)
    world = (folder / "chain" / "slurm" / f"train-{chain['train']}.log").read_text()
    assert "2 processes" in world
    assert (folder / "chain" / "checkpoint" / "model.safetensors").is_file()


def test_a_job_that_the_cluster_refuses_leaves_none(
    chain: None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["until=profile", "slurm.stages={answer: {partition: nowhere}}"]
    assert main(["launch", "slurm", *arguments(folder, "refused", *more)]) == 2
    said = capsys.readouterr().err
    assert "invalid partition specified: nowhere" in said and said.count("\n") == 1
    assert "the 1 jobs submitted before were cancelled" in said
    wait_for(lambda: not queue(), 30)


# -- interrupted ------------------------------------------------------------------------------------------------------


def test_a_training_that_is_requeued_twice_ends_as_an_undisturbed_one(
    chain: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once by the cluster, which ends it as for a preemption, and once as near its time limit, where it asks for it."""
    for cache in ("undisturbed", "requeued"):
        shutil.copytree(folder / "cache", folder / cache)
    assert main(arguments(folder, "whole", "until=train", cache="undisturbed")) == 0
    jobs = submitted(folder, "again", "until=train", "slurm.signal_seconds=60", cache="requeued")
    train = jobs["train"]

    def steps() -> int:
        return sum(
            path.read_text().count("\n") for path in folder.glob("requeued/artifacts/train-*.partial/metrics.jsonl")
        )

    wait_for(lambda: steps() >= 5, 120)
    assert states(folder / "again", capsys)[train, "train"] == "RUNNING"
    subprocess.run(["scontrol", "requeue", train], check=True)
    started_again(train, 1)
    wait_for(lambda: steps() >= STEPS // 2, 120)
    assert steps() < STEPS
    subprocess.run(["scancel", "--batch", "--signal=USR1", train], check=True)
    started_again(train, 2)
    wait_until_done(*jobs.values())
    require_completed(jobs, folder / "again")
    log = (folder / "again" / "slurm" / f"train-{train}.log").read_text()
    assert f"of {STEPS}, as asked; the same command goes on from there" in log
    assert not (folder / "again" / "STOP").exists()
    models = [folder / name / "checkpoint" / "model.safetensors" for name in ("whole", "again")]
    assert models[0].resolve() != models[1].resolve()
    assert models[0].read_bytes() == models[1].read_bytes()


def started_again(job_id: str, times: int) -> None:
    """Wait until a job runs again, without the two minutes that Slurm would keep it in the queue.

    A node takes a job for killed that is back in the second in which it was ended.
    """

    def shown() -> tuple[str, str]:
        about = told(job_id)
        return about["Restarts"], about["JobState"]

    wait_for(lambda: shown() == (str(times), "PENDING"), 60)
    time.sleep(3)
    subprocess.run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"], check=True)
    wait_for(lambda: shown() == (str(times), "RUNNING"), 60)


# -- shared by an array -----------------------------------------------------------------------------------------------


def test_what_a_lost_task_of_an_array_left_is_given_out_again(
    folder: Path, chain: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """2,000 answers are 4 chunks of 500: each of 4 tasks begins one, and the one of the task that is killed is left."""
    asked = ["task.validation=200", "student.attempts=10", "student.temperature=1", "student.max_new_tokens=12"]
    jobs = submitted(folder, "shared", *asked, "until=answer", "slurm.shards=4", cache="shared_cache")
    chunks = "shared_cache/artifacts/answer-*.partial/answers.jsonl.chunks/.00000*"
    wait_for(lambda: len(claims(folder, chunks)) == 4, 120)
    array = read(next(folder.glob("shared_cache/artifacts/answer-*.partial/array.json")))
    victim = claims(folder, chunks)[-1]
    at_work = states(folder / "shared", capsys)
    assert at_work[jobs["answer"], "answer"] == "RUNNING" and "RUNNING" in at_work[array["job_id"], "answer"]
    subprocess.run(["scancel", f"{array['job_id']}_{victim}"], check=True)
    assert array["tasks"] == 4
    wait_until_done(*jobs.values())
    require_completed(jobs, folder / "shared")
    rows = [row for row in read(folder / "shared" / "slurm" / "jobs.json") if row["array"]]
    assert [row["array"] for row in rows] == [4, 1] and rows[0]["job_id"] == array["job_id"]
    assert main(arguments(folder, "unshared", *asked, "until=answer", cache="unshared_cache")) == 0
    answers = [(folder / name / "answers.jsonl").read_bytes() for name in ("shared", "unshared")]
    assert answers[0] == answers[1] and answers[0].count(b"\n") == 2000


def claims(folder: Path, pattern: str) -> list[str]:
    """Return the tasks that have begun a chunk, by the marks that they leave, in the order of the chunks."""
    found = [re.search(r"task (\d+)", path.read_text()) for path in sorted(folder.glob(pattern))]
    return [match[1] for match in found if match]


# -- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_of_two_by_two_runs_by_submitit(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in one array of Slurm; what the runs share is made once, whoever comes first."""
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.timeout_min=10"]
    launcher += ["hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]
    places = [f"sweep.folder={tmp_path / 'sweep'}", f"cache_dir={tmp_path / 'cache'}"]
    varied = ["data_recipe=pool,random", "train.epochs=1,2", "until=curate"]
    assert main(["-m", *SETTINGS, *places, *varied, *launcher]) == 0
    assert len(re.findall(r"^ \S+ +done +", capsys.readouterr().out, re.MULTILINE)) == 4
    runs = sorted(path.parent.name for path in tmp_path.glob("sweep/*/training_set.jsonl"))
    assert runs == ["pool-epochs1", "pool-epochs2", "random-epochs1", "random-epochs2"]
    made = [path.name.partition("-")[0] for path in tmp_path.glob("cache/artifacts/*-*") if path.is_dir()]
    assert sorted(made) == sorted(
        ["questions", "label", "answer", "grade", "diagnose", "profile", "decontaminate", *["curate"] * 2]
    )


def test_the_jobs_of_a_sweep_end_with_its_table(folder: Path, chain: dict[str, str]) -> None:
    """Two runs of which one is the chain's, and so makes nothing: the other has jobs from its training set on."""
    place = [f'sweep.folder="{folder / "sweep"}"', f'cache_dir="{folder / "cache"}"', "until=curate"]
    assert main(["launch", "slurm", "-m", *SETTINGS, *place, "train.epochs=1", "data_recipe=stat_sel,pool"]) == 0
    jobs = {name: read(folder / "sweep" / name / "slurm" / "jobs.json") for name in ("stat_sel", "pool", "")}
    (table,) = jobs[""]
    assert [row["stage"] for row in jobs["pool"]] == ["label", "answer", "profile", "curate"]
    assert jobs["pool"][:3] == jobs["stat_sel"][:3] and jobs["pool"][3] != jobs["stat_sel"][3]
    wait_until_done(table["job_id"])
    require_completed({"table": table["job_id"]}, folder / "sweep")
    said = Path(table["log"]).read_text()
    assert len(re.findall(r"^ *(stat_sel|pool) +done", said, re.MULTILINE)) == 2


# -- labels -----------------------------------------------------------------------------------------------------------


def test_an_array_asks_the_teacher_and_the_job_that_waits_for_it_asks_nothing_again(
    folder: Path, slurm: Path, server: ChatServer
) -> None:
    """400 questions are two chunks of 200, one for each of two tasks."""
    place = folder / "labels"
    place.mkdir()
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(420)]
    for name, part in (("pool", rows[:380]), ("test", rows[380:])):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (place / "skills.json").write_text(json.dumps(["factoring", "graphing", "angles"]))
    files = {"task.pool": "pool.jsonl", "task.benchmark": "test.jsonl", "task.skills": "skills.json"}
    files |= {"run_dir": "run", "cache_dir": "cache"}
    given = [f'{key}="{place / name}"' for key, name in files.items()]
    given += ["task=jsonl", "task.validation=20", "teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}"]
    given += ["teacher.api_key_env=null", "difficulty=gold", "budget.max_calls=400", "until=label"]
    cluster = ["slurm.gpus_per_node=0", "slurm.cpus=2", "slurm.time=00:30:00", "slurm.shards=2"]
    assert main(["launch", "slurm", *given, *cluster]) == 0
    (label,) = (row["job_id"] for row in read(place / "run" / "slurm" / "jobs.json"))
    wait_until_done(label)
    require_completed({"label": label}, place / "run")
    assert [row["array"] for row in read(place / "run" / "slurm" / "jobs.json")] == [None, 2]
    assert Counter(Counter(row["prompt"] for row in server.log()).values()) == {1: 400}
    labelled = [json.loads(line) for line in (place / "run" / "skill_map.jsonl").read_text().splitlines()]
    assert len(labelled) == 400 and all(row["call_ids"] for row in labelled)
    assert not list(place.glob("cache/artifacts/label-*/*chunks*"))


# -- a model that is served -------------------------------------------------------------------------------------------


def test_a_teacher_is_served_by_a_job_of_its_own_which_ends_with_the_run(
    folder: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "served"
    place.mkdir()
    monkeypatch.chdir(place)
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
    for name, part in (("pool", rows[:15]), ("test", rows[15:])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    Path("skills.json").write_text(json.dumps(["adding", "carrying"]))
    given = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
    given += ["task.validation=5", "difficulty=gold", "until=label", "teacher=served", "teacher.model=Big/Teacher"]
    given += [f"teacher.server.command=['{sys.executable}','{play_vllm.__file__}',serve]"]
    given += ["teacher.server.arguments=[--folder,lives,--behaviour,serves]", "teacher.server.where=slurm"]
    Path("lives").mkdir()
    assert (
        main(
            [
                *given,
                'teacher.server.slurm={gpus_per_node: 0, cpus: 1, time: "00:10:00"}',
                "run_dir=run",
                "cache_dir=cache",
            ]
        )
        == 0
    )
    (job_id,) = re.findall(r"submitted as job (\d+)", "".join(log.read_text() for log in Path("run").glob("*.log")))
    wait_until_done(job_id)
    assert told(job_id)["JobState"] == "CANCELLED"
    # Slurm calls the job ended before it has asked its processes to.
    wait_for(lambda: Path("lives/lives.jsonl").read_text().count("\n") == 2)
    begins, ends = map(json.loads, Path("lives/lives.jsonl").read_text().splitlines())
    assert (begins["event"], ends["event"], begins["pid"]) == ("begins", "ends", ends["pid"])
    labelled = [json.loads(line) for line in Path("run/skill_map.jsonl").read_text().splitlines()]
    assert len(labelled) == 20 and all(row["call_ids"] for row in labelled)
