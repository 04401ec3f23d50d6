"""The doctor says what a run needs and lacks: over real connections, with real files and a real training step."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chat_server import ChatServer, reply_to
from packaging.specifiers import SpecifierSet
from rich.console import Console

from stat_train.cli import main
from stat_train.doctor import machine
from stat_train.doctor.check import Check, one_line, show
from stat_train.doctor.endpoints import QUESTION
from stat_train.doctor.machine import package_check
from stat_train.doctor.student import what_is_wrong
from stat_train.models.places import SHIPPED

ROOT = Path(__file__).parents[1]
KEY = "sk-a-secret-that-must-not-be-seen"
NOBODY = "http://127.0.0.1:9/v1"
REPLY = reply_to(QUESTION)
WITHOUT_WEIGHTS = ["difficulty=gold", "until=profile", "student=endpoint", "student.model=m"]
STUDENT = [*WITHOUT_WEIGHTS, "student.base_url={url}"]
TEACHER = [
    "until=label",
    "teacher=openai",
    "teacher.model=m",
    "teacher.api_key_env=null",
    "teacher.base_url={url}",
    "teacher.connect_timeout_seconds=5.0",
]


class Doctor(NamedTuple):
    """What the doctor said, by the name of the check; several addresses of one role are told apart by their place."""

    code: int
    checks: list[Check]

    def all(self, name: str) -> list[Check]:
        return [check for check in self.checks if check.name == name]

    def __getitem__(self, name: Any) -> Any:
        (check,) = self.all(name)
        return check


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Doctor]:
    """Return a function that asks the doctor, in an empty folder, which it must leave empty."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def ask(*settings: str) -> Doctor:
        code = main(["doctor", *settings, "--json"])
        said = json.loads(capsys.readouterr().out)
        assert list(here.iterdir()) == []
        checks = [Check(**check) for check in said["checks"]]
        assert said["works"] == (code == 0) == (not any(check.state == "failed" for check in checks))
        return Doctor(code, checks)

    return ask


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ChatServer]]:
    """Return a function that starts a server with a plan."""
    started: list[ChatServer] = []

    def server(**plan: Any) -> ChatServer:
        started.append(ChatServer(tmp_path / f"server{len(started)}", plan))
        return started[-1]

    yield server
    for one in started:
        one.stop()


def at(settings: list[str], url: str) -> list[str]:
    return [setting.format(url=url) for setting in settings]


# -- endpoints --------------------------------------------------------------------------------------------------------


def test_a_teacher_that_works_is_asked_twice(start: Callable[..., ChatServer], doctor: Callable[..., Doctor]) -> None:
    """The server counts tokens as words: 6 of the question; `reply`, 12 digits, `to:` and the question are 9."""
    server = start()
    said = doctor(*at(TEACHER, server.url))
    assert said.code == 0
    assert said["teacher"].state == "ok"
    assert said["teacher"].seen.startswith(f"{server.url} replied in 0.")
    assert said["teacher"].seen.endswith(f's, 6 + 9 tokens: "{REPLY[:40]}..."')
    assert f"{server.url} holds to a JSON schema: " in said["teacher JSON"].seen
    assert said["teacher price"].state == "ok" and "unknown" in said["teacher price"].seen
    assert "teacher.usd_per_million_input_tokens" in said["teacher price"].remedy
    assert [(row["prompt"], row["schema"]) for row in server.log()] == [(QUESTION, False), (QUESTION, True)]


def test_a_second_teacher_is_asked_where_it_is(start: Callable[..., ChatServer], doctor: Callable[..., Doctor]) -> None:
    first, second = start(), start()
    other = ["until=profile", "audit.model=n", f"audit.base_url={second.url}"]
    said = doctor(*at(TEACHER, first.url), *other, "audit.sample=5")
    assert (said.code, said["audit"].state, said["audit JSON"].state) == (0, "ok", "ok")
    assert said["audit"].seen.startswith(f"{second.url} replied in 0.")
    assert "audit.usd_per_million_input_tokens" in said["audit price"].remedy
    assert (len(first.log()), len(second.log())) == (2, 2)
    # The teacher that is asked again itself is checked already.
    assert not doctor(*at(TEACHER, first.url), "until=profile", "audit.sample=5").all("audit")
    # A run that ends before the audit asks nobody.
    assert not doctor(*at(TEACHER, first.url), *other, "audit.sample=5", "until=diagnose").all("audit")
    refused = doctor(
        *at(TEACHER, first.url), "until=profile", "audit.model=n", f"audit.base_url={NOBODY}", "audit.sample=5"
    )
    assert (refused.code, refused["audit"].state) == (1, "failed")
    assert "check audit.base_url" in refused["audit"].remedy


