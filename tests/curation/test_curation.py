"""From a profile to a training set: what each recipe draws, how often, and what it never draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from random import Random
from typing import Any

import pytest
from datasets import Dataset
from pools import diagnosed_of, source_of, tools_of
from scipy.stats import chisquare

from stat_train.config import Prompt
from stat_train.curation import source as source_file
from stat_train.curation.rewriting import MOST_DRAWN_IN_VAIN, answer_source
from stat_train.curation.selection import shortfalls, stat_sel, uniform_question, uniform_skill
from stat_train.curation.source import OWN, Draw, Source, fill, make_source
from stat_train.curation.training_set import Recipe, TrainingSet, make_training_set
from stat_train.errors import UserError
from stat_train.recipe_settings import PoolRecipe, StatSelRecipe, UntargetedRecipe
from stat_train.records import Question
from stat_train.teacher.contract import RewriteRequest, Written
from stat_train.teacher.labels import LabelReader

PROMPT = Prompt(system=None, template="{question}", chat_template_arguments={})
# Pool questions that carry each skill; d is carried by fewer than one draw asks for, and e by none.
CARRIED = {"a": 40, "b": 20, "c": 10, "d": 3}
# What was missed: a three times, b twice, c, d and e once.
MISSED = {"v1": ["a", "b"], "v2": ["a"], "v3": ["b", "c", "a"], "v4": ["d", "e"]}
COUNTS = {"a": 3, "b": 2, "c": 1, "d": 1, "e": 1}


class _Teacher(LabelReader):
    """A teacher that rewrites, and keeps what it was asked for."""

    can_rewrite = True

    def __init__(self) -> None:
        self.asked: list[RewriteRequest] = []

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        for request in requests:
            self.asked.append(request)
            text = f"The final answer is: \\boxed{{1}} (rewrite {request.sample} of {request.question.id})"
            yield Written(text, [f"call {len(self.asked)}"])


def _pool(carried: Mapping[str, int] = CARRIED) -> list[Question]:
    rows = [(skill, index) for skill, count in carried.items() for index in range(count)]
    return [
        Question(id=f"{skill}-{index}", question=f"{skill} {index}?", answer="1", solution="It is 1.", skills=[skill])
        for skill, index in rows
    ]


def _dataset(questions: Sequence[Question]) -> Dataset:
    return Dataset.from_list([question.model_dump() for question in questions])


def _skill_map(questions: Sequence[Question]) -> Dataset:
    return Dataset.from_dict({"skills": [question.skills or [] for question in questions]})


@pytest.fixture(scope="module")
def source() -> Source:
    """Return the pool of CARRIED."""
    return source_of(_pool())


def _recipe(name: str, **settings: Any) -> Recipe:
    usual: dict[str, Any] = {"name": name, "pairs": 20, "allow_short": False}
    if name == "pool":
        return PoolRecipe.model_validate(usual | settings)
    usual |= {"answers": "own", "answers_per_question": 3}
    if name == "stat_sel":
        return StatSelRecipe.model_validate(usual | {"questions_per_skill": 5, "weight": "count"} | settings)
    return UntargetedRecipe.model_validate(usual | settings)


def _make(
    source: Source,
    recipe: Recipe,
    seed: int = 0,
    teacher: LabelReader | None = None,
    missed: Mapping[str, Sequence[str]] = MISSED,
) -> TrainingSet:
    return make_training_set(source, diagnosed_of(missed), recipe, tools_of(teacher or _Teacher()), PROMPT, seed)


def _seed_ids(made: TrainingSet) -> list[str]:
    return [example.origin.seed_ids[0] for example in made.examples]


# -- what may be drawn ------------------------------------------------------------------------------------------------


def test_rows_that_are_left_out_may_not_be_drawn() -> None:
    source, dropped = make_source(_dataset(_pool({"a": 3, "b": 2})), _skill_map(_pool({"a": 3, "b": 2})), {0, 4})
    assert source.rows.tolist() == [1, 2, 3]
    assert {skill: rows.tolist() for skill, rows in source.rows_by_skill.items()} == {"a": [1, 2], "b": [3]}
    assert dropped == []


def test_what_has_no_solution_can_neither_be_trained_on_nor_rewritten() -> None:
    pool = [Question(id=str(i), question=f"{i}?", solution=one, skills=["a"]) for i, one in enumerate(["2", None, ""])]
    source, dropped = make_source(_dataset(pool), _skill_map(pool), [])
    assert source.rows.tolist() == source.rows_by_skill["a"].tolist() == [0]
    assert [(row.id, row.reason, row.item) for row in dropped] == [
        (id, "no solution", "pool question") for id in ("1", "2")
    ]


def test_skills_are_those_of_the_skill_map() -> None:
    """Not those of the pool; a skill of no usable row is not there."""
    pool = _pool({"a": 2, "b": 1})
    skills = Dataset.from_dict({"skills": [["x", "y"], ["z"], ["x"]]})
    source, _ = make_source(_dataset(pool), skills, {1})
    assert {skill: rows.tolist() for skill, rows in source.rows_by_skill.items()} == {"x": [0, 2], "y": [0]}
    assert source.skills_at([2, 0]) == [["x"], ["x", "y"]]


def test_a_pool_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "ROWS_AT_A_TIME", 7)
    pool = _pool()
    found = make_source(_dataset(pool), _skill_map(pool), [])[0]
    ids = {skill: [pool[row].id for row in rows] for skill, rows in found.rows_by_skill.items()}
    assert ids == {skill: [f"{skill}-{index}" for index in range(count)] for skill, count in CARRIED.items()}


# -- stat_sel ---------------------------------------------------------------------------------------------------------


def _stat_sel_pass(source: Source, answers: Sequence[int] = (OWN,), number: int = 0) -> list[Draw]:
    recipe = _recipe("stat_sel")
    assert isinstance(recipe, StatSelRecipe)
    return next(islice(stat_sel(source, diagnosed_of(MISSED), recipe, answers, Random(0)), number, None))


@pytest.mark.parametrize(("answers", "pairs"), [([OWN], 1), ([0, 1, 2], 3), ([OWN, 0, 1, 2], 4)])
@pytest.mark.parametrize("number", [0, 1])
def test_a_pass_draws_each_skill_five_times_its_count(
    source: Source, answers: list[int], pairs: int, number: int
) -> None:
    """a 5 x 3, b 5 x 2, c 5 x 1; of d only the 3 that there are, of e none."""
    drawn = Counter(draw.skill for draw in _stat_sel_pass(source, answers, number))
    assert drawn == {"a": 15 * pairs, "b": 10 * pairs, "c": 5 * pairs, "d": 3 * pairs}


def test_a_draw_is_for_a_difficult_question_and_carries_the_skill(source: Source) -> None:
    draws = _stat_sel_pass(source)
    for id, skills in MISSED.items():
        for skill in skills:
            rows = [draw.row for draw in draws if (draw.question_id, draw.skill) == (id, skill)]
            assert len(rows) == len(set(rows)) == min(5, CARRIED.get(skill, 0))
            assert set(rows) <= set(source.rows_by_skill.get(skill, ()))


def test_passes_differ(source: Source) -> None:
    assert _stat_sel_pass(source, number=0) != _stat_sel_pass(source, number=1)


def test_rows_of_a_skill_are_equally_likely(source: Source) -> None:
    """200 passes draw 3,000 of the 40 rows that carry a: 75 each."""
    recipe = _recipe("stat_sel")
    assert isinstance(recipe, StatSelRecipe)
    passes = islice(stat_sel(source, diagnosed_of(MISSED), recipe, [OWN], Random(0)), 200)
    drawn = Counter(draw.row for draws in passes for draw in draws if draw.skill == "a")
    assert sum(drawn.values()) == 3000
    assert chisquare([drawn[row] for row in source.rows_by_skill["a"]]).pvalue > 0.01


def test_shortfalls(source: Source) -> None:
    recipe = _recipe("stat_sel")
    assert isinstance(recipe, StatSelRecipe)
    assert shortfalls(source, diagnosed_of(MISSED), 5) == {"d": 3, "e": 0}
    assert _make(source, recipe).summary["shortfalls"] == {"d": 3, "e": 0}


def test_more_pairs_than_a_pass_follow_the_profile(source: Source) -> None:
    """A pass has 33 pairs: 100 are three passes and 1 pair of a fourth, so 45, 30, 15, 9 and one more somewhere."""
    made = _make(source, _recipe("stat_sel", pairs=100))
    drawn = made.summary["pairs_drawn_for_skill"]
    more = {skill: drawn[skill] - 3 * count for skill, count in {"a": 15, "b": 10, "c": 5, "d": 3}.items()}
    assert sorted(more.values()) == [0, 0, 0, 1]
    assert Counter(example.origin.skill for example in made.examples) == drawn


def test_a_training_row_says_where_it_is_from(source: Source) -> None:
    for example in _make(source, _recipe("stat_sel")).examples:
        assert example.origin.skill in MISSED[example.origin.question_id or ""]
        assert example.skills == [example.origin.skill]
        assert example.question == example.origin.seed_ids[0].replace("-", " ") + "?"
        assert example.messages == [
            {"role": "user", "content": example.question},
            {"role": "assistant", "content": example.answer},
        ]


def test_nothing_to_draw_is_an_error_even_when_short_is_allowed(source: Source) -> None:
    recipe = _recipe("stat_sel", allow_short=True)
    with pytest.raises(UserError, match="gives only 0 pairs"):
        _make(source, recipe, missed={"v": ["e"]})


@pytest.mark.parametrize("missed", [{}, {"v": []}])
def test_a_profile_without_a_missing_skill_is_an_error_that_says_so(
    source: Source, missed: Mapping[str, Sequence[str]]
) -> None:
    """Enlarging the pool, which is the advice for too few pairs, would not help."""
    said = rf"{len(missed)} of {len(missed)} validation questions are difficult .* no skill is missing"
    with pytest.raises(UserError, match=said):
        _make(source, _recipe("stat_sel"), missed=missed)


# -- filling ----------------------------------------------------------------------------------------------------------


def _passes(*sizes: int) -> Iterator[list[Draw]]:
    return iter([[Draw(100 * number + index, OWN) for index in range(size)] for number, size in enumerate(sizes)])


@pytest.mark.parametrize(
    ("pairs", "whole", "rest"), [(3, [], 3), (4, [4], 0), (7, [4], 3), (10, [4, 4], 2), (12, [4, 4, 4], 0)]
)
def test_only_the_last_pass_is_a_part(pairs: int, whole: list[int], rest: int) -> None:
    chosen = [draw.row for draw in fill(_passes(4, 4, 4), pairs, Random(0))[0]]
    expected = [100 * number + index for number, size in enumerate(whole) for index in range(size)]
    assert chosen[: len(expected)] == expected
    last = chosen[len(expected) :]
    assert len(last) == rest == len(set(last))
    assert {row // 100 for row in last} <= {len(whole)}


def test_the_last_pass_is_a_random_part() -> None:
    """Each of 6 draws is kept in half of 600 fills of 3: the first ones are not preferred."""
    kept = Counter(draw.row for seed in range(600) for draw in fill(_passes(6), 3, Random(seed))[0])
    assert chisquare([kept[row] for row in range(6)]).pvalue > 0.01


def test_passes_that_end_give_fewer() -> None:
    chosen, left = fill(_passes(4, 4), 10, Random(0))
    assert (len(chosen), list(left)) == (8, [])


def test_what_a_fill_leaves_comes_first_in_the_next() -> None:
    """So every draw of the passes is used before one is drawn anew."""
    chosen, left = fill(_passes(4, 4, 4), 6, Random(0))
    more, after = fill(left, 4, Random(1))
    rows = [draw.row for draw in (*chosen, *more)]
    assert sorted(rows)[:8] == [0, 1, 2, 3, 100, 101, 102, 103]
    assert (len(rows), len(set(rows)), [len(draws) for draws in after]) == (10, 10, [2])


# -- all recipes ------------------------------------------------------------------------------------------------------

NAMES = ["stat_sel", "uniform_skill", "random", "pool"]


@pytest.mark.parametrize("pairs", [1, 7, 50])
@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_pairs_is_exact(source: Source, name: str, pairs: int) -> None:
    made = _make(source, _recipe(name, pairs=pairs))
    assert len(made.examples) == made.summary["pairs"] == pairs
    assert len({example.id for example in made.examples}) == pairs
    assert made.summary["unique_questions"] == len(set(_seed_ids(made)))


def _lines(made: TrainingSet) -> list[str]:
    return [example.to_line() for example in made.examples]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(source: Source, name: str) -> None:
    recipe = _recipe(name)
    assert _lines(_make(source, recipe)) == _lines(_make(source, recipe))
    assert _lines(_make(source, recipe)) != _lines(_make(source, recipe, seed=1))


def test_rows_are_mixed(source: Source) -> None:
    """Not one skill after the other, or the last steps of a training would see one skill alone."""
    skills = [example.origin.skill for example in _make(source, _recipe("stat_sel", pairs=66)).examples]
    changes = sum(one != two for one, two in pairwise(skills))
    assert changes > 20


@pytest.mark.parametrize("name", ["random", "pool"])
def test_uniform_over_questions_is_without_replacement(source: Source, name: str) -> None:
    made = _make(source, _recipe(name, pairs=73))
    assert sorted(_seed_ids(made)) == sorted(source.pool["id"])
    assert {example.answer for example in made.examples} == {"It is 1."}


@pytest.mark.parametrize("name", ["random", "pool"])
def test_an_exhausted_pool_is_an_error_unless_short_is_allowed(source: Source, name: str) -> None:
    with pytest.raises(UserError, match=r"data_recipe.pairs = 74: the pool gives only 73 pairs\. .*allow_short=true"):
        _make(source, _recipe(name, pairs=74))
    assert len(_make(source, _recipe(name, pairs=74, allow_short=True)).examples) == 73


def test_random_is_uniform_over_questions(source: Source) -> None:
    """The one pass holds each of the 73 rows once, and one drawn of it is each row equally often."""
    assert sorted(d.row for d in next(uniform_question(source.rows, [OWN]))) == sorted(source.rows)
    first = Counter(fill(uniform_question(source.rows, [OWN]), 1, Random(seed))[0][0].row for seed in range(2000))
    assert chisquare([first[row] for row in source.rows]).pvalue > 0.01


def test_uniform_skill_is_uniform_over_skills_and_their_rows(source: Source) -> None:
    """Over the pool's own skills 400 pairs are 100 each; the same pairs at random follow the pool (40 of 73 are a)."""
    drawn = _make(source, _recipe("uniform_skill", pairs=400)).summary["pairs_drawn_for_skill"]
    assert chisquare([drawn[skill] for skill in CARRIED]).pvalue > 0.01
    rows = Counter(d.row for one in islice(uniform_skill(source, 4, [OWN], Random(0)), 1000) for d in one)
    for carrying in source.rows_by_skill.values():
        assert chisquare([rows[row] for row in carrying]).pvalue > 0.01
    carried = _make(source, _recipe("random", pairs=50)).summary["pairs_carrying_skill"]
    assert chisquare([carried.get(skill, 0) for skill in CARRIED]).pvalue < 0.01


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stat_sel", "uniform_skill", "random"])
def test_only_the_rewrites_that_were_drawn_are_asked_for(source: Source, name: str) -> None:
    teacher = _Teacher()
    made = _make(source, _recipe(name, answers="rewrites", pairs=17), teacher=teacher)
    assert len(teacher.asked) == 17
    asked = {f"call {n}": request for n, request in enumerate(teacher.asked, start=1)}
    for example in made.examples:
        (call_id,) = example.origin.call_ids
        request = asked.pop(call_id)
        assert example.answer.endswith(f"(rewrite {request.sample} of {request.question.id})")
        assert example.origin.seed_ids == [request.question.id]
    assert {request.sample for request in teacher.asked} <= {0, 1, 2}


