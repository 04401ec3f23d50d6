"""The raw results of a run: what is taken from its folder, and that a file gives back what was written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from profile_folders import diagnoses_of
from raw_results import result
from run_folders import write_run

from stat_train.claims.results import RETAINED, Result, Scores, pack, read_results, result_of, unpack, write_result
from stat_train.diagnosis.profile import skill_profile
from stat_train.errors import UserError

SETTINGS = {
    "seed": 3,
    "student": {"model": "somewhere/tiny_b"},
    "task": {"name": "arithmetic", "benchmarks": ["standard", "retention"]},
    "train": {"name": "sft", "learning_rate": 4e-4},
}
# Of the 20 questions that need addition it is missing in 2, a tenth; of the 22 that need subtraction in 2.
REQUIRED = {f"v{index}": ["addition" if index < 20 else "subtraction"] for index in range(42)}
MISSED = {id: REQUIRED[id] for id in ("v0", "v1", "v20", "v21")}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Write a run with both trainings, on the questions q8 to q11."""
    retention = {"base": "+-++", "sft": "++-+", "rl": "+++?"}
    standard = {"base": "----", "sft": "+---", "rl": "++--"}
    arms = {arm: {"retention": retention[arm], "standard": standard[arm]} for arm in retention}
    profile = skill_profile("tiny_b", "arithmetic", REQUIRED, diagnoses_of(MISSED), set(MISSED), {})
    return write_run(
        tmp_path / "run",
        arms,
        first_question=8,
        skills=["addition", "subtraction", "addition", "never seen"],
        config=SETTINGS,
        profile=profile.model_dump(),
        training={"rows": 6650, "replay_rows": 1660},
        manifest={"costs": {"fine_tuning_tokens": 700, "reinforcement_tokens": 300}},
    )


def test_what_a_run_came_to(run_dir: Path) -> None:
    """Questions are in the order of their ids: q10, q11, q8, q9. The last two are 1.0 and 0.0 of +-++.

    Of 6,650 rows 1,660 were replayed, which are no pairs of the training set.
    """
    found = result_of(run_dir, "stat_sel-seed3", 7, {"data_recipe": "stat_sel"})
    assert (found.name, found.place, found.varies) == ("stat_sel-seed3", 7, {"data_recipe": "stat_sel"})
    assert (found.seed, found.student, found.recipe) == (3, "tiny_b", "stat_sel")
    assert (found.pairs, found.learning_rate, found.difficult) == (4990, 4e-4, 4)
    assert (found.fine_tuning_tokens, found.reinforcement_tokens) == (700, 300)
    assert (list(found.scores), found.arm, found.headline) == (["base", "sft", "rl"], "rl", "standard")
    assert found.scores["base"]["retention"] == [1.0, 1.0, 1.0, 0.0]
    assert found.scores["rl"]["retention"] == [1.0, None, 1.0, 1.0]
    assert found.scores["sft"]["standard"] == [0.0, 0.0, 1.0, 0.0]
    assert (found.with_seed, found.only_difficult) == ([], [])
    expected = {"seed": 3, "student.model": "somewhere/tiny_b", "train.learning_rate": 4e-4, "data_recipe.pairs": 5000}
    assert {key: found.settings[key] for key in expected} == expected


def test_the_same_ids_with_other_texts_are_other_questions(run_dir: Path) -> None:
    first = result_of(run_dir, "run", 0, {})
    assert result_of(run_dir, "again", 1, {}).questions == first.questions
    (retention,) = (run_dir / "questions" / "benchmarks").glob("retention.jsonl")
    question = json.loads(retention.read_text().splitlines()[0])["question"]
    retention.write_text(retention.read_text().replace(json.dumps(question), json.dumps(f"Again: {question}"), 1))
    other = result_of(run_dir, "other", 2, {})
    assert other.questions["retention"] != first.questions["retention"]
    assert other.questions["standard"] == first.questions["standard"]