def test_a_served_student_is_asked_once_as_the_run_asks_it(
    start: Callable[..., ChatServer], doctor: Callable[..., Doctor]
) -> None:
    server = start()
    said = doctor(*at(STUDENT, server.url), "student.prompt.template='Q: {question}'")
    assert said.code == 0
    assert said["student"].state == "ok"
    assert said["student price"].seen == "$0 per million input tokens, $0 output"
    assert [(row["prompt"], row["schema"]) for row in server.log()] == [(f"Q: {QUESTION}", False)]
    assert said["teacher"] == Check("teacher", "skipped", "teacher=arithmetic needs no endpoint")


def test_the_body_is_the_runs_with_few_tokens(doctor: Callable[..., Doctor], listener: Listener) -> None:
    added = "student.request_overrides={temperature: null, top_p: 0.9}"
    chat = "student.prompt.chat_template_arguments={enable_thinking: false}"
    assert doctor(*at(STUDENT, f"{listener.url}/v1"), added, chat).code == 0
    (body,) = listener.bodies
    assert body.pop("messages") == [{"role": "user", "content": QUESTION}]
    assert body == {"model": "m", "max_tokens": 256, "top_p": 0.9, "chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.parametrize("schema", ["refused", "ignored"])
def test_a_teacher_without_schemas_works(
    schema: str, start: Callable[..., ChatServer], doctor: Callable[..., Doctor]
) -> None:
    said = doctor(*at(TEACHER, start(schema=schema).url))
    assert (said.code, said["teacher JSON"].state) == (0, "ok")
    assert said["teacher JSON"].seen.endswith("does not hold to a JSON schema; tagged text is used")


@pytest.mark.parametrize(("folder", "state"), [(None, "ok"), ("absent", "failed"), ("empty", "failed")])
def test_the_teacher_s_prompts(folder: str | None, state: str, doctor: Callable[..., Doctor], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    own = [f"teacher.prompts={tmp_path / folder}"] if folder else []
    assert doctor(*at(TEACHER, NOBODY), *own)["prompts"].state == state


def test_a_server_that_is_down(doctor: Callable[..., Doctor]) -> None:
    said = doctor(*at(TEACHER, NOBODY))
    assert (said.code, said["teacher"].state) == (1, "failed")
    assert said["teacher"].seen.startswith(f"{NOBODY}: ConnectError")
    assert "start the server, or check teacher.base_url" in said["teacher"].remedy
    assert said["teacher JSON"] == Check("teacher JSON", "skipped", "no address replied")


def test_one_of_several_addresses_is_dead(start: Callable[..., ChatServer], doctor: Callable[..., Doctor]) -> None:
    servers = [start(), start()]
    said = doctor(*at(TEACHER, f"[{servers[0].url},{NOBODY},{servers[1].url}]"))
    assert said.code == 1
    assert [(check.state, check.seen.split()[0].rstrip(":")) for check in said.all("teacher")] == [
        ("ok", servers[0].url),
        ("failed", NOBODY),
        ("ok", servers[1].url),
    ]
    assert [len(server.log()) for server in servers] == [2, 1]


@pytest.mark.parametrize(
    ("plan", "seen", "remedy"),
    [
        ({"fault_share": 1.0, "faults": ["error_503"]}, "HTTP 503", "try again later; a run sends again up to 8 times"),
        ({"fault_share": 1.0, "faults": ["html"]}, "text/html", "most end in /v1"),
        ({"fault_share": 1.0, "faults": ["refusal"]}, "m refused a harmless question", "check teacher.model"),
        ({"out_of_funds": True}, "HTTP 429: You exceeded your current quota", "add funds"),
        (
            {"raw": {"choices": [{"message": {"content": " "}, "finish_reason": "stop"}]}},
            "empty reply",
            "teacher.model",
        ),
    ],
    ids=["busy", "html", "refusal", "funds", "empty"],
)
def test_a_call_that_fails_says_what_to_do(
    plan: dict[str, Any], seen: str, remedy: str, start: Callable[..., ChatServer], doctor: Callable[..., Doctor]
) -> None:
    said = doctor(*at(TEACHER, start(**plan).url))
    assert (said.code, said["teacher"].state) == (1, "failed")
    assert seen in said["teacher"].seen and remedy in said["teacher"].remedy


def test_a_model_that_is_cut_off_while_it_thinks_is_there(
    start: Callable[..., ChatServer], doctor: Callable[..., Doctor]
) -> None:
    raw = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    said = doctor(*at(TEACHER, start(raw=raw).url))
    assert said.code == 0
    assert said["teacher"].seen.endswith("tokens not told: cut off before its first word")
    assert said["teacher JSON"].seen.startswith("not known: the reply was cut off")


@pytest.mark.parametrize("accepted", [True, False])
def test_the_key_is_not_shown(
    accepted: bool, start: Callable[..., ChatServer], doctor: Callable[..., Doctor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is sent back by the server, as some providers do."""
    monkeypatch.setenv("THE_KEY", KEY)
    server = start(api_key=KEY if accepted else "another")
    said = doctor(*at(TEACHER, server.url), "teacher.api_key_env=THE_KEY")
    assert (said.code, said["teacher"].state) == ((0, "ok") if accepted else (1, "failed"))
    if not accepted:
        assert said["teacher"].seen == f"{server.url}: refused with HTTP 401: Incorrect API key provided: [API key]."
        assert "the environment variable that teacher.api_key_env names" in said["teacher"].remedy
    assert KEY not in str(said)


def test_a_key_that_is_not_in_the_environment(
    start: Callable[..., ChatServer], doctor: Callable[..., Doctor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    server = start()
    said = doctor(*at(TEACHER, server.url), "teacher.api_key_env=THE_KEY")
    assert (said.code, said["teacher"].state) == (1, "failed")
    assert said["teacher"].seen == "teacher.api_key_env = THE_KEY: there is no such variable in the environment"
    assert said["teacher"].remedy.startswith("put the key there")
    assert server.log() == []


def test_what_a_run_does_not_use_is_skipped(doctor: Callable[..., Doctor], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "1", "question": "1+1", "answer": "2", "responses": ["2"]}\n')
    task = ["task=jsonl", f"task.pool={rows}", f"task.benchmark={rows}", "teacher=labels", "difficulty=gold"]
    said = doctor(*task, "student=recorded", f"student.path={rows}", "until=curate")
    assert said.code == 0
    names = ("teacher", "student", "student files", "training step", "GPU")
    assert [said[name].state for name in names] == ["skipped"] * len(names)
    assert "torch" in said["other packages"].seen.replace(",", "").split()
    assert said.all("openai") == []


# -- packages ---------------------------------------------------------------------------------------------------------


def test_packages_are_held_against_what_this_package_asks_for(
    doctor: Callable[..., Doctor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older hydra-core, and no trl, as far as what is installed tells; packages of an extra are not asked for."""
    wanted = [
        "hydra-core>=1.3,<1.4",
        "rich>=13",
        "nowhere>=1; sys_platform == 'nothing'",
        "pytest>=9000; extra == 'dev'",
    ]
    distribution(tmp_path, "stat_train", "0.1.0", wanted)
    distribution(tmp_path, "hydra_core", "1.2.7", [])
    monkeypatch.syspath_prepend(str(tmp_path))
    said = doctor(*at(WITHOUT_WEIGHTS, ""), f"student.base_url={NOBODY}")
    assert said["hydra-core"] == Check(
        "hydra-core", "failed", "1.2.7; expected <1.4,>=1.3", "pip install 'hydra-core<1.4,>=1.3'"
    )
    assert said["rich"] == Check("rich", "ok", metadata.version("rich"))
    assert said["openai"].state == "ok"
    assert said.all("other packages") == said.all("pytest") == []


def distribution(folder: Path, name: str, version: str, wanted: list[str]) -> None:
    """Write what an installed package tells of itself."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    lines = [f"Name: {name.replace('_', '-')}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in wanted)]
    (about / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def test_a_package_that_is_absent() -> None:
    check = package_check("no-such-package", SpecifierSet(">=2"))
    assert check == Check(
        "no-such-package", "failed", "is not installed; expected >=2", "pip install 'no-such-package>=2'"
    )


# -- disk and GPUs ----------------------------------------------------------------------------------------------------


def test_room_for_the_checkpoints_is_asked_for_when_the_run_trains(
    doctor: Callable[..., Doctor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are 4-byte floats in one file with a short header; 36 bytes for each are asked for, and 1 GB."""
    parameters = (SHIPPED["tiny"] / "model.safetensors").stat().st_size / 4
    needed = 10**9 + 36 * parameters
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=int(0.999 * needed)))
    said = doctor()
    assert (said.code, said["cache_dir"].state, said["run_dir"].state) == (1, "failed", "ok")
    assert said["cache_dir"].remedy == "make room, or give cache_dir=FOLDER"
    assert said["training step"] == Check("training step", "skipped", "needs what failed above: cache_dir")
    assert doctor("until=profile")["cache_dir"].state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=int(1.001 * needed)))
    assert machine.cache_check(config(), int(parameters)).state == "ok"


