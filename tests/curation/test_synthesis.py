"""New questions: what they are written after, which are left out, and that nothing is paid for that is not needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from math import sqrt
from random import Random
from typing import Any

import pytest
from pools import diagnosed_of, nothing_held_out, source_of, tools_of
from test_agreement import kept_solutions

from stat_train.config import ArithmeticTeacher
from stat_train.curation.decontamination import HeldOut, Hit
from stat_train.curation.rows import Check, Made
from stat_train.curation.source import Source
from stat_train.curation.synthesis import embed_syn_seeds, stat_syn_seeds, synthesize
from stat_train.errors import UserError
from stat_train.recipe_settings import EmbedSynRecipe, StatSynRecipe
from stat_train.records import Diagnosed, Question
from stat_train.tasks.answers import extract_final
from stat_train.tasks.arithmetic import world
from stat_train.teacher.arithmetic import ExactTeacher
from stat_train.teacher.contract import NewQuestions, QuestionRequest, SolveRequest, Written
from stat_train.teacher.labels import LabelReader

POOL = list(world.questions("0", "pool", "pool", 300, world.Family()))
MISSED = {"v1": ["digit_sum", "rounding"], "v2": ["digit_sum"], "v3": ["powers"]}
COMMON: dict[str, Any] = {"solutions": 3, "must_agree": 2, "answers_per_question": 3, "near_copy_similarity": None}


def _stat_syn(**settings: Any) -> StatSynRecipe:
    usual = {"name": "stat_syn", "pairs": 60, "references": 3, "allow_short": False} | COMMON
    return StatSynRecipe.model_validate(usual | settings)


def _embed_syn(**settings: Any) -> EmbedSynRecipe:
    usual = {"name": "embed_syn", "pairs": 60, "nearest": 5, "references": 3, "embedder": "tfidf", "allow_short": False}
    return EmbedSynRecipe.model_validate(usual | COMMON | {"questions_per_difficult": 5} | settings)


class Counting(ExactTeacher):
    """The exact teacher, counting what it is asked."""

    def __init__(self, wrong: float = 0.0, same: float = 0.1, seed: int = 0) -> None:
        settings = {"name": "arithmetic", "error_rate": 0.0, "sampling_seed": seed}
        super().__init__(
            ArithmeticTeacher.model_validate(settings | {"wrong_solution_rate": wrong, "same_error_rate": same})
        )
        self.questions_asked, self.solved = list[QuestionRequest](), list[SolveRequest]()

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        wanted = list(requests)
        self.questions_asked += wanted
        yield from super().new_question(wanted)

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        wanted = list(requests)
        self.solved += wanted
        yield from super().solve(wanted)


def _made(
    recipe: StatSynRecipe | EmbedSynRecipe,
    teacher: LabelReader | ExactTeacher,
    check: Check = nothing_held_out,
    diagnosed: Diagnosed | None = None,
    seed: int = 0,
) -> Made:
    return synthesize(_source(), diagnosed or _diagnosed(), recipe, tools_of(teacher, check), seed)


def _source() -> Source:
    return source_of(POOL)


def _diagnosed() -> Diagnosed:
    difficult = [Question(id=id, question=f"{POOL[place].question} And then?") for place, id in enumerate(MISSED)]
    return diagnosed_of(MISSED, difficult=difficult)


def _add_up(made: Made) -> None:
    for item, (total, kept) in made.counts.items():
        assert total == kept + sum(row.item == item for row in made.dropped), item
    assert made.counts["solution"].kept == len(made.rows)
    assert made.counts["new question"].kept == len({row.question for row in made.rows})


# -- what questions are written for and after -------------------------------------------------------------------------


def test_a_pass_has_each_missing_skill_of_each_difficult_question_once_and_references_that_carry_it() -> None:
    source = _source()
    seeds = list(islice(stat_syn_seeds(source, _diagnosed(), _stat_syn(), Random(0)), 8))
    wanted = sorted((id, skill) for id, skills in MISSED.items() for skill in skills)
    for part in (seeds[:4], seeds[4:]):
        assert sorted((seed.question_id, seed.skill) for seed in part) == wanted
    assert Counter((seed.skill, seed.sample) for seed in seeds) == {
        (skill, n): 1 for skill, count in {"digit_sum": 4, "rounding": 2, "powers": 2}.items() for n in range(count)
    }
    for seed in seeds:
        assert len(set(seed.rows)) == 3
        assert all(seed.skill in (POOL[row].skills or []) for row in seed.rows)
    assert [seed.rows for seed in seeds[:4]] != [seed.rows for seed in seeds[4:]]


def test_a_skill_that_no_pool_question_carries_is_written_for_from_its_name() -> None:
    seeds = islice(stat_syn_seeds(_source(), diagnosed_of({"v": ["unheard_of"]}), _stat_syn(), Random(0)), 2)
    assert [(seed.skill, seed.rows, seed.sample) for seed in seeds] == [("unheard_of", [], 0), ("unheard_of", [], 1)]


def test_embed_syn_writes_five_questions_for_each_difficult_one_after_its_nearest() -> None:
    """Three replies of two, of the last of which one question is used; references are three of the five nearest."""
    from stat_train.curation.embedding import nearest_rows

    source, diagnosed = _source(), _diagnosed()
    block = next(nearest_rows(source, diagnosed.difficult, 5, "tfidf"))
    nearest = {question.id: set(rows.tolist()) for question, rows in zip(diagnosed.difficult, block, strict=True)}
    seeds = list(islice(embed_syn_seeds(source, diagnosed, _embed_syn(), Random(0)), 9))
    assert Counter(seed.question_id for seed in seeds) == dict.fromkeys(MISSED, 3)
    for id in MISSED:
        mine = [seed for seed in seeds if seed.question_id == id]
        assert [(seed.sample, seed.wanted) for seed in mine] == [(0, 2), (1, 2), (2, 1)]
        assert all(len(set(seed.rows)) == 3 and set(seed.rows) <= nearest[id] for seed in mine)


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 7, 60])
@pytest.mark.parametrize("recipe", [_stat_syn, _embed_syn])
def test_the_number_of_pairs_is_exact_and_counts_add_up(recipe: Any, pairs: int) -> None:
    made = _made(recipe(pairs=pairs), Counting(wrong=0.3))
    assert len(made.rows) == pairs
    _add_up(made)


def test_rows_say_what_they_are_for_and_after() -> None:
    teacher = Counting()
    made = _made(_stat_syn(), teacher)
    asked = {request.id: request for request in teacher.questions_asked}
    for row in made.rows:
        assert row.origin.skill in MISSED[row.origin.question_id or ""]
        assert row.skills == [row.origin.skill]
        request = asked[f"{row.origin.question_id}/{row.origin.skill}"]
        assert set(row.origin.seed_ids) <= {question.id for question in POOL} and len(row.origin.seed_ids) == 3
        assert request.skill == row.origin.skill
        assert row.origin.skill in dict(teacher.chains[row.question].steps)
    skills = [row.origin.skill for row in made.rows]
    assert sum(one != two for one, two in pairwise(skills)) > 30, "mixed, not one question after the other"


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    first, again, other = (_made(_stat_syn(), Counting(wrong=0.3), seed=seed).rows for seed in (0, 0, 1))
    assert first == again != other


def test_with_a_sure_teacher_no_more_is_asked_than_it_takes() -> None:
    """60 pairs are 20 questions with three solutions each, written in ten replies."""
    teacher = Counting()
    made = _made(_stat_syn(), teacher)
    assert (len(teacher.questions_asked), len(teacher.solved), made.dropped) == (10, 60, [])


def test_the_third_solution_is_not_asked_for_where_two_are_wanted() -> None:
    teacher = Counting()
    _made(_stat_syn(answers_per_question=2), teacher)
    assert (len(teacher.questions_asked), len(teacher.solved)) == (15, 60)


@pytest.mark.parametrize("same", [0.1, 1.0])
def test_of_a_teacher_that_is_wrong_three_times_in_ten_as_many_errors_are_left_as_derived(same: float) -> None:
    """Over 1,200 rows; within four standard errors of a share, over about 600 questions that are independent."""
    teacher = Counting(wrong=0.3, same=same)
    made = _made(_stat_syn(pairs=1200), teacher)
    wrong = sum(extract_final(row.answer) != str(teacher.chains[row.question].values()[-1]) for row in made.rows)
    right_kept, wrong_kept = kept_solutions(0.3, same)
    expected = wrong_kept / (right_kept + wrong_kept)
    assert wrong / 1200 == pytest.approx(expected, abs=4 * sqrt(expected * (1 - expected) / 500))
    assert same == 1.0 or wrong <= 0.05 * 1200


# -- what is left out -------------------------------------------------------------------------------------------------


def test_a_question_that_is_held_out_is_left_out_before_its_solutions_are_paid_for() -> None:
    held_out = HeldOut("t7", "the benchmark's", "math")
    seen: list[str] = []

    def check(questions: Sequence[str]) -> list[Hit | None]:
        seen.extend(questions)
        return [Hit("leak", "equal", held_out) if "digit" in question else None for question in questions]

    teacher = Counting()
    made = _made(_stat_syn(pairs=30), teacher, check)
    assert not any("digit" in request.question for request in teacher.solved)
    hits = [row for row in made.dropped if row.reason == "leak, equal"]
    assert len(hits) == sum("digit" in question for question in seen) > 0
    assert {(row.item, row.detail) for row in hits} == {("new question", "math t7: the benchmark's")}
    _add_up(made)


class Repeating(Counting):
    """A teacher whose questions are those that it was shown, or its own first ones again."""

    def __init__(self, shown: bool) -> None:
        super().__init__()
        self.shown, self.own = shown, list[str]()

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        for request, reply in zip(wanted := list(requests), super().new_question(wanted), strict=True):
            self.own = self.own or reply.questions
            for example in request.examples:
                self.chains[example.question] = world.Chain.parse(example.source or "")
            yield NewQuestions([reply.questions[0], request.examples[0].question if self.shown else self.own[0]], [])


@pytest.mark.parametrize("shown", [True, False])
def test_a_copy_of_a_reference_or_of_another_new_question_is_left_out(shown: bool) -> None:
    made = _made(_stat_syn(), Repeating(shown))
    copies = [row for row in made.dropped if row.reason == "near copy of a reference or another new question"]
    assert copies and all(row.detail for row in copies)
    assert not {row.question for row in made.rows} & ({question.question for question in POOL} if shown else set())
    assert max(Counter(row.question for row in made.rows).values()) == 3
    _add_up(made)


class Useless(Counting):
    """A teacher that writes no question, or whose solutions never agree."""

    def __init__(self, writes: bool) -> None:
        super().__init__()
        self.writes = writes

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        for reply in super().new_question(requests):
            yield reply if self.writes else NewQuestions([], ["c"], "refused")

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        for request in requests:
            yield Written(f"The answer is {request.sample}.", [])


@pytest.mark.parametrize(
    ("writes", "reason"), [(True, "fewer than 2 solutions agree"), (False, "no usable reply of the teacher")]
)
def test_a_teacher_that_never_gives_anything_ends_the_asking(writes: bool, reason: str) -> None:
    """After 100 requests in vain, however many the set would take."""
    teacher = Useless(writes)
    with pytest.raises(UserError, match=rf"pairs = 6000: only 0 could be made; most often: {reason}"):
        _made(_stat_syn(pairs=6000), teacher)
    assert len(teacher.questions_asked) == 100


def test_fewer_may_be_allowed() -> None:
    """Two difficult questions have two blocks of nearest ones in a pool of ten, so ten new questions each at most."""
    difficult = [Question(id=id, question="What is 1 plus 1?") for id in ("v1", "v2")]
    source, diagnosed = source_of(POOL[:10]), diagnosed_of({"v1": [], "v2": []}, difficult=difficult)
    recipe = _embed_syn(pairs=500, allow_short=True)
    made = synthesize(source, diagnosed, recipe, tools_of(Counting()), 0)
    assert 0 < len(made.rows) <= 2 * 2 * 5 * 3
    with pytest.raises(UserError, match="pairs = 500: at most 60 can be made"):
        synthesize(source, diagnosed, _embed_syn(pairs=500), tools_of(Counting()), 0)
