"""How far two lists of diagnoses agree, against values worked out by hand."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from rich.console import Console

from stat_train.diagnosis.audit import agreement, alpha, ask_again, sampled, to_ask_again
from stat_train.evaluation.audit_table import SKILLS_SHOWN, print_audit
from stat_train.records import Answer, Diagnosis, Question, Verdict
from stat_train.teacher.labels import LabelReader


def _diagnosis(id: str, *skills: str, judgement: Verdict = "wrong", attempt: int = 0) -> Diagnosis:
    return Diagnosis(
        question_id=id, attempt=attempt, judgement=judgement, missing_skills=list(skills), explanation="because"
    )


def test_alpha_by_hand() -> None:
    """Krippendorff's coincidences of (1, 1), (0, 0), (1, 1), (0, 1): each unit gives two pairs of values.

    Of 8 values 3 are 0 and 5 are 1. Observed disagreement: 2 of the 8 pairs. Expected: 2 * 3 * 5 of 8 * 7. So
    alpha = 1 - (2 / 8) / (30 / 56) = 0.5333.
    """
    assert alpha([(True, True), (False, False), (True, True), (False, True)]) == pytest.approx(8 / 15, abs=1e-6)


def test_alpha_below_chance() -> None:
    """Two raters who never agree on four units: 1 - (8 / 8) / (2 * 4 * 4 / 56) = -0.75."""
    assert alpha([(True, False), (False, True)] * 2) == pytest.approx(-0.75)


@pytest.mark.parametrize("units", [[], [(True, True)], [(False, False)] * 9])
def test_alpha_is_not_defined_when_one_value_alone_occurs(units: list[tuple[bool, bool]]) -> None:
    assert alpha(units) is None


def test_agreement_by_hand() -> None:
    """Three answers; skills a (2 and 1 times), b (1 and 1), c (0 and 1).

    Sets: {a, b} and {a} overlap in 1 of 2, {a} and {b, c} in 0 of 3, two empty ones are the same: (1/2 + 0 + 1) / 3.
    Of 9 units, a differs in the second answer, b in the first and the second, c in the second: 5 are alike. alpha over
    these: 18 values, 6 of them 1; 1 - (8 / 18) / (2 * 6 * 12 / (18 * 17)) = 0.0556.
    """
    first = [_diagnosis("p", "a", "b"), _diagnosis("q", "a"), _diagnosis("r", judgement="correct")]
    second = [_diagnosis("r"), _diagnosis("q", "b", "c"), _diagnosis("p", "a")]
    found = agreement(first, second, {})
    rows = {row.pop("skill"): row for row in found.pop("skills")}
    assert found == {
        "compared": 3,
        "alpha": pytest.approx(1 - (8 / 18) / (144 / 306), abs=1e-6),
        "agreement": pytest.approx(5 / 9, abs=1e-6),
        "identical": pytest.approx(1 / 3, abs=1e-6),
        "jaccard": pytest.approx(0.5),
        "judgement_agreement": pytest.approx(2 / 3, abs=1e-6),
    }
    assert list(rows) == ["a", "b", "c"]
    assert [(row["n"], row["named_first"], row["named_second"]) for row in rows.values()] == [
        (3, 2, 1),
        (3, 1, 1),
        (3, 0, 1),
    ]
    assert rows["a"]["agreement"] == pytest.approx(2 / 3, abs=1e-6)


def test_what_is_unscored_on_either_side_is_not_compared() -> None:
    first = [_diagnosis("p", "a"), _diagnosis("q", judgement="unscored"), _diagnosis("r", "a"), _diagnosis("s", "a")]
    second = [_diagnosis("p", "a"), _diagnosis("q", "a"), _diagnosis("r", judgement="unscored")]
    found = agreement(first, second, {})
    assert (found["compared"], found["identical"], found["alpha"]) == (1, 1.0, None)
    assert agreement(first, [], {}) | {"skills": None} == dict.fromkeys(found, None) | {"compared": 0}


def test_teachers_who_guess_agree_as_by_chance_however_many_subjects_there_are() -> None:
    """Two teachers name two of the six skills of each question's subject at random: alpha is near 0.

    Counting skills of the other six subjects, which neither could name, would make it about 0.2: of 42 skills they then
    agree not to name 36.
    """
    random = Random(0)
    skills = {f"subject{n}": [f"s{n}_{k}" for k in range(6)] for n in range(7)}
    choices = {f"q{n}": skills[f"subject{n % 7}"] for n in range(700)}
    first, second = ([_diagnosis(id, *random.sample(names, 2)) for id, names in choices.items()] for _ in range(2))
    # 4,200 units: the deviation of alpha is about 1 / sqrt(4200) = 0.015.
    assert agreement(first, second, choices)["alpha"] == pytest.approx(0, abs=0.06)
    assert agreement(first, second, {})["alpha"] > 0.15


def test_attempts_are_told_apart() -> None:
    found = agreement(
        [_diagnosis("p", "a", attempt=1)], [_diagnosis("p", "b", attempt=0), _diagnosis("p", "a", attempt=1)], {}
    )
    assert (found["compared"], found["identical"]) == (1, 1.0)


def test_the_sample_depends_on_nothing_but_the_ids() -> None:
    every = [_diagnosis(f"q{n}") for n in range(100)]
    chosen = {each.question_id for each in sampled(every, 10)}
    assert len(chosen) == 10 and chosen == {each.question_id for each in sampled(reversed(every), 10)}
    assert chosen < {each.question_id for each in sampled(every, 11)}
    assert sampled(every[:3], 10) == sampled(every[:3], 3)


def test_what_is_not_compared_is_told_with_its_reason() -> None:
    """The first diagnosis of q is unscored, so it is not drawn; r's label is outside the list of its subject."""
    questions = {
        id: Question(id=id, question="?", skills=[skill]) for id, skill in [("p", "a"), ("q", "a"), ("r", "x")]
    }
    answers = [_answer(id) for id in questions]
    first = [_diagnosis("p", "a"), _diagnosis("q", judgement="unscored"), _diagnosis("r", "a")]
    pairs = to_ask_again(sampled(first, 3), questions, answers)
    assert {question.id for question, _ in pairs} == {"p", "r"}
    again, dropped = ask_again(sorted(pairs, key=lambda pair: pair[0].id), LabelReader(), {"": ["a"]})
    assert [each.missing_skills for each in again] == [["a"], []]
    assert [(row.stage, row.id, row.reason, row.detail) for row in dropped] == [
        ("audit", "r", "missing skill outside the list", "x"),
    ]


def _answer(id: str) -> Answer:
    return Answer(question_id=id, attempt=0, text="", finish_reason="stop", output_tokens=0, prompt_hash="")


def _numbers(skills: int, **more: Any) -> dict[str, Any]:
    named = [f"a_skill_with_a_rather_long_name_{n}" for n in range(skills)]
    return (
        {"sample": 50, "asked": "MODEL"}
        | agreement([_diagnosis("p", *named)], [_diagnosis("p", *named[1:])], {})
        | more
    )


@pytest.mark.parametrize("skills", [1, SKILLS_SHOWN, SKILLS_SHOWN + 20])
def test_the_table_fits_80_columns_and_says_what_it_leaves_out(skills: int) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_audit(_numbers(skills), console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("a_skill_with" in line for line in lines) == min(skills, SKILLS_SHOWN)
    assert any("20 skills more, in audit.json" in line for line in lines) == (skills > SKILLS_SHOWN)


def test_nothing_compared_is_said() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_audit({"sample": 2, "asked": "MODEL"} | agreement([], [], {}), console)
    assert console.export_text().splitlines() == ["0 of 2 diagnoses compared with a second one:", "MODEL"]
