"""Questions for reinforcement learning: whose answer is known, none held out, for what the student misses."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from datasets import Dataset
from pools import diagnosed_of

from stat_train.curation.decontamination import Decontaminator, HeldOut
from stat_train.curation.rl_questions import (
    askable_pool,
    draw,
    of_pool,
    of_profile,
    of_training_set,
    require_answers,
    without_copies,
)
from stat_train.curation.source import Source
from stat_train.errors import UserError
from stat_train.records import Dropped, Origin, Question, TrainingExample

# Missing twice: a; once: b; the student was asked for c, and got it right.
MISSED = {"v1": ["a"], "v2": ["a", "b"]}


def pool(answered: bool = True) -> list[Question]:
    """Return 30 questions of a, 30 of b, 30 of c; one without an answer, and it has no solution either."""
    rows = [(f"{skill}{n}", [skill]) for skill in "abc" for n in range(30)]
    found = [Question(id=id, question=f"{id}?", answer="1" if answered else "", skills=s) for id, s in rows]
    return [*found, Question(id="open", question="open?", skills=["a"])]


def askable(left_out: tuple[int, ...] = (), needs_gold: bool = True) -> tuple[Source, list[Dropped]]:
    rows = [question.model_dump() for question in pool()]
    skills = Dataset.from_dict({"skills": [question.skills for question in pool()]})
    return askable_pool(Dataset.from_list(rows), skills, left_out, needs_gold)


def test_a_pool_question_needs_an_answer_not_a_solution() -> None:
    source, dropped = askable(left_out=(0, 1))
    assert [(row.id, row.reason, row.stage) for row in dropped] == [("open", "no answer", "rl_questions")]
    found = of_pool(source, None, Random(0))
    assert [question.id for question in found.questions] == [question.id for question in pool()[2:-1]]
    assert found.available == 88
    assert len(of_pool(askable(needs_gold=False)[0], None, Random(0)).questions) == 91


def test_so_many_are_drawn_as_are_wanted_by_the_seed() -> None:
    source, _ = askable()
    first, again, other = (of_pool(source, 40, Random(seed)).questions for seed in (0, 0, 1))
    assert first == again != other
    assert len({question.id for question in first}) == 40
    assert all(question.skills for question in first)


def test_the_profile_weighs_by_how_often_a_skill_is_missing() -> None:
    """Of 12 questions 8 are expected to need a and 4 b, over 200 draws 1,600 and 800; c is not missing."""
    source, _ = askable()
    profile = diagnosed_of(MISSED, {"v3": ["c"]}).profile
    drawn = [of_profile(source, profile, 12, Random(seed)).questions for seed in range(200)]
    assert all(len({question.id for question in questions}) == 12 for questions in drawn)
    counts = Counter((question.skills or [""])[0] for questions in drawn for question in questions)
    # Four standard deviations of a binomial count of 2,400 draws at 2/3.
    assert counts["a"] == pytest.approx(1600, abs=4 * (2400 * 2 / 9) ** 0.5)
    assert set(counts) == {"a", "b"}


def test_all_questions_of_the_profile_are_all_that_need_a_missing_skill() -> None:
    source, _ = askable()
    profile = diagnosed_of(MISSED).profile
    every = {f"{skill}{n}" for skill in "ab" for n in range(30)}
    assert {question.id for question in of_profile(source, profile, None, Random(0)).questions} == every
    assert {question.id for question in of_profile(source, profile, 1000, Random(0)).questions} == every


def test_a_profile_that_the_pool_does_not_serve_is_refused() -> None:
    with pytest.raises(UserError, match=r"rl.prompts = profile: no pool question .* use rl.prompts=pool, or rl=none"):
        of_profile(askable()[0], diagnosed_of({"v1": ["z"]}).profile, 5, Random(0))


def test_questions_that_were_trained_on_have_the_pools_answer_or_that_of_their_solution() -> None:
    """Two rows ask a0, whose rewrite may end elsewhere; the new question is known by its solution alone."""
    source, _ = askable()
    rows = [("r0", "a0?", "So it is \\boxed{5}."), ("r1", "new?", "It is \\boxed{7}."), ("r2", "a0?", "no")]
    rows += [("r3", "lost?", "nobody knows")]
    found = of_training_set([_example(*row) for row in rows], source)
    assert [(question.id, question.answer, question.skills) for question in found] == [
        ("a0", "1", ["a"]),
        ("r1", "7", ["s"]),
        ("r3", None, ["s"]),
    ]
    asked = draw(found, True, None, Random(0))
    assert [question.id for question in asked.questions] == ["a0", "r1"]
    assert [(row.id, row.reason) for row in asked.dropped] == [("r3", "no answer")]
    assert len(draw(found, False, None, Random(0)).questions) == 3


def _example(id: str, question: str, answer: str) -> TrainingExample:
    return TrainingExample(
        id=id, messages=[], question=question, answer=answer, skills=["s"], recipe="x", origin=Origin(seed_ids=["a0"])
    )


def test_copies_of_held_out_questions_are_left_out_of_a_file() -> None:
    """A twin differs from a held-out question in its numbers alone."""
    check = Decontaminator([HeldOut("t1", "Which number comes after 12 on this long list?", "benchmark")]).check
    texts = {"leak": "which number comes after 12 on THIS long list?", "other": "What is the sum of 2 and 3?"}
    texts["twin"] = "Which number comes after 77 on this long list?"
    questions = [Question(id=id, question=text, answer="1") for id, text in texts.items()]
    kept, dropped = without_copies(questions, check, drop_twins=False)
    assert ([each.id for each in kept], [row.id for row in dropped]) == (["other", "twin"], ["leak"])
    assert dropped[0].reason == "leak, equal" and dropped[0].detail.startswith("benchmark t1: ")
    assert [each.id for each in without_copies(questions, check, drop_twins=True)[0]] == ["other"]


def test_a_pool_without_answers_is_refused() -> None:
    rows = [question.model_dump() for question in pool(answered=False)]
    with pytest.raises(UserError, match="none of the 91 pool questions has a gold answer"):
        require_answers(Dataset.from_list(rows))
    require_answers(Dataset.from_list([question.model_dump() for question in pool()]))
