"""Which worked examples stand before a question: of its skills in turn, or the fixed set, and never a held-out one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from datasets import Dataset

from stat_train.curation.source import Source, make_source
from stat_train.errors import UserError
from stat_train.evaluation.exemplars import Judged, choose_exemplars, shortened, told
from stat_train.records import ExemplarPrompt, Question

# Pool questions that carry each skill; `c+d` are those that carry both, and nothing else carries d.
CARRIED = {"a": 30, "b": 20, "c": 1, "c+d": 2}
IDS = [f"{skills}-{index}" for skills, count in CARRIED.items() for index in range(count)]


def make(ids: Sequence[str] = IDS, left_out: Sequence[int] = (), unsolved: Sequence[str] = ()) -> Source:
    """Return a pool of questions that carry the skills that their ids begin with, less some rows."""
    rows = [Question(id=id, question=f"Q {id}?", solution=None if id in unsolved else f"A {id}.") for id in ids]
    skills = Dataset.from_dict({"skills": [id.partition("-")[0].split("+") for id in ids]})
    return make_source(Dataset.from_list([row.model_dump() for row in rows]), skills, left_out)[0]


def ask(
    skills: Mapping[str, Sequence[str]], easy: Sequence[str] = (), source: Source | None = None, seed: int = 0
) -> dict[str, ExemplarPrompt]:
    """Return the prompts of difficult questions with these skills, and of easy ones."""
    questions = [Question(id=id, question=id) for id in [*skills, *easy]]
    judged = Judged(dict.fromkeys(skills, True) | dict.fromkeys(easy, False), {}, skills)
    return {row.question_id: row for row in choose_exemplars(questions, judged, source or make(), 5, seed).prompts}


def carried(prompt: ExemplarPrompt) -> list[str]:
    """Return the skills of a prompt's examples, farthest first."""
    return [id.partition("-")[0] for id in prompt.exemplar_ids]


# -- difficult questions ----------------------------------------------------------------------------------------------


def test_the_skills_take_turns() -> None:
    found = ask({"one": ["a"], "two": ["b", "a"], "three": ["a", "b", "c+d"]})
    assert carried(found["one"]) == ["a"] * 5
    assert carried(found["two"]) == ["b", "a", "b", "a", "b"]
    # No question carries a skill of the name c+d.
    assert carried(found["three"]) == ["a", "b", "a", "b", "a"]
    assert [row.skills for row in found.values()] == [["a"], ["b", "a"], ["a", "b", "c+d"]]


def test_a_skill_that_has_no_more_leaves_its_turn_to_the_others() -> None:
    """d has two: d a d a a."""
    assert carried(ask({"q": ["d", "a"]})["q"]) == ["c+d", "a", "c+d", "a", "a"]


def test_an_example_that_carries_several_of_the_skills_stands_there_once() -> None:
    """c and d together have the one of c and the two of both: three different examples are all that there are."""
    found = ask({"q": ["c", "d"]})["q"]
    assert sorted(found.exemplar_ids) == ["c+d-0", "c+d-1", "c-0"]
    assert told([found], [], 5)[1:] == ["1 have fewer than 5 examples: the pool has no more for them"]


def test_examples_are_drawn_from_all_that_carry_the_skill() -> None:
    """With 5 of 30 for each of 200 questions, an example is drawn by none with probability (5/6)^200 < 1e-15."""
    found = ask({f"q{n}": ["a"] for n in range(200)})
    assert {id for row in found.values() for id in row.exemplar_ids} == {id for id in IDS if id.startswith("a-")}


@pytest.mark.parametrize(
    ("skills", "reason"), [([], "no skill of it is known"), (["z"], "no example carries its skills")]
)
def test_without_a_skill_or_an_example_of_it_the_fixed_set_stands_there(skills: list[str], reason: str) -> None:
    found = ask({"hard": skills}, easy=["easy"])
    assert found["hard"].exemplar_ids == found["easy"].exemplar_ids
    assert (found["hard"].difficult, found["hard"].skills, found["hard"].reason) == (True, [], reason)
    assert told(list(found.values()), [], 5) == [
        "1 of 2 benchmark questions are difficult; 0 have examples of their skills",
        f"1 have the fixed examples: {reason}",
    ]


# -- easy ones --------------------------------------------------------------------------------------------------------


