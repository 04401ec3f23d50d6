"""One number a question, from the verdicts on its samples."""

from __future__ import annotations

import pytest

from stat_train.errors import StatTrainError
from stat_train.evaluation.scores import measure_name, often_cut_off, scored
from stat_train.evaluation.summary import evaluation, summarise
from stat_train.records import Answer, Grade, Question, Verdict

VERDICTS: dict[str, Verdict] = {"+": "correct", "-": "wrong", "?": "unscored"}
QUESTIONS = [
    Question(id="q0", question="?", subject="algebra", skills=["add"]),
    Question(id="q1", question="?", subject="geometry", skills=["add"]),
    Question(id="q2", question="?", skills=["add", "divide"]),
]


def grades(marks: list[str]) -> list[Grade]:
    """Return the grades of each question's samples, a mark each: + right, - wrong, ? unscored."""
    return [
        Grade(question_id=question.id, attempt=attempt, verdict=VERDICTS[mark])
        for question, found in zip(QUESTIONS, marks, strict=True)
        for attempt, mark in enumerate(found)
    ]


def test_one_sample_is_right_or_wrong_or_cannot_be_judged() -> None:
    found = scored(QUESTIONS, grades(["+", "-", "?"]))
    assert found.scores == {"q0": 1.0, "q1": 0.0, "q2": None}
    assert (found.measure, found.samples) == ("accuracy", 1)


def test_the_average_is_over_the_samples_that_could_be_judged() -> None:
    found = scored(QUESTIONS, grades(["++--", "+?--", "????"]))
    assert found.scores == {"q0": 0.5, "q1": pytest.approx(1 / 3), "q2": None}
    assert (found.measure, found.samples) == ("average@4", 4)


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample() -> None:
    """Of the 6 pairs of 4 samples, 2 right: all but one. Of one judged sample there is no pair."""
    found = scored(QUESTIONS, grades(["++--", "----", "+???"]), pass_at=2)
    assert found.scores == {"q0": pytest.approx(5 / 6), "q1": 0.0, "q2": None}
    assert found.measure == measure_name(4, 2) == "pass@2"


def test_a_question_without_a_grade_is_an_error_that_names_it() -> None:
    with pytest.raises(StatTrainError, match=r"1 of 3 .*q2"):
        scored(QUESTIONS, grades(["+", "+", ""]))


def test_answers_that_were_cut_off_are_counted() -> None:
    ended = ["stop", "length", "length"]
    answers = [
        Answer(question_id=q.id, attempt=0, text="", finish_reason=reason, output_tokens=1, prompt_hash="")
        for q, reason in zip(QUESTIONS, ended, strict=True)
    ]
    assert summarise(scored(QUESTIONS, grades(["+", "-", "-"]), answers))["truncated"] == 2


@pytest.mark.parametrize(
    ("cut", "said"), [(5, []), (6, ["6 of 200 answers (3 %)"]), (50, ["50 of 200 answers (25 %)"])]
)
def test_many_answers_that_were_cut_off_are_told(cut: int, said: list[str]) -> None:
    """50 questions with 4 answers each; from 3 percent on, which are 6."""
    one = {"n": 50, "samples": 4, "truncated": cut}
    told = often_cut_off({"arms": {"sft": {"amc23": one, "none": {"n": 0, "samples": 1, "truncated": 0}}}})
    assert told == [f"sft on amc23: {words} were cut off at max_new_tokens" for words in said]


def test_subjects_have_a_table_of_their_own_and_questions_without_one_are_in_none() -> None:
    found = summarise(scored(QUESTIONS, grades(["+", "-", "+"])))
    assert {name: (row["n"], row["correct"]) for name, row in found["per_subject"].items()} == {
        "algebra": (1, 1),
        "geometry": (1, 0),
    }


def test_log_probabilities_are_paired_where_both_arms_have_one() -> None:
    """Questions 0 and 1 gain 0.5 and 0.1 nats a token; the third is known before only."""
    marks = grades(["+", "-", "-"])
    before, after = {"q0": -1.0, "q1": -0.5, "q2": -2.0}, {"q0": -0.5, "q1": -0.4}
    found = evaluation(
        {
            "base": {"standard": scored(QUESTIONS, marks, log_probabilities=before)},
            "sft": {"standard": scored(QUESTIONS, marks, log_probabilities=after)},
        }
    )
    known = found["arms"]["base"]["standard"]["log_probability"]
    assert (known["n"], known["mean"]) == (3, pytest.approx(-3.5 / 3, abs=1e-6))
    change = found["differences"]["sft - base"]["standard"]["log_probability"]
    assert (change["n"], change["difference"]) == (2, pytest.approx(0.3))


def test_without_log_probabilities_there_is_none() -> None:
    marks = grades(["+", "-", "-"])
    found = evaluation({arm: {"standard": scored(QUESTIONS, marks)} for arm in ("base", "sft")})
    assert found["arms"]["base"]["standard"]["log_probability"] is None
    assert found["differences"]["sft - base"]["standard"]["log_probability"] is None


def test_skills_are_judged_with_their_number_in_mind() -> None:
    """One skill gains six of six (mid-p 1/64), three nothing (p = 1): for four skills, 4/64 is no news."""
    names = ("a", "b", "c", "d")
    questions = [Question(id=f"{name}{index}", question="?", skills=[name]) for name in names for index in range(6)]

    def found(right: set[str]) -> list[Grade]:
        verdicts: list[Verdict] = ["correct" if q.id[0] in right else "wrong" for q in questions]
        return [Grade(question_id=q.id, attempt=0, verdict=v) for q, v in zip(questions, verdicts, strict=True)]

    arms = {"base": {"s": scored(questions, found(set()))}, "sft": {"s": scored(questions, found({"a"}))}}
    skill = evaluation(arms)["differences"]["sft - base"]["s"]["per_skill"]["a"]
    assert (skill["p"], skill["q"]) == (pytest.approx(1 / 64, abs=1e-6), pytest.approx(4 / 64, abs=1e-6))
    assert skill["verdict"] == "too few"


def test_a_gain_over_the_base_on_what_the_base_finds_difficult_is_not_tested() -> None:
    """The base has all three questions wrong; two are right after fine-tuning, all after what follows."""
    marks = {"base": ["-", "-", "-"], "sft": ["+", "+", "-"], "rl": ["+", "+", "+"]}
    arms = {arm: {"hard": scored(QUESTIONS, grades(each))._replace(only_difficult=True)} for arm, each in marks.items()}
    found = evaluation(arms)
    assert found["arms"]["base"]["hard"]["only_difficult"] is True
    over_base = found["differences"]["sft - base"]["hard"]
    assert over_base["difference"] == pytest.approx(2 / 3, abs=1e-6)
    assert (over_base["low"], over_base["high"], over_base["p"], over_base["per_skill"]) == (None, None, None, {})
    added = found["differences"]["rl - sft"]["hard"]
    assert added["difference"] == pytest.approx(1 / 3, abs=1e-6) and added["p"] == 0.5 and added["low"] < 0