def config(*settings: str) -> Any:
    from stat_train.compose import read_settings

    return read_settings(settings).config


def test_a_place_that_cannot_be_a_folder(doctor: Callable[..., Doctor], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = doctor("until=profile", f"cache_dir={tmp_path}/file/cache", f"run_dir={tmp_path}/new/run")
    assert (said.code, said["run_dir"].state) == (1, "ok")
    assert said["cache_dir"].seen == f"{tmp_path}/file is not a folder"
    assert f"free in {tmp_path}," in said["run_dir"].seen


@pytest.mark.parametrize(
    ("script", "state", "seen"),
    [
        (None, "ok", "no GPU; CPU is used"),
        (
            "echo 'NVIDIA H100, 81559 MiB, 81000 MiB'",
            "ok",
            "NVIDIA H100, 81559 MiB, 81000 MiB; not used: torch 2.9+cpu",
        ),
        ("echo 'Driver/library version mismatch' >&2; exit 18", "skipped", "Driver/library version mismatch"),
        ("exit 0", "skipped", "it lists no GPU"),
    ],
    ids=["none", "one", "driver", "empty"],
)
def test_gpus(script: str | None, state: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program in the place of nvidia-smi; none of it is needed."""
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    distribution(tmp_path, "torch", "2.9+cpu", [])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    check = machine.gpu_check(config("until=answer"))
    assert check.state == state and seen in check.seen


# -- a student with weights -------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the shipped student."""
    return Path(shutil.copytree(SHIPPED["tiny"], tmp_path / "student"))


def test_a_whole_student_trains_for_one_step(doctor: Callable[..., Doctor]) -> None:
    said = doctor()
    assert said.code == 0
    assert said["student files"].seen.startswith("0.7 million parameters in ")
    assert said["training step"].state == "ok"
    assert said["training step"].seen.startswith("1 step on 2 short rows, loss ")


def test_a_student_that_cannot_be_loaded_fails_its_step_with_its_words(
    doctor: Callable[..., Doctor], copy: Path
) -> None:
    """What names and sizes do not tell: a kind of model that the library does not know."""
    (copy / "config.json").write_text('{"model_type": "nothing_known"}')
    said = doctor("student=local", f"student.model={copy}")
    assert (said.code, said["student files"].state, said["training step"].state) == (1, "ok", "failed")
    assert "cannot be loaded" in said["training step"].seen and "nothing_known" in said["training step"].seen
    assert "student.model" in said["training step"].remedy


def test_a_loss_that_is_no_number_is_no_success(doctor: Callable[..., Doctor], copy: Path) -> None:
    """The last bytes of the file are the last tensor's: all bits set are no number, in any float format.

    The training library alone would report a loss of 0.
    """
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4096] + b"\xff" * 4096)
    said = doctor("student=local", f"student.model={copy}")
    assert (said.code, said["training step"].state) == (1, "failed")
    assert "the loss is nan at step 1" in said["training step"].seen