def test_easy_questions_share_one_set_whatever_their_skills() -> None:
    judged = Judged({"x": False, "y": False}, {}, {"x": ["a"], "y": ["b"]})
    first, second = choose_exemplars([Question(id=id, question=id) for id in "xy"], judged, make(), 5, 0).prompts
    assert first.exemplar_ids == second.exemplar_ids
    assert len(set(first.exemplar_ids)) == 5
    assert (first.difficult, first.skills, first.reason) == (False, [], None)


def test_a_question_that_could_not_be_judged_is_taken_for_easy_and_says_why() -> None:
    questions = [Question(id=id, question=id) for id in ("easy", "odd")]
    judged = Judged({"easy": False}, {"odd": "no answer came"}, {})
    easy, odd = choose_exemplars(questions, judged, make(), 5, 0).prompts
    assert odd.exemplar_ids == easy.exemplar_ids
    assert (odd.difficult, odd.reason) == (None, "not judged: no answer came")


# -- seeds ------------------------------------------------------------------------------------------------------------


def test_a_seed_decides_and_other_questions_do_not() -> None:
    skills = {"q": ["a"], "r": ["a"]}
    found = ask(skills, easy=["easy"])
    assert found == ask(skills, easy=["easy"])
    assert found["q"].exemplar_ids != found["r"].exemplar_ids
    assert ask({"q": ["a"]})["q"] == found["q"]
    other = ask(skills, easy=["easy"], seed=1)
    assert all(other[id].exemplar_ids != found[id].exemplar_ids for id in found)


# -- what is no example -----------------------------------------------------------------------------------------------


def test_no_row_that_is_left_out_and_none_without_a_solution_is_an_example() -> None:
    """Of six only a-3 and b-0 are left: the fixed set has both, and a question that needs a has a-3."""
    ids = ["a-0", "a-1", "a-2", "a-3", "b-0", "b-1"]
    source = make(ids, left_out=[0, 1, 5], unsolved=["a-2"])
    found = ask({"hard": ["a"]}, easy=["easy"], source=source)
    assert found["hard"].exemplar_ids == ["a-3"]
    assert sorted(found["easy"].exemplar_ids) == ["a-3", "b-0"]


def test_a_pool_without_an_example_is_refused() -> None:
    with pytest.raises(UserError, match=r"evaluate\.prompting = adaptmi: .*task\.pool"):
        ask({}, easy=["easy"], source=make(["a-0"], left_out=[0]))


def test_the_examples_themselves_are_read_once_each() -> None:
    judged = Judged({"q": True}, {}, {"q": ["c", "d"]})
    found, examples = choose_exemplars([Question(id="q", question="q")], judged, make(), 5, 0)
    assert {id: (each.question, each.solution) for id, each in examples.items()} == {
        id: (f"Q {id}?", f"A {id}.") for id in examples
    }
    assert {"c-0", "c+d-0", "c+d-1"} == set(found[0].exemplar_ids) <= set(examples)


# -- what does not fit ------------------------------------------------------------------------------------------------


def prompt(id: str, count: int) -> ExemplarPrompt:
    return ExemplarPrompt(question_id=id, difficult=False, skills=[], exemplar_ids=[f"e{n}" for n in range(count)])


def test_the_farthest_examples_are_left_out_until_a_prompt_fits() -> None:
    """Room for a length of 3: q has 5 examples and is 1 long itself, r fits as it is, s alone is too long."""
    lengths = {"q": 1, "r": 0, "s": 4}
    asked = [prompt("q", 5), prompt("r", 3), prompt("s", 2)]
    kept, dropped = shortened(asked, lambda row: lengths[row.question_id] + len(row.exemplar_ids) <= 3)
    assert [row.exemplar_ids for row in kept] == [["e3", "e4"], ["e0", "e1", "e2"], []]
    assert [(row.stage, row.id, row.detail, row.item) for row in dropped] == [
        *(("prompts", "q", id, "worked example") for id in ("e0", "e1", "e2")),
        *(("prompts", "s", id, "worked example") for id in ("e0", "e1")),
    ]
    assert told(kept, dropped, 5)[1:] == [
        "2 prompts were too long and lost their first examples; 1 have none left",
        "1 have fewer than 5 examples: the pool has no more for them",
    ]
