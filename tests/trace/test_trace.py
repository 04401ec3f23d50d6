"""From training rows back to the student's answers and forward again, on runs of the embedded task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stat_train.cli import main
from stat_train.errors import UserError
from stat_train.records import Origin, TrainingExample
from stat_train.tasks.steps import split_steps
from stat_train.trace.lineage import Downstream, Kind, RowTrace, trace

SETTINGS = [
    *("task.pool=600", "task.validation=60", "task.benchmark=80"),
    *("student=tiny", "student.max_new_tokens=48", "data_recipe.pairs=96"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of several recipes, and one that stopped before its training set."""
    folder = tmp_path_factory.mktemp("traced")
    for recipe in ("stat_sel", "pool", "random", "uniform_skill"):
        assert run(folder, recipe, f"data_recipe={recipe}", "until=curate") == 0
    assert run(folder, "profiled", "until=profile") == 0
    return folder


def run(folder: Path, name: str, *more: str) -> int:
    return main([*SETTINGS, f"run_dir={folder / name}", f"cache_dir={folder / 'cache'}", *more])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def row_of(run_dir: Path, id: str) -> RowTrace:
    found = trace(run_dir, {"row": id})
    assert isinstance(found, RowTrace)
    return found


def ids_of(run_dir: Path, kind: Kind, id: str) -> set[str]:
    """Return the rows downstream of a skill, question or call."""
    found = trace(run_dir, {kind: id})
    assert isinstance(found, Downstream)
    return {row.id for row in found.rows}


# -- there and back ---------------------------------------------------------------------------------------------------


def test_every_row_leads_to_the_answer_that_it_was_drawn_for(folder: Path) -> None:
    run_dir = folder / "stat_sel"
    answers = {row["question_id"]: row for row in lines(run_dir / "answers.jsonl")}
    rewards = {row["question_id"]: row["step_rewards"] for row in lines(run_dir / "difficulty.jsonl")}
    diagnoses = {row["question_id"]: row for row in lines(run_dir / "diagnoses.jsonl")}
    rows = lines(run_dir / "training_set.jsonl")
    assert len(rows) == 96
    for row in rows:
        found, question = row_of(run_dir, row["id"]), row["origin"]["question_id"]
        assert found.wrong and found.wrong.answer and found.wrong.diagnosis and found.wrong.difficulty
        assert found.wrong.question.id == question and found.wrong.difficulty.difficult
        assert found.wrong.answer.text == answers[question]["text"]
        assert [step.text for step in found.wrong.steps] == split_steps(answers[question]["text"])
        assert [step.reward for step in found.wrong.steps] == rewards[question]
        assert found.wrong.diagnosis.missing_skills == diagnoses[question]["missing_skills"]
        assert row["origin"]["skill"] in diagnoses[question]["missing_skills"]
        # The teacher of the embedded task is no model, and each row is a question of the pool.
        (seed,) = found.seeds
        assert found.calls == [] and seed.question
        assert (seed.id, seed.question.question) == (row["origin"]["seed_ids"][0], row["question"])
        assert row["origin"]["skill"] in seed.skills


def test_the_rows_of_skills_and_of_questions_are_all_rows_each_once(folder: Path) -> None:
    run_dir = folder / "stat_sel"
    rows = lines(run_dir / "training_set.jsonl")
    everything = {row["id"] for row in rows}
    for kind, name in (("skill", "skill"), ("question", "question_id")):
        lists = {row["origin"][name]: ids_of(run_dir, kind, row["origin"][name]) for row in rows}
        assert all(row["id"] in lists[row["origin"][name]] for row in rows)
        assert len(lists) > 1 and sum(map(len, lists.values())) == len(everything)
        assert set().union(*lists.values()) == everything


def test_a_question_that_was_not_difficult_led_to_no_row(folder: Path) -> None:
    run_dir = folder / "stat_sel"
    easy = next(row["question_id"] for row in lines(run_dir / "difficulty.jsonl") if not row["difficult"])
    found = trace(run_dir, {"question": easy})
    assert isinstance(found, Downstream) and (found.about, found.rows) == (["not difficult"], [])


@pytest.mark.parametrize("recipe", ["pool", "random", "uniform_skill"])
def test_a_recipe_that_does_not_look_at_the_student_says_so(recipe: str, folder: Path) -> None:
    rows = lines(folder / recipe / "training_set.jsonl")
    found = [row_of(folder / recipe, row["id"]) for row in rows[:20]]
    assert all(one.wrong is None and "without regard to the student" in one.drawn for one in found)
    assert [one.seeds[0].question and one.seeds[0].question.question for one in found] == [
        row["question"] for row in rows[:20]
    ]
    if recipe == "uniform_skill":
        skill = rows[0]["origin"]["skill"]
        assert f"for the skill {skill}" in found[0].drawn
        assert ids_of(folder / recipe, "skill", skill) == {r["id"] for r in rows if r["origin"]["skill"] == skill}


