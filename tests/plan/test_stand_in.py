"""A plan of questions that nobody has read: what stands for them, and when it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stat_train import pipeline
from stat_train.cli import main
from stat_train.compose import choices, read_settings
from stat_train.plan.look import Look
from stat_train.store import Artifact
from stat_train.tasks.load import load_questions

TEACHER = ["teacher=openai", "teacher.model=m", "difficulty=gold"]
PRICES = ["teacher.usd_per_million_input_tokens=0.15", "teacher.usd_per_million_output_tokens=0.6"]
STUDENT = ["student=local", "student.model=o/m"]
HUB = ["task=math", *TEACHER, *STUDENT, "task.validation=20", "data_recipe.pairs=40"]
SIZES = ["plan.pool_questions=50", "plan.benchmark_questions=60"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def calls(made: dict[str, Any]) -> dict[str, int]:
    return {stage["stage"]: stage["calls"] for stage in made["stages"]}


def write(name: str, count: int, more: str = "") -> None:
    rows = [{"id": f"{name}{n}", "question": f"What is {n} + {name}{more}?", "answer": "7"} for n in range(count)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_recipe_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """Rewrites are as many as pairs; 40 / 0.6 = 67 solutions of 22 questions, two a reply."""
    own = {"pool": {}, "stat_syn": {"write": 11, "solve": 67}, "embed_syn": {"write": 11, "solve": 67}}
    shared = {"discover": 71, "label": 70, "diagnose": 12}
    for recipe in choices()["data_recipe"]:
        made = calls(planned(capsys, *HUB, *SIZES, f"data_recipe={recipe}"))
        if recipe == "skillmix":
            assert made["mix"] == made["criticise"] == made["improve"] == made["score"] == 40
        else:
            assert made == shared | own.get(recipe, {"curate": 40}), recipe


def test_discovery_asks_once_more_for_each_subject(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["teacher.discovery_questions=30"]
    assert calls(planned(capsys, *HUB, *SIZES, *more))["discover"] == 30 + 1
    assert calls(planned(capsys, *HUB, *SIZES, *more, "plan.subjects=7"))["discover"] == 30 + 7


def test_a_list_by_subject_is_shown_subject_by_subject(capsys: pytest.CaptureFixture[str]) -> None:
    """One list of 20 names for all is more to read than two of 10: in the prompt, and once more in the schema."""
    names = [f"a_skill_with_a_rather_long_name_{n}" for n in range(20)]
    Path("one.json").write_text(json.dumps(names))
    Path("two.json").write_text(json.dumps({"algebra": names[:10], "geometry": names[10:]}))
    read = {}
    for name in ("one", "two"):
        made = planned(capsys, *HUB, *SIZES, f"task.skills={name}.json")
        assert "discover" not in calls(made)
        read[name] = made["stages"][0]["input_tokens"]["expected"] / 70
    assert read["one"] - read["two"] == pytest.approx(2 * 10 * len(names[0]) / 4, rel=0.15)


def test_answers_of_the_student_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """20 validation questions; 40 are left of the benchmark, 30 of another are asked 64 times; three rates."""
    more = [
        "benchmark=[aime24,math_difficult]",
        "difficulty=consistency",
        "train.learning_rates=[1.0e-4,2.0e-4,3.0e-4]",
    ]
    more += [
        "plan.benchmark_questions={math: 60, aime24: 30}",
        "benchmark.math_difficult.only_difficult=false",
        "rl=paper",
    ]
    made = planned(capsys, *HUB, *SIZES[:1], *more, "plan.pool_questions=600")
    per_model = 40 + 30 * 64
    assert made["answers"] == {
        "validation": 5 * 20,
        "choosing": 4 * 20,
        "benchmarks": 3 * per_model,
        "models": 3,
        "per_model": per_model,
    }
    # 600 // 256 = 2 batches in each of 6 epochs, 256 x 4 answers each.
    assert made["training"]["rl"]["completions"] == 2 * 6 * 256 * 4


def test_answers_of_the_embedded_task_are_known_without_questions(capsys: pytest.CaptureFixture[str]) -> None:
    made = planned(capsys, "task.validation=30", "task.benchmark=50", "task.benchmarks=[standard,retention]")
    assert made["answers"]["validation"] == 30 and made["answers"]["benchmarks"] == 2 * 50 * 2
    sizes = ["task.benchmark={standard: 50, retention: 7}", "task.benchmarks=[standard,retention]"]
    assert planned(capsys, *sizes)["answers"]["benchmarks"] == (50 + 7) * 2
    assert planned(capsys, "until=train")["answers"]["benchmarks"] == 0


def test_verdicts_and_adaptmi_are_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """The judge reads 20 answers, and 40 to the benchmark of each of two models."""
    made = planned(capsys, *HUB, *SIZES, "task.grader=judge")
    assert (calls(made)["grade"], calls(made)["evaluate"]) == (20, 80)
    # And another model's worth with examples, which are chosen by the labels of 40 questions at most.
    made = planned(capsys, *HUB, *SIZES, "evaluate.prompting=adaptmi", "difficulty=length")
    assert calls(made)["evaluate"] == 40 and made["answers"]["models"] == 3


def test_a_local_file_is_read_whatever_number_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    write("pool.jsonl", 15)
    write("test.jsonl", 33)
    local = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=test.jsonl", *HUB[1:]]
    assert planned(capsys, *local, *SIZES) == planned(capsys, *local)
    assert calls(planned(capsys, *local, *SIZES))["label"] == 15 + 20
    # One place of two.
    half = planned(capsys, *local, "task.pool=owner/name", *SIZES)
    assert calls(half)["label"] == 50 + 20 and "50 of task.pool; each" in half["notes"][0]


def test_rows_of_other_columns_stand_beside_made_up_ones(capsys: pytest.CaptureFixture[str]) -> None:
    Path("test.jsonl").write_text("".join(json.dumps({"problem": f"{n}?", "key": "1"}) + "\n" for n in range(30)))
    names = ["task.fields.question=problem", "task.fields.answer=key", "task.fields.id=null"]
    made = planned(capsys, "task=jsonl", "task.pool=o/n", "task.benchmark=test.jsonl", *HUB[1:], *names, *SIZES)
    assert calls(made)["label"] == 50 + 20


class Reading(Look):
    """Reads files in the place of the hub's data, as if these had been loaded from there."""

    def make(self, name: str, version: int, inputs: Any, identity: Any, build: Any, *links: str) -> Artifact:
        """Make the questions from files, under the identity of the data set's name."""
        files = {"pool": "pool.jsonl", "benchmark": "test.jsonl"}
        task = self.config.task.model_copy(update=files)
        return super().make(name, version, inputs, identity, lambda folder: load_questions(folder, task, 0, None))


