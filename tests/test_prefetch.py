"""Everything is fetched while there is a hub, and then a run works without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_hub import ModelHub, files_of, model_hub

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.models.places import SHIPPED
from stat_train.prefetch.models import models_of, wanted_files
from stat_train.prefetch.questions import places_of
from stat_train.prefetch.show import network_stages

ROOT = Path(__file__).parents[1]
NAME = "someone/student"
# Other forms of the same weights, which nobody needs.
OTHERS = {
    "pytorch_model.bin": b"pickle",
    "model.gguf": b"gguf",
    "onnx/model.onnx": b"onnx",
    "original/params.json": b"",
}
SETTINGS = ["task.pool=100", "task.validation=20", "task.benchmark=10", "task.benchmarks=[standard]", "until=answer"]


class Place:
    """A working folder with a hub cache of its own, where commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, hub: ModelHub | None = None) -> subprocess.CompletedProcess[str]:
        away = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"} if hub else {"HF_HUB_OFFLINE": "1"}
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(self.folder / "hf")} | away
        environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [sys.executable, "-m", "stat_train.cli", *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def prefetch(self, *arguments: str, hub: ModelHub | None = None) -> tuple[int, list[dict[str, Any]]]:
        done = self.run("prefetch", *arguments, "--json", hub=hub)
        return done.returncode, json.loads(done.stdout)["items"] if done.stdout else [{"said": done.stderr}]


@pytest.fixture(scope="module")
def hub() -> Iterator[ModelHub]:
    with model_hub({NAME: files_of(SHIPPED["tiny"]) | OTHERS}) as started:
        yield started


@pytest.mark.slow
def test_a_model_is_fetched_once_and_a_run_needs_no_hub_then(tmp_path: Path, hub: ModelHub) -> None:
    place, asked = Place(tmp_path), [*SETTINGS, "student=local", f"student.model={NAME}"]
    code, (fetched,) = place.prefetch(*asked, hub=hub)
    assert (code, fetched["state"], fetched["why"]) == (0, "fetched", "")
    assert sorted(set(hub.sent)) == sorted(files_of(SHIPPED["tiny"]))
    assert fetched["size_bytes"] == sum(map(len, files_of(SHIPPED["tiny"]).values()))
    assert not list(Path(fetched["where"]).rglob("*.bin"))

    sent = list(hub.sent)
    assert place.prefetch(*asked, hub=hub)[1] == [fetched | {"state": "here"}]
    assert hub.sent == sent
    # Without the hub, it is known that all is here; and the run finds it.
    assert place.prefetch(*asked)[1][0]["state"] == "here"
    done = place.run(*asked, "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "answers.jsonl").read_text().splitlines()) == 20


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named_and_the_rest_is_fetched(tmp_path: Path, hub: ModelHub) -> None:
    rows = [
        {"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1), "skills": ["adding"]} for n in range(9)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["task=jsonl", "task.pool=rows.jsonl", "task.benchmark=someone/questions", "task.validation=4"]
    asked += ["teacher=labels", "student=local", f"student.model={NAME}", "difficulty=prm", "until=diagnose"]
    done = Place(tmp_path).run("prefetch", *asked, "difficulty.prm.model=someone/absent", hub=hub)
    assert done.returncode == 1, done.stderr
    rows_shown = [line for line in done.stdout.splitlines() if " = " not in line]
    states = {line.split()[0]: line for line in rows_shown if line.startswith(("student", "difficulty", "task"))}
    assert " fetched " in states["student.model"] and " failed" in states["difficulty.prm.model"]
    assert "difficulty.prm.model = someone/absent: no such model that this account sees; give" in done.stdout
    assert " local file " in states["task.pool"]
    assert "task.benchmark = someone/questions: " in done.stdout and "Not everything is here" in done.stdout


# -- what a run takes from elsewhere ----------------------------------------------------------------------------------


def test_one_format_of_the_weights_is_wanted() -> None:
    names = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"]
    names += ["1_Pooling/config.json", "merges.txt"]
    assert wanted_files([*names, *OTHERS]) == names
    # What has no safetensors is taken as it is.
    assert wanted_files(["config.json", "pytorch_model.bin", "model.gguf"]) == ["config.json", "pytorch_model.bin"]


FULL = [
    *("task=math", "task.validation=o/validation", "benchmark=[aime24]", "benchmark.mine.path=mine.jsonl"),
    *("teacher=served", "teacher.model=o/teacher", "teacher.revision=v1", "student=local", "student.model=o/student"),
    *("difficulty=prm", "difficulty.prm.revision=r", "data_recipe=embed_sel", "data_recipe.embedder=MiniLM"),
    *(
        "train=external",
        "train.checkpoint=o/trained",
        "rl=grpo",
        "rl.prompts=o/prompts",
        "decontaminate.against=[o/held]",
    ),
]


def test_every_model_and_every_file_of_questions_of_a_run_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").touch()
    config = read_settings(FULL).config
    assert list(models_of(config)) == [
        ("student.model", "o/student", None),
        ("difficulty.prm.model", "RLHFlow/Llama3.1-8B-PRM-Mistral-Data", "r"),
        ("data_recipe.embedder", "sentence-transformers/MiniLM", None),
        ("train.checkpoint", "o/trained", None),
        ("teacher.model", "o/teacher", "v1"),
    ]
    known = ["task.benchmark", "task.validation", "task.pool", "benchmark.aime24.path", "benchmark.mine.path"]
    assert [key for key, _ in places_of(config)] == [*known, "decontaminate.against", "rl.prompts"]
    rounds = ["train=sft", "rounds=3", "rounds.validation=[o/second,o/third]"]
    later = read_settings([*(each for each in FULL if not each.startswith("train")), *rounds]).config
    listed = [place for key, place in places_of(later) if key == "rounds.validation"]
    assert listed == ["o/second", "o/third"]
    # A run that ends before needs less.
    early = read_settings([*FULL, "until=answer"]).config
    assert [key for key, _, _ in models_of(early)] == ["student.model", "teacher.model"]


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ([], []),
        (["teacher=openai", "teacher.model=m"], ["label", "diagnose", "curate"]),
        (["teacher=openai", "teacher.model=m", "until=grade", "task=gsm8k", "task.grader=judge"], ["label", "grade"]),
        (["teacher=served", "teacher.model=m"], []),
        (["student=endpoint", "student.base_url=http://h/v1", "student.model=m", "until=curate"], ["answer"]),
        (["push_to_hub=me/rows", "audit.sample=5"], ["curate"]),
    ],
)
def test_the_stages_that_need_the_network_are_named(given: list[str], stages: list[str]) -> None:
    beside = ["difficulty=gold"]
    assert list(network_stages(read_settings([*beside, *given]).config)) == stages


def test_what_is_shipped_or_made_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prefetch", *SETTINGS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(item["key"], item["state"]) for item in found["items"]] == [("student.model", "local")]
    assert (found["whole"], found["network_stages"]) == (True, {})
    nothing = ["student=endpoint", "student.base_url=http://h/v1", "student.model=m", "difficulty=gold"]
    assert main(["prefetch", *SETTINGS, *nothing]) == 0
    said = capsys.readouterr().out
    assert said.startswith("This run takes nothing from the network before it starts.")
    assert "  answer     asks the student (student.base_url)" in said