@pytest.fixture
def synthetic(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a run whose rows were written by a teacher: for a question, and for two skills and no question."""
    run_dir = tmp_path / "synthetic"
    shutil.copytree(folder / "stat_sel", run_dir, symlinks=False)
    question = lines(run_dir / "diagnoses.jsonl")[0]["question_id"]
    pool = [row["origin"]["seed_ids"][0] for row in lines(run_dir / "training_set.jsonl")[:2]]
    origins = {
        "stat_syn": Origin(question_id=question, skill="remainder", seed_ids=[*pool, "gone"], call_ids=["c1", "c2"]),
        "skillmix": Origin(seed_ids=[], call_ids=["c3"]),
    }
    rows = [
        TrainingExample(
            id=f"{recipe}-0", messages=[], question="q", answer="a", skills=[], recipe=recipe, origin=origin
        )
        for recipe, origin in origins.items()
    ]
    (run_dir / "training_set.jsonl").write_text("".join(row.to_line() for row in rows))
    yield run_dir


def test_rows_that_a_teacher_wrote(synthetic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written, mixed = row_of(synthetic, "stat_syn-0"), row_of(synthetic, "skillmix-0")
    assert [bool(seed.question) for seed in written.seeds] == [True, True, False]
    assert [call.id for call in written.calls] == ["c1", "c2"] and written.wrong
    assert mixed.wrong is None and mixed.seeds == [] and "no single question of the student" in mixed.drawn
    assert ids_of(synthetic, "call", "c2") == {"stat_syn-0"} and ids_of(synthetic, "call", "c3") == {"skillmix-0"}
    assert main(["trace", str(synthetic), "stat_syn-0"]) == 0
    said = capsys.readouterr().out
    assert said.count("not in the ledger") == 2 and said.count("not in the run's pool") == 1


@pytest.mark.parametrize(
    ("scored", "rewards", "unscored"),
    [
        ({"rewards": [0.25, 0.75]}, [0.25, 0.75], None),
        ({"rewards": [0.25]}, [None], "1 rewards do not fit 2 steps"),
        ({"error": "longer than the model reads"}, [None], "longer than the model reads"),
    ],
)
def test_rewards_of_a_model_stand_beside_the_steps_of_the_attempt_that_was_diagnosed(
    scored: dict[str, Any], rewards: list[float | None], unscored: str | None, synthetic: Path
) -> None:
    """The question was asked three times, and the second answer was found wrong by the gold answer."""
    (first, *_) = lines(synthetic / "diagnoses.jsonl")
    id = {"question_id": first["question_id"]}
    answers = [a for a in lines(synthetic / "answers.jsonl") if a["question_id"] == first["question_id"]]
    texts = ("One.\n\nTwo.", "Three.\n\nFour.", "Five.")
    given = [answers[0] | {"attempt": attempt, "text": text} for attempt, text in enumerate(texts)]
    write(synthetic / "answers.jsonl", given)
    write(synthetic / "difficulty.jsonl", [id | {"difficult": True, "rule": "gold/any", "attempt": 1}])
    write(synthetic / "step_rewards.jsonl", [id | {"attempt": 0, "rewards": [1, 1]}, id | {"attempt": 1} | scored])
    found = row_of(synthetic, "stat_syn-0").wrong
    assert found and found.answer and found.answer.text == texts[1]
    assert "\n\n".join(step.text for step in found.steps) == texts[1]
    assert [step.reward for step in found.steps] == rewards and found.unscored == unscored


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- what is printed --------------------------------------------------------------------------------------------------


def test_a_row_is_printed_with_each_step_beside_its_reward(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = folder / "stat_sel"
    found = row_of(run_dir, "stat_sel-00017")
    assert found.wrong and found.wrong.diagnosis and found.wrong.steps
    capsys.readouterr()
    assert main(["trace", str(run_dir), "stat_sel-00017"]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for step in found.wrong.steps:
        first = step.text.splitlines()[0].strip()
        assert f"{step.reward:.2f}  {first}" in said
    assert f"explanation: {found.wrong.diagnosis.explanation}" in said
    assert f"question: {found.row.question}" in said and "Calls behind it: none" in said


def test_json_is_the_same_as_what_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = folder / "stat_sel"
    found = row_of(run_dir, "stat_sel-00000")
    assert found.wrong and found.wrong.answer
    capsys.readouterr()
    assert main(["trace", str(run_dir), "stat_sel-00000", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["row"] == lines(run_dir / "training_set.jsonl")[0]
    assert row["wrong"]["answer"]["text"] == found.wrong.answer.text
    assert [step["reward"] for step in row["wrong"]["steps"]] == [step.reward for step in found.wrong.steps]
    for kind in ("skill", "question"):
        id = row["row"]["origin"][{"skill": "skill", "question": "question_id"}[kind]]
        assert main(["trace", str(run_dir), f"--{kind}", id, "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert (listed["kind"], listed["id"], listed["rows"][0]["id"]) == (kind, id, "stat_sel-00000")


# -- what a user can mend ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sought", "said"),
    [
        ({"row": "stat_sel-0017"}, r'has 96 training rows, such as stat_sel-00000, .*Did you mean "stat_sel-\d*17"'),
        ({"skill": "remaindr"}, 'no missing skill of .* Did you mean "remainder"'),
        ({"question": "arithmetic-validation-6"}, "no validation question of .*Did you mean"),
        ({"call": "0123"}, "no model call of .*; it has no model call"),
        ({}, "nothing is given to be traced; expected one of a training row .*stat_sel-00000"),
        ({"row": "stat_sel-00000", "skill": "remainder"}, "row, skill is given to be traced"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(sought: dict[Kind, str], said: str, folder: Path) -> None:
    with pytest.raises(UserError, match=said):
        trace(folder / "stat_sel", sought)


def test_a_folder_without_a_training_set_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(folder / "profiled"), "stat_sel-00000"]) == 2
    assert "has no training_set.jsonl, so there is nothing to trace yet; run it with until=curate" in (
        capsys.readouterr().err
    )
    assert main(["trace", str(folder / "stat_sell"), "stat_sel-00000"]) == 2
    assert 'no run folder (it has no config.yaml); give the run_dir of a run. Did you mean "stat_sel"?' in (
        capsys.readouterr().err
    )


def test_a_training_set_that_was_spoilt_is_refused(synthetic: Path) -> None:
    (synthetic / "training_set.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(UserError, match=r"its results cannot be read .*; run it again with until=curate"):
        trace(synthetic, {"row": "x"})