def test_a_student_that_is_not_whole_is_not_trained(doctor: Callable[..., Doctor], copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    said = doctor("student=local", f"student.model={copy}")
    assert (said.code, said["student files"].state) == (1, "failed")
    assert "there are no weights (model.safetensors or pytorch_model.bin)" in said["student files"].seen
    assert said["student files"].remedy.startswith("give student.model=FOLDER")
    assert said["training step"].seen == "needs what failed above: student files"


def test_what_is_wrong_with_a_folder(copy: Path) -> None:
    assert what_is_wrong(copy) is None
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert "is cut off" in str(what_is_wrong(copy))
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git-lfs" in str(what_is_wrong(copy))
    weights.rename(copy / "one.safetensors")
    (copy / "one.safetensors").write_bytes(whole)
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert what_is_wrong(copy) == "1 of 2 files of the weights are absent, such as two.safetensors"
    for tokenizer in copy.glob("tokenizer*"):
        tokenizer.unlink()
    assert "there is no tokenizer" in str(what_is_wrong(copy))
    (copy / "config.json").rename(copy / "adapter_config.json")
    assert what_is_wrong(copy) == "an adapter alone, without its model"


# -- a student on the hub ---------------------------------------------------------------------------------------------


class Listener(NamedTuple):
    """A server of this process: where it is, and the bodies that were sent there."""

    url: str
    bodies: list[dict[str, Any]]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Serve as a hub that has `some/model` (1,000,000 parameters) alone, and as a chat endpoint that says ok."""
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.startswith("/api/models/some/model")
            model = {"id": "some/model", "siblings": [], "safetensors": {"parameters": {"F32": 10**6}, "total": 10**6}}
            self.reply(200 if known else 404, model if known else {"error": "Repository not found"})

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply(200, {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]})

        def reply(self, status: int, value: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Listener(f"http://127.0.0.1:{server.server_port}", bodies)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("model", "offline", "reached", "state", "seen"),
    [
        ("some/model", False, True, "ok", "some/model: 1.0 million parameters, to be downloaded from the hub"),
        ("no/model", False, True, "failed", "no/model: no such model"),
        ("some/model", False, False, "failed", "some/model: the hub cannot be reached"),
        ("some/model", True, True, "failed", "some/model: not whole in"),
        ("not a name", False, True, "failed", "not a name: neither a folder nor a hub name"),
    ],
    ids=["there", "unknown", "no network", "offline", "no name"],
)
def test_a_hub_name(
    model: str, offline: bool, reached: bool, state: str, seen: str, listener: Listener, tmp_path: Path
) -> None:
    """In a process of its own: the hub's library reads its address once."""
    place = {"HF_ENDPOINT": listener.url if reached else "http://127.0.0.1:9", "HF_HUB_OFFLINE": str(int(offline))}
    command = [sys.executable, "-m", "stat_train.cli", "doctor", "student=local", f"student.model={model}", "--json"]
    environment = dict(os.environ) | place | {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "until=answer"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    checks = {check["name"]: Check(**check) for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, checks["student files"].state) == (int(state == "failed"), state), done.stderr
    assert checks["student files"].seen.startswith(seen)


# -- what is printed --------------------------------------------------------------------------------------------------


def test_lines_for_people(start: Callable[..., ChatServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = start(words="[bold]").url
    assert main(["doctor", *at(STUDENT, f"[{url},{NOBODY}]"), f"run_dir={tmp_path}/run"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = next(index for index, line in enumerate(lines) if line.startswith("failed"))
    assert lines[failed].split()[:3] == ["failed", "student", f"{NOBODY}:"]
    assert lines[failed + 1].split()[:3] == ["->", "start", "the"]
    assert sum(line.startswith("ok       student          " + url) for line in lines) == 1
    assert lines[-1] == "1 check failed"


def test_words_of_others_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """No markup, no emoji, no command to the terminal, no second line."""
    words = "[red]x[/red] :smile: \x1b[2J\x07 a\nb [/nothing]"
    assert show([Check("name", "ok", words, words)], Console(width=20)) is True
    shown = "[red]x[/red] :smile: [2J a b [/nothing]"
    assert capsys.readouterr().out == (
        f"ok       name             {shown}\n         -> {shown}\n\nEverything that this run needs works\n"
    )
    assert one_line("a\u202eb") == "a b"


def test_a_wrong_setting_is_refused_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "seed=abc"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "seed = 'abc': expected a whole number" in said.err


def test_the_orchestrator_loads_no_model_library(tmp_path: Path) -> None:
    """Not even for the training step, which is a process of its own."""
    script = (
        "import sys\nfrom stat_train.cli import main\ncode = main(['doctor'])\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\nEverything that this run needs works\n"), done.stdout
    assert done.stderr == "[]\n"
