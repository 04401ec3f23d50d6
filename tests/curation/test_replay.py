"""Rows that protect what the student can do: which questions they are, and how many."""

from __future__ import annotations

from collections import Counter

import pytest
from pools import diagnosed_of, source_of

from stat_train.config import Prompt
from stat_train.curation.replay import Replay, make_replay, replay_rows, told
from stat_train.errors import UserError
from stat_train.records import Origin, Question, TrainingExample

PROMPT = Prompt(system=None, template="Q: {question}", chat_template_arguments={})
# The student misses a; b and c it does not; d nobody asked about. Two questions need a beside another skill.
CARRIED = {"a": 9, "b": 10, "c": 4, "d": 10}
MISSED = {"v1": ["a"]}
REQUIRED = {"v2": ["b"], "v3": ["c"]}


def pool() -> list[Question]:
    """Return the pool's questions."""
    rows = [(id, [skill]) for skill, count in CARRIED.items() for id in (f"{skill}{n}" for n in range(count))]
    rows += [("ab", ["a", "b"]), ("ac", ["c", "a"])]
    return [
        Question(id=id, question=f"{id}?", answer="1", solution=f"{id} is 1.", skills=skills) for id, skills in rows
    ]


def trained_on(*ids: str, count: int = 30) -> list[TrainingExample]:
    """Return a training set of so many rows, which ask these questions of the pool again and again."""
    return [
        TrainingExample(
            id=f"r{index}",
            messages=[],
            question=f"{ids[index % len(ids)]}?",
            answer="",
            skills=[],
            recipe="stat_sel",
            origin=Origin(seed_ids=[]),
        )
        for index in range(count)
    ]


def replay(share: float, rows: list[TrainingExample], seed: int = 0) -> Replay:
    return make_replay(source_of(pool()), diagnosed_of(MISSED, REQUIRED).profile, rows, share, PROMPT, seed)


@pytest.mark.parametrize(("rows", "share", "expected"), [(96, 0.25, 32), (90, 0.1, 10), (100, 0.0, 0), (30, 0.5, 30)])
def test_the_share_is_of_all_rows(rows: int, share: float, expected: int) -> None:
    """So many of (rows + so many) are the share."""
    assert replay_rows(rows, share) == expected
    assert expected / (rows + expected) == pytest.approx(share)


def test_rows_are_drawn_evenly_over_the_skills_that_are_not_missing() -> None:
    """10 of 30 + 10 rows: three skills in turn give 4, 3 and 3."""
    found = replay(0.25, trained_on("a0"))
    drawn = Counter(example.origin.skill for example in found.examples)
    assert drawn == {"b": 4, "c": 3, "d": 3}
    ids = [example.origin.seed_ids[0] for example in found.examples]
    assert len(set(ids)) == 10
    assert not {id for id in ids if "a" in id}
    assert found.summary["rows"] == found.summary["asked"] == 10


def test_what_is_trained_on_already_is_left_out_and_the_other_skills_fill_up() -> None:
    """Of c, c0 and c1 are left: 20 of 20 + 20 rows are these two and 9 of b and 9 of d."""
    found = replay(0.5, trained_on("c2", "c3", count=20))
    drawn = Counter(example.origin.skill for example in found.examples)
    assert drawn == {"b": 9, "c": 2, "d": 9}
    assert {example.question for example in found.examples if example.origin.skill == "c"} == {"c0?", "c1?"}


def test_a_row_is_the_question_with_its_own_solution_asked_as_the_student_is() -> None:
    example = replay(0.1, trained_on("a0"))[0][0]
    (id,) = example.origin.seed_ids
    assert (example.id, example.recipe, example.answer) == ("replay-00000", "replay", f"{id} is 1.")
    assert example.messages == [
        {"role": "user", "content": f"Q: {id}?"},
        {"role": "assistant", "content": f"{id} is 1."},
    ]


def test_the_seed_decides_which() -> None:
    assert replay(0.25, trained_on("a0")) == replay(0.25, trained_on("a0"))
    assert replay(0.25, trained_on("a0")) != replay(0.25, trained_on("a0"), seed=1)


def test_where_there_are_too_few_all_are_taken_and_it_is_said() -> None:
    """24 questions need no missing skill; 270 are asked for."""
    found = replay(0.9, trained_on("a0"))
    assert (len(found.examples), found.summary["asked"]) == (24, 270)
    assert told(found.summary).endswith(
        "24 rows of the pool for 3 skills that the student misses least: all there are, 270 were asked for"
    )


def test_a_student_that_misses_every_skill_is_protected_in_those_that_it_misses_least() -> None:
    """Missed in 2 of 2, 1 of 4, 1 of 2 and 1 of 3 questions, of which half lie above 5/12: b and d are protected."""
    missed = {"a1": ["a"], "a2": ["a"], "b1": ["b"], "c1": ["c"], "d1": ["d"]}
    required = {"b2": ["b"], "b3": ["b"], "b4": ["b"], "c2": ["c"], "d2": ["d"], "d3": ["d"]}
    found = make_replay(source_of(pool()), diagnosed_of(missed, required).profile, trained_on("a0"), 0.25, PROMPT, 0)
    assert Counter(example.origin.skill for example in found.examples) == {"b": 5, "d": 5}


def test_a_skill_that_is_missing_now_and_then_is_protected_like_one_that_never_is() -> None:
    """Missed in 1 of 1, 1 of 2, 1 of 4 and none: half lie above 3/8, a and b."""
    missed = {"a1": ["a"], "b1": ["b"], "c1": ["c"]}
    required = {"b2": ["b"], "c2": ["c"], "c3": ["c"], "c4": ["c"]}
    found = make_replay(source_of(pool()), diagnosed_of(missed, required).profile, trained_on("a0"), 0.25, PROMPT, 0)
    assert found.summary["rows_drawn_for_skill"] == {"d": 6, "c": 4}


def test_where_there_is_none_the_run_is_refused() -> None:
    everything = [question.id for question in pool()]
    with pytest.raises(
        UserError, match=r"train.replay_fraction = 0.5: no pool question is left .* \(it misses 1 more often\)"
    ):
        replay(0.5, trained_on(*everything, count=len(everything)))