def test_all_rewrites_of_a_question_are_pairs(source: Source) -> None:
    """`random` with 73 questions and 3 rewrites each: 219 different pairs."""
    made = _make(source, _recipe("random", answers="rewrites", pairs=219))
    assert len({example.answer for example in made.examples}) == 219
    assert set(Counter(_seed_ids(made)).values()) == {3}


def test_both_is_the_own_answer_and_the_rewrites(source: Source) -> None:
    teacher = _Teacher()
    made = _make(source, _recipe("random", answers="both", pairs=4 * 73), teacher=teacher)
    assert Counter(example.answer == "It is 1." for example in made.examples) == {True: 73, False: 219}
    assert len(teacher.asked) == 219
    for example in made.examples:
        assert example.answer == "It is 1." or example.answer.endswith(f" of {example.origin.seed_ids[0]})")


class _Failing(_Teacher):
    """A teacher that gives nothing for some rewrites, and another final answer in others."""

    def __init__(self, none: set[str], other: set[str]) -> None:
        super().__init__()
        self.none, self.other = none, other

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        wanted = list(requests)
        for request, written in zip(wanted, super().rewrite(wanted), strict=True):
            if request.question.id in self.none:
                yield Written(None, [], "the model refused")
            elif request.question.id in self.other:
                yield Written("The final answer is: \\boxed{2}", ["call"])
            else:
                yield written


