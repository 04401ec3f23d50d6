"""`evaluation.json` from a handful of questions whose counts are plain to see."""

from __future__ import annotations

import json

import pytest

from stat_train.errors import StatTrainError
from stat_train.evaluation.scores import scored
from stat_train.evaluation.summary import evaluation, headline_benchmark, summarise, trained_arm
from stat_train.records import Grade, Question, Verdict

SKILLS = {"q0": ["add"], "q1": ["add"], "q2": ["add", "divide"], "q3": ["divide"], "q4": ["divide"]}
QUESTIONS = [Question(id=id, question=id, skills=skills, level=len(skills)) for id, skills in SKILLS.items()]
BEFORE: list[Verdict] = ["correct", "wrong", "wrong", "unscored", "wrong"]
AFTER: list[Verdict] = ["correct", "correct", "correct", "correct", "wrong"]


def grades(verdicts: list[Verdict]) -> list[Grade]:
    """Return a grade for each question of SKILLS, in order."""
    return [Grade(question_id=id, attempt=0, verdict=verdict) for id, verdict in zip(SKILLS, verdicts, strict=True)]


def test_accuracy_leaves_unscored_questions_out_but_counts_them() -> None:
    """One of the four scored questions is right; Clopper-Pearson for 1 of 4 has (1 - low)^4 = 0.975."""
    summary = summarise(scored(QUESTIONS, grades(BEFORE)))
    assert {name: summary[name] for name in ("n", "correct", "unscored", "accuracy")} == {
        "n": 5,
        "correct": 1,
        "unscored": 1,
        "accuracy": 0.25,
    }
    assert summary["low"] == pytest.approx(1 - 0.975**0.25, abs=1e-6)


def test_a_question_counts_for_each_of_its_skills_and_alone_for_its_only_one() -> None:
    summary = summarise(scored(QUESTIONS, grades(AFTER)))
    per_skill = {skill: (row["n"], row["correct"]) for skill, row in summary["per_skill"].items()}
    assert per_skill == {"add": (3, 3), "divide": (3, 2)}
    single = {skill: (row["n"], row["correct"]) for skill, row in summary["single_skill"].items()}
    assert single == {"add": (2, 2), "divide": (2, 1)}
    assert {level: row["n"] for level, row in summary["per_level"].items()} == {"1": 4, "2": 1}


def test_a_skill_without_a_scored_question_has_no_accuracy() -> None:
    summary = summarise(scored(QUESTIONS[3:4], grades(BEFORE)[3:4]))
    assert summary["per_skill"]["divide"]["accuracy"] is None


def test_a_question_without_a_grade_is_an_error_that_names_it() -> None:
    with pytest.raises(StatTrainError, match=r"1 of 5 .*q4"):
        scored(QUESTIONS, grades(BEFORE)[:4])


def test_differences_are_over_questions_scored_in_both_arms() -> None:
    """q3 is unscored before, so four questions pair: q1 and q2 gained, none lost; mid-p is 1 / 2^2.

    Of one question that did not change the bounds are -+ z^2 / (1 + z^2) with z = 1.959964.
    """
    arms = {
        "sft": {"standard": scored(QUESTIONS, grades(AFTER))},
        "base": {"standard": scored(QUESTIONS, grades(BEFORE))},
    }
    result = evaluation(arms)
    change = result["differences"]["sft - base"]["standard"]
    assert (change["n"], change["difference"], change["p"]) == (4, 0.5, 0.25)
    assert change["per_skill"]["add"]["difference"] == pytest.approx(2 / 3, abs=1e-6)
    one = {"n": 1, "difference": 0.0, "low": -0.793451, "high": 0.793451, "p": 1.0}
    assert change["single_skill"]["divide"] == one | {"q": None, "verdict": "too few"}
    assert list(result["arms"]) == ["base", "sft"]


def test_the_order_of_questions_and_grades_changes_nothing() -> None:
    def result(questions: list[Question], reverse: bool) -> str:
        arms = {
            arm: {"standard": scored(questions, grades(found)[::-1] if reverse else grades(found))}
            for arm, found in (("base", BEFORE), ("sft", AFTER))
        }
        return json.dumps(evaluation(arms))

    assert result(QUESTIONS, False) == result(QUESTIONS[::-1], True)


def test_a_run_without_training_has_no_differences() -> None:
    result = evaluation({"base": {"standard": scored(QUESTIONS, grades(BEFORE))}})
    assert result["differences"] == {}
    assert trained_arm(result["arms"]) is None


def test_the_last_trained_arm_is_the_result() -> None:
    assert trained_arm({"rl": {}, "base": {}, "sft": {}}) == "rl"


def test_prompting_is_an_arm_before_training_and_no_trained_one() -> None:
    """q1 and q2 gained, q3 is unscored before: with examples as after training, the paired change is 2 of 4."""
    found = {"adaptmi": AFTER, "sft": BEFORE, "base": BEFORE}
    result = evaluation({arm: {"standard": scored(QUESTIONS, grades(each))} for arm, each in found.items()})
    assert list(result["arms"]) == ["base", "adaptmi", "sft"]
    change = result["differences"]["adaptmi - base"]["standard"]
    assert (change["n"], change["difference"], change["per_skill"]["divide"]["n"]) == (4, 0.5, 2)
    assert trained_arm(result["arms"]) == "sft"
    assert trained_arm({"base": {}, "adaptmi": {}}) is None


def test_the_headline_benchmark_is_the_first_of_the_settings_that_was_scored() -> None:
    config = {"task": {"benchmarks": ["standard", "larger_numbers"]}}
    assert headline_benchmark(config, ["larger_numbers", "standard"]) == "standard"
    assert headline_benchmark(config, ["larger_numbers"]) == "larger_numbers"
    assert headline_benchmark({"task": {}}, ["math"]) == "math"
    assert headline_benchmark({"task": {}}, []) is None


def test_a_paired_bootstrap_stands_beside_the_bounds_of_the_whole_benchmark() -> None:
    """120 of 400 gained, 40 lost: mean 0.2, variance 160 / 400 - 0.2^2 = 0.36, so bounds near 0.2 -+ 1.96 * 0.03."""
    questions = [Question(id=f"q{index}", question="?") for index in range(400)]

    def found(right: range) -> list[Grade]:
        verdicts: list[Verdict] = ["correct" if index in right else "wrong" for index in range(400)]
        return [Grade(question_id=q.id, attempt=0, verdict=v) for q, v in zip(questions, verdicts, strict=True)]

    arms = {"base": {"s": scored(questions, found(range(140)))}, "sft": {"s": scored(questions, found(range(40, 260)))}}
    change = evaluation(arms)["differences"]["sft - base"]["s"]
    assert change["bootstrap"] == {"low": pytest.approx(0.1412, abs=0.005), "high": pytest.approx(0.2588, abs=0.005)}
    assert (change["low"], change["high"]) == (pytest.approx(0.1412, abs=0.005), pytest.approx(0.2588, abs=0.005))