def test_questions_that_a_run_has_read_are_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """50 made-up questions of the pool give way to the 15 that there are."""
    assert calls(planned(capsys, *HUB, *SIZES))["label"] == 50 + 20
    write("pool.jsonl", 15)
    write("test.jsonl", 33)
    with Reading(read_settings(HUB)) as look:
        pipeline.load(look)
    made = planned(capsys, *HUB, *SIZES)
    assert calls(made)["label"] == 15 + 20 and not made["notes"][0].startswith("the questions were not read")
    assert made == planned(capsys, *HUB)


def test_a_recorded_student_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    Path("said.jsonl").write_text("".join(json.dumps({"id": f"q{n}", "responses": ["1"]}) + "\n" for n in range(10)))
    given = ["task=math", *TEACHER, "student=recorded", "student.path=said.jsonl", "until=curate"]
    made = calls(planned(capsys, *given, *SIZES, "data_recipe.pairs=40"))
    assert (made["label"], made["diagnose"]) == (50 + 10, 6)


def test_stand_ins_cost_about_what_math_costs(capsys: pytest.CaptureFixture[str], shared_data: Path) -> None:
    math = shared_data / "math"
    given = ["task=math", *TEACHER, *PRICES, *STUDENT, "data_recipe=stat_syn", "data_recipe.pairs=9500"]
    given += [f"task.skills={math}/skills.json", "task.fields.skills=null"]
    real = planned(capsys, *given, f"task.pool={math}/train.jsonl", f"task.benchmark={math}/test.jsonl")
    made_up = planned(capsys, *given, "plan.pool_questions=7498", "plan.benchmark_questions=5000")
    assert calls(made_up) == calls(real)
    for stage in ("label", "diagnose", "write", "solve"):
        one, other = (
            {each["stage"]: each["usd"]["expected"] for each in made["stages"]}[stage] for made in (real, made_up)
        )
        assert other == pytest.approx(one, rel=0.1), stage