def test_what_cannot_be_trained_on_is_left_out_and_drawn_anew(source: Source) -> None:
    """All 120 rewrites of a but those of two questions are usable: 38 x 3."""
    teacher = _Failing({"a-0"}, {"a-1"})
    made = _make(source, _recipe("random", answers="rewrites", pairs=213), teacher=teacher)
    assert len(made.examples) == 213 == 219 - 6
    assert Counter((row.stage, row.id, row.reason, row.detail) for row in made.dropped) == {
        ("curate", "a-0", "no usable rewrite", "the model refused"): 3,
        ("curate", "a-1", "rewrite ends in another answer", "2, not 1"): 3,
    }
    assert not {"a-0", "a-1"} & set(_seed_ids(made))


def test_pairs_that_are_drawn_anew_keep_the_weights_of_the_profile(source: Source) -> None:
    """Every question of c fails, so its share goes to the others; a and b keep theirs, three to two."""
    teacher = _Failing({f"c-{n}" for n in range(10)}, set())
    made = _make(source, _recipe("stat_sel", answers="rewrites", pairs=600), teacher=teacher)
    drawn = made.summary["pairs_drawn_for_skill"]
    assert set(drawn) == {"a", "b", "d"} and len(made.examples) == 600
    assert (
        chisquare([drawn["a"], drawn["b"]], [(drawn["a"] + drawn["b"]) * share for share in (0.6, 0.4)]).pvalue > 0.01
    )


