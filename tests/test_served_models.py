"""Models that a run serves itself: a small server in vLLM's place is started, asked, stopped, and never left behind.

The server is given what `vllm serve` is given; vLLM itself is not run. As a Slurm job: tests/slurm.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import play_vllm
import pytest

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.config import OpenAITeacher
from stat_train.doctor.endpoints import teacher_checks
from stat_train.launch_settings import Server
from stat_train.models.serving import serve_command
from stat_train.models.serving_job import address_of, job_command, write_script
from stat_train.plan.show import make_plan

ROOT = Path(__file__).parents[1]
POOL, QUESTIONS = 40, 12
SKILLS = ["adding", "carrying", "counting", "reading"]
TASK = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", "task.skills=skills.json"]
TASK += [f"task.validation={QUESTIONS}", "difficulty=gold"]
TEACHER, STUDENT = "Big/Teacher", "Small/Student"
BOTH = [*TASK, "teacher=served", "student=served", "data_recipe.pairs=10", "until=curate"]


def served(role: str, model: str, folder: Path, behaviour: str = "serves") -> list[str]:
    """Return the settings of a model that the run serves by the server that plays vLLM."""
    folder.mkdir(exist_ok=True)
    arguments = f"--folder,'{folder}',--behaviour,{behaviour},--students,{STUDENT}"
    command = f"{role}.server.command=['{sys.executable}','{play_vllm.__file__}',serve]"
    return [f"{role}.model={model}", command, f"{role}.server.arguments=[{arguments}]"]


def lives(folder: Path) -> list[dict[str, Any]]:
    """Return what the servers noted of their beginnings and ends."""
    return [json.loads(line) for line in (folder / "lives.jsonl").read_text().splitlines()]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, which holds questions without labels and a list of skills."""
    monkeypatch.chdir(tmp_path)
    for name, first, count in (("pool", 0, POOL), ("test", 1000, QUESTIONS + 5)):
        rows = [{"id": f"{name}{n}", "question": f"What is {first + n} + 1?"} for n in range(count)]
        answers = [{"answer": str(first + n + 1), "solution": f"It is {first + n + 1}."} for n in range(count)]
        lines = [json.dumps(row | answer) + "\n" for row, answer in zip(rows, answers, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "skills.json").write_text(json.dumps(SKILLS))
    return tmp_path


def test_both_models_are_served_one_at_a_time_and_not_at_all_when_the_ledger_has_all(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher labels, the student answers, the teacher diagnoses: three servers, each gone before the next."""
    monkeypatch.setenv("VLLM_API_KEY", "of-another-server")
    vllm = here / "vllm"
    asked = [*BOTH, *served("teacher", TEACHER, vllm), *served("student", STUDENT, vllm), "teacher.server.gpus=[3]"]
    assert main([*asked, "run_dir=runs/one"]) == 0
    noted = lives(vllm)
    assert [(row["event"], row["name"]) for row in noted] == [
        (event, name) for name in (TEACHER, STUDENT, TEACHER) for event in ("begins", "ends")
    ]
    assert [row["at_seconds"] for row in noted] == sorted(row["at_seconds"] for row in noted)
    assert not any(is_there(row["pid"]) for row in noted)
    begun = noted[0]["arguments"]
    assert begun[:2] == ["serve", TEACHER] and begun[begun.index("--served-model-name") + 1] == TEACHER
    # Its environment is its own: our packages' path and a key that it was not given are not passed on, its GPUs are.
    assert (noted[0]["gpus"], noted[0]["path"], noted[0]["key"]) == ("3", None, None)
    answers = [json.loads(line) for line in (here / "runs/one/answers.jsonl").read_text().splitlines()]
    assert len(answers) == QUESTIONS and all(answer["final"] in ("0", "1", "2") for answer in answers)

    # Another run that makes all stages anew: every reply is in the ledger, and no server starts.
    shutil.rmtree(here / "runs/cache/artifacts")
    assert main([*asked, "run_dir=runs/two"]) == 0
    assert lives(vllm) == noted
    # The same models behind addresses are the same models.
    elsewhere = [f"{role}.base_url=http://127.0.0.1:9/v1" for role in ("teacher", "student")]
    names = [f"teacher.model={TEACHER}", f"student.model={STUDENT}", "teacher.api_key_env=null"]
    shutil.rmtree(here / "runs/cache/artifacts")
    assert main([*BOTH, "teacher=openai", "student=endpoint", *elsewhere, *names, "run_dir=runs/three"]) == 0
    assert (here / "runs/three/answers.jsonl").read_text() == (here / "runs/one/answers.jsonl").read_text()


@pytest.mark.slow
def test_a_server_makes_room_for_a_stage_that_needs_the_gpus(here: Path) -> None:
    """The teacher labels before the student's weights answer, and is started again to diagnose."""
    vllm = here / "vllm"
    asked = [*TASK, "teacher=served", "student=tiny", "until=diagnose", *served("teacher", TEACHER, vllm)]
    assert main(asked) == 0
    assert [row["event"] for row in lives(vllm)] == ["begins", "ends", "begins", "ends"]
    made = json.loads((here / "runs/jsonl-tiny-stat_sel-seed0/state.json").read_text())["done"]
    assert [row["stage"] for row in made] == ["questions", "label", "answer", "grade", "diagnose"]


@pytest.mark.parametrize(
    ("behaviour", "more", "said"),
    [
        (
            "dies",
            [],
            "ended with exit code 3 before it could be asked. Its last words, of {log}:\n"
            f"Loading weights ...\n{play_vllm.WORDS}",
        ),
        ("never", ["teacher.server.start_timeout_seconds=1.5"], "within teacher.server.start_timeout_seconds = 1.5"),
        (
            "leaves",
            ["teacher.max_retries=8", "teacher.max_wait_seconds=1.0"],
            "ended with exit code 7 while it was asked",
        ),
    ],
)
def test_a_server_that_cannot_be_asked_ends_the_run_and_is_gone(
    behaviour: str, more: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vllm = here / "vllm"
    asked = [*TASK, "teacher=served", "student=tiny", "until=label", *served("teacher", TEACHER, vllm, behaviour)]
    began = time.monotonic()
    assert main([*asked, *more, "run_dir=run"]) == 1
    assert said.format(log=here / "run/teacher_server.log") in capsys.readouterr().err
    # It is tried once, however many calls wait for it.
    (begun,) = [row for row in lives(vllm) if row["event"] == "begins"]
    assert not is_there(begun["pid"]) and time.monotonic() - began < 30


def test_a_program_that_is_absent_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*TASK, "teacher=served", "teacher.model=m", "student=tiny", "until=label"]
    assert main([*asked, "teacher.server.command=[no_such_vllm,serve]"]) == 2
    assert "there is no program no_such_vllm; install vLLM in an environment of its own" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_is_left_when_the_run_is_ended(number: signal.Signals, here: Path) -> None:
    """It is ended while it waits for the server to start."""
    vllm = here / "vllm"
    asked = [*TASK, "teacher=served", "student=tiny", "until=label", *served("teacher", TEACHER, vllm, "never")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen([sys.executable, "-m", "stat_train.cli", *asked], env=environment, cwd=here)
    end = time.monotonic() + 60
    while not (vllm / "lives.jsonl").exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    (begun,) = lives(vllm)
    assert is_there(begun["pid"])
    run.send_signal(number)
    assert run.wait(20) == (143 if number == signal.SIGTERM else -number)
    while is_there(begun["pid"]):
        assert time.monotonic() < end, "the server outlived the run"
        time.sleep(0.05)


# -- what is known before ---------------------------------------------------------------------------------------------


def teacher_of(*more: str) -> OpenAITeacher:
    found = read_settings(["teacher=served", f"teacher.model={TEACHER}", "until=label", *more]).config.teacher
    assert isinstance(found, OpenAITeacher)
    return found


def test_the_arguments_are_those_of_vllm_serve() -> None:
    given = ["teacher.revision=v2", "teacher.server.tensor_parallel_size=4", "teacher.server.arguments=[--seed,7]"]
    assert serve_command(teacher_of(*given), "h", "80") == [
        *("vllm", "serve", TEACHER, "--host", "h", "--port", "80", "--tensor-parallel-size", "4"),
        *("--served-model-name", TEACHER, "--revision", "v2", "--seed", "7"),
    ]
    # A folder has one version, and is known by the model's name.
    folder = serve_command(teacher_of(*given, "teacher.server.model=/weights/big"), "h", "80")
    assert folder[2] == "/weights/big" and "--revision" not in folder


def test_where_a_model_is_served_is_no_part_of_what_it_is() -> None:
    served_, moved = teacher_of(), teacher_of("teacher.server.where=slurm", "teacher.server.port=8000")
    behind = read_settings(["teacher=openai", f"teacher.model={TEACHER}"]).config.teacher
    assert served_.identity() == moved.identity() == behind.identity()


def test_the_doctor_looks_for_the_program_and_starts_nothing(here: Path) -> None:
    asked = [*TASK, "teacher=served", "until=label", *served("teacher", TEACHER, here / "vllm")]
    (found,) = teacher_checks(read_settings(asked).config)
    assert (found.state, "not started for this check" in found.seen) == ("ok", True)
    (absent,) = teacher_checks(read_settings([*asked, "teacher.server.command=[no_such_vllm,serve]"]).config)
    assert (absent.state, absent.remedy) == (
        "failed",
        "give its path: teacher.server.command=[/opt/vllm/bin/vllm,serve]",
    )
    assert not (here / "vllm" / "lives.jsonl").exists()


def test_a_plan_counts_the_calls_of_a_served_teacher(here: Path) -> None:
    plan = make_plan(read_settings([*TASK, "teacher=served", f"teacher.model={TEACHER}", "until=label"]))
    assert (plan.models, plan.total.usd.high if plan.total.usd else None) == ({"teacher": TEACHER}, 0.0)
    assert plan.total.calls == POOL + QUESTIONS


def test_the_script_of_a_job_asks_for_what_the_settings_say(tmp_path: Path) -> None:
    """The shell can read it; where it listens is what the job writes down."""
    config = read_settings(
        [
            *("teacher=served", f"teacher.model={TEACHER}", "teacher.server.where=slurm", "slurm.partition=cpu"),
            *("slurm.account=lab", "teacher.server.tensor_parallel_size=2"),
            "teacher.server.slurm={partition: gpu, time: '02:00:00', setup: [module load cuda]}",
        ]
    ).config
    assert isinstance(config.teacher, OpenAITeacher) and isinstance(config.teacher.server, Server)
    command = serve_command(config.teacher, "0.0.0.0", "$port")
    script = write_script(tmp_path / "teacher_server.log", "teacher", config.teacher.server, config.slurm, command)
    text = script.read_text()
    options = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {"--partition=gpu", "--account=lab", "--time=02:00:00", "--gpus-per-node=2", "--nodes=1"} <= options
    assert "\nmodule load cuda\n" in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    # As the job would run it, with a program that says how it was called.
    stand_in = text.replace("exec vllm", "exec echo").replace("module load cuda", "")
    environment = {"SLURM_JOB_ID": "41", "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", stand_in], env=environment, capture_output=True, text=True, check=True)
    assert f"serve {TEACHER} --host 0.0.0.0 --port 20041" in done.stdout
    assert (address_of(tmp_path / "teacher_server.log") or "").endswith(":20041")


def cluster_of(folder: Path, **programs: str) -> dict[str, str]:
    """Return an environment in which these shell scripts are programs; each notes how it is called in `calls`."""
    for name, script in ({"sleep": "exec /bin/sleep 0.01", "scancel": ""} | programs).items():
        (folder / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {folder}/calls\n{script}\n')
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_job_that_was_just_submitted_is_cancelled_when_the_server_is_stopped(tmp_path: Path) -> None:
    """All of the watch's processes are asked to end while sbatch is at work, which has the job when it returns."""
    environment = cluster_of(tmp_path, sbatch=f"touch {tmp_path}/begun; /bin/sleep 0.5; echo 77", squeue="echo RUNNING")
    watch = subprocess.Popen(job_command(tmp_path / "job.sh"), env=environment, start_new_session=True)
    end = time.monotonic() + 20
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < end and watch.poll() is None
        time.sleep(0.01)
    os.killpg(watch.pid, signal.SIGTERM)
    assert watch.wait(20) == 143
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "scancel 77"


def test_a_cluster_that_does_not_answer_for_a_moment_ends_no_server(tmp_path: Path) -> None:
    """It is asked until it does not know the job any more."""
    words = ["RUNNING", "slurm_load_jobs error: Unable to contact slurm controller", "RUNNING", "Invalid job id"]
    (tmp_path / "words").write_text("".join(f"{line}\n" for line in words))
    squeue = f"head -n 1 {tmp_path}/words >&2; sed -i 1d {tmp_path}/words"
    environment = cluster_of(tmp_path, sbatch="echo 77", squeue=squeue)
    done = subprocess.run(job_command(tmp_path / "job.sh"), env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "job 77 has ended")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum(call.startswith("squeue") for call in calls) == len(words)


def test_another_program_at_the_servers_port_is_not_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        asked = [*TASK, "teacher=served", "student=tiny", "until=label", *served("teacher", TEACHER, here / "vllm")]
        assert main([*asked, f"teacher.server.port={port}"]) == 2
    assert f"teacher.server.port = {port}: another program listens there" in capsys.readouterr().err
    assert not (here / "vllm" / "lives.jsonl").exists()
