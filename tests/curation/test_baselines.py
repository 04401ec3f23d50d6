"""The baselines that select: levels, rewrites alone, nearest questions, answers in proportion to fail rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
from datasets import Dataset
from pools import diagnosed_of, source_of

from stat_train.curation.embedding import nearest_rows
from stat_train.curation.rewriting import answer_source
from stat_train.curation.selection import answer_numbers, passes, require_levels
from stat_train.curation.source import OWN, Draw, Draws
from stat_train.errors import UserError
from stat_train.recipe_settings import (
    AugmentRecipe,
    DifficultyTuningRecipe,
    EmbedSelRecipe,
    HardRecipe,
    SelectionRecipe,
)
from stat_train.records import Question
from stat_train.teacher.labels import LabelReader

COMMON: dict[str, Any] = {"pairs": 10, "answers": "own", "answers_per_question": 4, "allow_short": False}
WORDS = {
    "bus": "A bus leaves the station at noon and drives to the next town. When does the bus arrive?",
    "train": "A train leaves the station at nine and drives to the next town. When does the train arrive?",
    "circle": "What is the area of a circle whose radius is seven?",
    "disk": "What is the area of a disk whose radius is four?",
    "prime": "Which prime numbers are smaller than twenty?",
}


def _pool() -> list[Question]:
    return [
        Question(id=id, question=text, solution="1", level=number + 1, skills=[id])
        for number, (id, text) in enumerate(WORDS.items())
    ]


def _draws(recipe: SelectionRecipe, answers: Sequence[int] = (OWN,), **about: Any) -> Iterator[list[Draw]]:
    source = source_of(about.pop("pool", _pool()))
    found = passes(recipe, source, about.pop("diagnosed", diagnosed_of({"v": ["bus"]})), answers, Random(0))
    return (list(draws) for draws in found)


# -- hard, augment ----------------------------------------------------------------------------------------------------


def test_hard_draws_every_answer_of_the_wanted_levels_alone() -> None:
    recipe = HardRecipe(name="hard", levels=[4, 5], **COMMON)
    (found,) = _draws(recipe, [OWN, 0])
    assert found == [Draw(3, OWN), Draw(3, 0), Draw(4, OWN), Draw(4, 0)]


def test_a_pool_without_levels_has_no_hard_questions() -> None:
    pool = Dataset.from_dict({"level": [None, None]})
    with pytest.raises(UserError, match=r"data_recipe = hard: .* no level.* task\.fields\.level=COLUMN"):
        require_levels(pool, [4, 5])


def test_levels_that_the_pool_has_not_are_named_beside_those_it_has() -> None:
    pool = Dataset.from_dict({"level": [1, 3, 3, None]})
    with pytest.raises(UserError, match=r"levels = \[4, 5\]: .* 1 \(1 questions\), 3 \(2 questions\)"):
        require_levels(pool, [4, 5])
    require_levels(pool, [3, 4])


def test_augment_is_rewrites_whatever_the_teacher() -> None:
    recipe = AugmentRecipe(name="augment", pairs=1, answers_per_question=3, allow_short=False)
    assert answer_source(recipe, LabelReader()) == "rewrites"
    assert answer_numbers(recipe, "rewrites") == [0, 1, 2]


# -- nearest questions ------------------------------------------------------------------------------------------------


def test_the_nearest_questions_are_those_with_the_same_words() -> None:
    asked = [Question(id="v", question="When does a bus arrive that leaves at noon and drives to the next town?")]
    source = source_of(_pool())
    first, second, rest = list(nearest_rows(source, asked, 2, "tfidf"))
    assert first.tolist() == [[0, 1]]
    assert sorted([*second[0].tolist(), *rest[0].tolist()]) == [2, 3, 4]


def test_nearest_rows_are_those_of_the_whole_cosine_table() -> None:
    """The same as sorting all similarities at once, ties by row, over all blocks and in however many looks."""
    import numpy
    from sklearn.feature_extraction.text import TfidfVectorizer

    random = Random(0)
    pool = [
        Question(id=str(n), question=" ".join(random.choices(sorted(WORDS.values())[n % 5].split(), k=6)), solution="1")
        for n in range(90)
    ]
    asked = pool[::7]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, dtype=numpy.float32)
    vectors = vectorizer.fit_transform([question.question for question in pool])
    table = (vectors[::7] @ vectors.T).toarray()
    expected = numpy.argsort(-table, axis=1, kind="stable")
    blocks = list(nearest_rows(source_of(pool), asked, 4, "tfidf"))
    assert [block.shape[1] for block in blocks] == [4] * 22 + [2]
    assert numpy.hstack(blocks).tolist() == expected.tolist()


def test_embed_sel_counts_a_question_once_for_each_difficult_one_it_is_near_to() -> None:
    asked = [
        Question(id=id, question=WORDS["bus"].replace("noon", word)) for id, word in (("v1", "one"), ("v2", "two"))
    ]
    recipe = EmbedSelRecipe(name="embed_sel", nearest=2, embedder="tfidf", **COMMON)
    first = next(_draws(recipe, [0, 1], diagnosed=diagnosed_of({"v1": [], "v2": []}, difficult=asked)))
    assert Counter(first) == {
        Draw(row, answer, None, id): 1 for row in (0, 1) for answer in (0, 1) for id in ("v1", "v2")
    }


def test_an_embedder_that_is_not_there_is_named_with_the_remedy() -> None:
    asked = [Question(id="v", question="?")]
    with pytest.raises(UserError, match=r"data_recipe\.embedder = no/such: .*(stat-train\[embed\]|cannot be loaded)"):
        next(nearest_rows(source_of(_pool()), asked, 1, "no/such"))


def test_nothing_difficult_is_said_and_an_empty_pool_has_nothing_near() -> None:
    with pytest.raises(UserError, match="no validation question is difficult"):
        next(nearest_rows(source_of(_pool()), [], 2, "tfidf"))
    unsolved = [question.model_copy(update={"solution": ""}) for question in _pool()]
    assert list(nearest_rows(source_of(unsolved), _pool()[:1], 2, "tfidf")) == []


def test_a_question_may_have_many_answers() -> None:
    (found,) = _draws(HardRecipe(name="hard", levels=[5], **COMMON), list(range(300)))
    assert [draw.answer for draw in found] == list(range(300))


# -- answers in proportion to fail rates ------------------------------------------------------------------------------


def test_answers_are_in_proportion_to_how_often_the_skills_fail() -> None:
    """Rates: bus 1 of 1, train 1 of 2, circle 0 of 1; disk and prime were never exposed, so nothing is known of them.

    Of 4 answers the bus has 4, the train 2, the circle at least one; a question with two skills has their mean.
    """
    diagnosed = diagnosed_of({"v1": ["bus"], "v2": ["train"]}, {"v3": ["train"], "v4": ["circle"]})
    both = Question(id="both", question="?", solution="1", skills=["bus", "circle"])
    recipe = DifficultyTuningRecipe(name="difficulty_tuning", **COMMON)
    (found,) = _draws(recipe, [0, 1, 2, 3], diagnosed=diagnosed, pool=[*_pool(), both])
    assert found == [Draw(row, answer) for row, count in ((0, 4), (1, 2), (2, 1), (5, 2)) for answer in range(count)]


def test_where_no_skill_is_missing_there_is_nothing_to_be_in_proportion_to() -> None:
    recipe = DifficultyTuningRecipe(name="difficulty_tuning", **COMMON)
    with pytest.raises(UserError, match=r"data_recipe = difficulty_tuning: .* no skill is missing"):
        next(_draws(recipe, [0, 1], diagnosed=diagnosed_of({"v": []})))


def test_an_own_answer_is_repeated_as_often_as_others_would_be_drawn() -> None:
    recipe = DifficultyTuningRecipe(name="difficulty_tuning", **COMMON)
    assert answer_numbers(recipe, "own") == [OWN] * 4
    assert answer_numbers(recipe, "both") == [OWN, 0, 1, 2, 3]


# -- draws as columns -------------------------------------------------------------------------------------------------


def test_draws_in_columns_are_a_sequence_of_draws() -> None:
    import numpy

    draws = Draws(numpy.array([5, 6, 7]), numpy.array([OWN, 0, 1]))
    assert list(draws) == [Draw(5, OWN), Draw(6, 0), Draw(7, 1)] and len(draws) == 3
    assert list(draws[1:]) == [Draw(6, 0), Draw(7, 1)]
    assert list(draws.without({1})) == [Draw(5, OWN), Draw(7, 1)]