def test_a_teacher_that_never_gives_anything_ends_the_drawing(source: Source) -> None:
    teacher = _Failing({id for id in source.pool["id"]}, set())
    with pytest.raises(
        UserError, match=r"only 0 could be made. 100 draws, of \d+ questions, .*: no usable rewrite \(the"
    ):
        _make(source, _recipe("stat_sel", answers="rewrites", pairs=5000), teacher=teacher)
    assert len(teacher.asked) == 100 == MOST_DRAWN_IN_VAIN


def test_the_last_pair_may_need_many_draws(source: Source) -> None:
    """Three of four rewrites fail, so the last pair alone takes four draws, and more than ten one time in twenty."""
    failing = {id for id in source.pool["id"] if int(id[2:]) % 4}
    for seed in range(40):
        made = _make(source, _recipe("stat_sel", answers="rewrites", pairs=50), seed, _Failing(failing, set()))
        assert len(made.examples) == 50


def test_own_answers_ask_the_teacher_nothing(source: Source) -> None:
    teacher = _Teacher()
    _make(source, _recipe("stat_sel", answers="own"), teacher=teacher)
    assert teacher.asked == []


@pytest.mark.parametrize(
    ("name", "answers", "teacher", "expected"),
    [
        ("stat_sel", None, _Teacher(), "rewrites"),
        ("stat_sel", None, LabelReader(), "own"),
        ("random", "own", _Teacher(), "own"),
        ("uniform_skill", "both", _Teacher(), "both"),
        ("pool", None, _Teacher(), "own"),
    ],
)
def test_whose_answers(name: str, answers: str | None, teacher: LabelReader, expected: str) -> None:
    recipe = _recipe(name) if name == "pool" else _recipe(name, answers=answers)
    assert answer_source(recipe, teacher) == expected