def test_the_rate_is_the_one_that_was_chosen(run_dir: Path) -> None:
    tried = [{"learning_rate": rate, "chosen": rate == 1e-4} for rate in (1e-4, 2e-4)]
    (run_dir / "choice.json").write_text(json.dumps({"candidates": tried}))
    assert result_of(run_dir, "run", 0, {}).learning_rate == 1e-4


def test_benchmarks_that_the_untrained_student_s_failures_chose_are_known(run_dir: Path) -> None:
    file = run_dir / "evaluation.json"
    evaluated = json.loads(file.read_text())
    evaluated["arms"]["base"]["retention"]["only_difficult"] = True
    file.write_text(json.dumps(evaluated))
    found = result_of(run_dir, "run", 0, {}, ["student.model"])
    assert (found.only_difficult, found.with_seed) == (["retention"], ["student.model"])


def test_what_was_not_missing_are_the_questions_without_a_skill_that_was_missing_in_a_tenth(run_dir: Path) -> None:
    """Addition was, subtraction was not, and of a skill that was never seen nothing was: q11 and q9."""
    found = result_of(run_dir, "run", 0, {})
    assert list(found.questions) == ["standard", "retention", RETAINED]
    assert {arm: scores[RETAINED] for arm, scores in found.scores.items()} == {
        "base": [1.0, 0.0],
        "sft": [1.0, 1.0],
        "rl": [None, 1.0],
    }
    assert len(set(found.questions.values())) == 2, "standard and retention have the same ids"


def test_where_every_skill_was_missing_there_is_no_such_benchmark(run_dir: Path) -> None:
    for file in (run_dir / "questions" / "benchmarks").glob("*.jsonl"):
        file.write_text(file.read_text().replace("subtraction", "addition").replace("never seen", "addition"))
    assert list(result_of(run_dir, "run", 0, {}).questions) == ["standard", "retention"]


def test_a_run_without_a_profile_is_refused(run_dir: Path) -> None:
    (run_dir / "profile.json").unlink()
    with pytest.raises(UserError, match=r"profile\.json: no profile of a student .*run it again with until=evaluate"):
        result_of(run_dir, "run", 0, {})


@pytest.mark.parametrize("scores", [[], [1.0, 0.0, None, 1.0], [0.25, None, 1.0, 0.0]])
def test_scores_are_read_as_they_were_packed(scores: Scores) -> None:
    assert unpack(json.loads(json.dumps(pack(scores)))) == scores


def test_scores_of_right_and_wrong_are_short() -> None:
    """A bit each is the least for 4,000 coins: 500 bytes, in base 64 four characters for three."""
    coins = random.Random(0)
    scores: Scores = [float(coins.random() < 0.5) for _ in range(4000)]
    packed = pack(scores)
    assert isinstance(packed, str) and unpack(packed) == scores
    assert 667 <= len(packed) < 1000


def test_files_give_back_the_results_in_the_order_of_the_sweep(tmp_path: Path) -> None:
    results = [result("stat_sel", place=10, base="+-?", sft="++-"), result("pool", place=2, base="+--", sft="---")]
    between = results[0]._replace(name="sampled", place=11)
    between.scores["sft"]["standard"] = [0.25, 1.0, None]
    for each in (*results, between):
        write_result(tmp_path / "new" / "results", each)
    expected: list[Result] = [results[1], results[0], between]
    assert read_results(tmp_path / "new" / "results") == expected


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: "no JSON", "Expecting value"),
        (lambda text: "[]", "no raw results"),
        (lambda text: text.replace('"seed"', '"sead"'), "sead"),
        (lambda text: text.replace('"scores"', '"score"'), "'scores'"),
        (lambda text: text.replace(str(pack([1.0])), "AAAA"), "decompress"),
        (lambda text: text.replace(str(pack([1.0])), "A"), "base64"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path: Path, change: object, why: str) -> None:
    write_result(tmp_path, result(base="+", sft="+"))
    (file,) = tmp_path.glob("*.json")
    assert callable(change)
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=rf"{file.name}: no raw results of a run \(.*; make it again, or take") as found:
        read_results(tmp_path)
    assert why in str(found.value)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: holds no raw results \(\*\.json\).*sweep\.results"):
        read_results(tmp_path / "gone")
