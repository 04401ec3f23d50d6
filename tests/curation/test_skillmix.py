"""Instruct-SkillMix: which sets are drawn, what is asked and what no longer is, what is left out and counted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import comb
from random import Random
from typing import Any

import pytest
import yaml
from pools import tools_of
from scipy.stats import chisquare

from stat_train.compose import config_dir
from stat_train.config import ArithmeticTeacher, OpenAITeacher
from stat_train.curation.decontamination import HeldOut, Hit
from stat_train.curation.rows import MOST_IN_VAIN, Made
from stat_train.curation.skill_sets import known_vocabulary
from stat_train.curation.skillmix import different_sets, first_wave, make_skillmix
from stat_train.errors import UserError
from stat_train.models.generator import Completion, Request
from stat_train.models.scripted import ScriptedGenerator
from stat_train.recipe_settings import SkillMixRecipe
from stat_train.records import Diagnosed, SkillGap, SkillProfile
from stat_train.tasks.answers import extract_final
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.teacher.arithmetic import ExactTeacher
from stat_train.teacher.contract import (
    Distinct,
    Draft,
    Listed,
    ListRequest,
    Query,
    QueryRequest,
    Score,
    Teacher,
    Written,
)
from stat_train.teacher.labels import LabelReader
from stat_train.teacher.llm import LanguageModelTeacher
from stat_train.teacher.prompt_files import read_prompts

SKILLS = ["a", "b", "c", "d", "e", "f"]


class _Teacher(LabelReader):
    """A teacher that gives nothing, or too little, in a share of what it is asked; it keeps what that was.

    What it does with a request depends on the request alone.
    """

    can_write = True

    def __init__(self, overlapping: Iterable[frozenset[str]] = (), **shares: float) -> None:
        self.overlapping, self.shares = set(overlapping), shares
        self.sets: list[tuple[str, ...]] = []
        self.queries: list[list[QueryRequest]] = []
        self.asked: dict[str, list[Draft]] = {"critique": [], "improve": [], "score": []}

    def _fails(self, kind: str, asked: QueryRequest) -> bool:
        named = f"{kind}/{asked.skills}/{asked.query_type}/{asked.sample}"
        return Random(named).random() < self.shares.get(kind, 0)

    def distinct(self, sets: Iterable[tuple[str, ...]]) -> Iterator[Distinct]:
        for skills in sets:
            self.sets.append(skills)
            overlap = frozenset(skills) in self.overlapping
            yield Distinct(not overlap, "one is a case of the other" if overlap else "", [f"set {'+'.join(skills)}"])

    def write_queries(self, requests: Iterable[QueryRequest]) -> Iterator[Query]:
        self.queries.append(list(requests))
        for asked in self.queries[-1]:
            text = "the same" if self._fails("copy", asked) else f"{asked.skills} {asked.query_type} {asked.sample}"
            if self._fails("query", asked):
                yield Query(None, [], "refused")
            else:
                yield Query(Draft(asked, text, "first"), [f"query {asked.id}"])

    def criticise(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        for draft in drafts:
            self.asked["critique"].append(draft)
            fails = self._fails("critique", draft.asked)
            yield Written(None if fails else "vague", [f"critique {draft.asked.id}"], "cut off" if fails else None)

    def improve(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        for draft in drafts:
            self.asked["improve"].append(draft)
            fails = self._fails("improve", draft.asked)
            yield Written(None if fails else "better", [f"improve {draft.asked.id}"], "cut off" if fails else None)

    def score(self, drafts: Iterable[Draft]) -> Iterator[Score]:
        for draft in drafts:
            self.asked["score"].append(draft)
            value = 3 if self._fails("shirk", draft.asked) else 8
            yield Score(None if self._fails("score", draft.asked) else value, "so it is", [f"score {draft.asked.id}"])


def _recipe(**settings: Any) -> SkillMixRecipe:
    shipped: dict[str, Any] = yaml.safe_load((config_dir().parent / "data_recipes" / "skillmix.yaml").read_text())
    return SkillMixRecipe.model_validate(shipped | {"pairs": 60, "skills_from": "all"} | settings)


def _diagnosed(missing: Mapping[str, int] | None = None) -> Diagnosed:
    gaps = [_gap(skill, count) for skill, count in (missing or {}).items()]
    profile = SkillProfile(student="s", task="t", questions=9, difficult=4, skills=gaps, subjects=[], together=[])
    return Diagnosed(difficult=[], diagnoses=[], profile=profile)


def _gap(skill: str, missing: int) -> SkillGap:
    rates = dict.fromkeys(["rate", "low", "high", "posterior_mean", "posterior_low", "posterior_high"], 0.5)
    return SkillGap(skill=skill, missing=missing, exposed=2 * missing + 1, too_few=False, **rates)


def _make(teacher: Teacher, recipe: SkillMixRecipe, missing: Mapping[str, int] | None = None, seed: int = 0) -> Made:
    return make_skillmix(recipe, SKILLS, _diagnosed(missing), tools_of(teacher), seed)


def _dropped(made: Made) -> Counter[tuple[str, str]]:
    return Counter((row.item, row.reason) for row in made.dropped)


def _require_that_counts_add_up(made: Made) -> None:
    dropped = Counter(row.item for row in made.dropped)
    assert {item: count.total - count.kept for item, count in made.counts.items()} == {
        item: dropped[item] for item in made.counts
    }
    assert set(dropped) <= set(made.counts)


# -- which sets are drawn ---------------------------------------------------------------------------------------------


def test_every_set_of_skills_is_equally_likely() -> None:
    made = _make(_Teacher(), _recipe(pairs=3000))
    drawn = Counter(frozenset(pair.skills) for pair in made.rows)
    assert set(drawn) == {frozenset(pair) for pair in combinations(SKILLS, 2)}
    assert chisquare(list(drawn.values())).pvalue > 0.01
    assert {pair.origin.skill for pair in made.rows} == {None}


def test_sets_follow_the_profile() -> None:
    """The first skill is drawn by its weight w of W, the second by weight among the others.

    So p(i, j) = w_i w_j (1 / (W - w_i) + 1 / (W - w_j)) / W, in whichever order, and the first, for which the pair
    is drawn, is in proportion to what is missed.
    """
    weights = {"a": 5, "c": 3, "f": 2}
    made = _make(_Teacher(), _recipe(pairs=3000, skills_from="profile"), weights | {"b": 0})
    drawn = Counter(frozenset(pair.skills) for pair in made.rows)
    whole = sum(weights.values())
    expected = {
        frozenset(pair): 3000 * weights[i] * weights[j] * (1 / (whole - weights[i]) + 1 / (whole - weights[j])) / whole
        for pair in combinations(weights, 2)
        for i, j in [pair]
    }
    assert sum(expected.values()) == pytest.approx(3000)
    assert chisquare([drawn[each] for each in expected], list(expected.values())).pvalue > 0.01
    drawn_for = Counter(pair.origin.skill for pair in made.rows)
    counts, due = [drawn_for[skill] for skill in weights], [300 * weight for weight in weights.values()]
    assert chisquare(counts, due).pvalue > 0.01
    # Skills as likely as each other do not look like this.
    assert chisquare(counts).pvalue < 1e-9


def test_when_fewer_skills_are_missing_than_a_set_has_others_complete_it() -> None:
    made = _make(_Teacher(), _recipe(skills_from="profile", pairs=500), {"c": 7})
    assert {(pair.origin.skill, pair.skills[0]) for pair in made.rows} == {("c", "c")}
    second = Counter(pair.skills[1] for pair in made.rows)
    assert set(second) == set(SKILLS) - {"c"}
    assert chisquare(list(second.values())).pvalue > 0.01


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_set_has_distinct_skills(size: int) -> None:
    teacher = _Teacher()
    made = _make(teacher, _recipe(skills_per_query=size))
    assert {len(set(pair.skills)) for pair in made.rows} == {size}
    # One skill differs from nothing: nobody is asked.
    assert bool(teacher.sets) == (size > 1)


def test_query_types_stay_even_whatever_is_left_out() -> None:
    types = ["advice", "fiction", "facts"]
    made = _make(_Teacher(shirk=0.5, query=0.2), _recipe(pairs=200, query_types=types))
    assert sorted(made.summary["query_types"].values()) == [66, 67, 67]
    assert [pair.question.split()[-2] for pair in made.rows[:4]] == ["advice", "fiction", "facts", "advice"]


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_every_wave_asks_for_as_many_as_are_missing() -> None:
    teacher = _Teacher(shirk=0.3, query=0.1, critique=0.05)
    made = _make(teacher, _recipe(pairs=400, distinct_skills=False))
    used, missing = {pair.origin.call_ids[0] for pair in made.rows}, 400
    for number, wave in enumerate(teacher.queries):
        # Before anything is known of the teacher, a wave is as large as what may be in vain.
        assert len(wave) == (missing if number else MOST_IN_VAIN)
        missing -= sum(f"query {each.id}" in used for each in wave)
    assert missing == 0 and len(teacher.queries) > 3 and len(made.rows) == len(used) == 400


def test_what_is_left_out_at_one_step_is_not_asked_about_at_the_next() -> None:
    teacher = _Teacher(shirk=0.2, query=0.1, copy=0.1, critique=0.1, improve=0.1, score=0.1)
    made = _make(teacher, _recipe(pairs=200))
    asked = sum(map(len, teacher.queries))
    dropped = _dropped(made)
    queries = asked - dropped["query", "no usable query"] - dropped["query", "near copy of another query"]
    improved = queries - dropped["answer", "no usable critique"]
    scored = improved - dropped["answer", "no usable better answer"]
    assert [len(teacher.asked[kind]) for kind in ("critique", "improve", "score")] == [queries, improved, scored]
    assert scored - dropped["answer", "no usable score"] - dropped["answer", "score below 6"] == 200 == len(made.rows)
    assert all(dropped.values()) and len(dropped) == 6
    assert {item: tuple(count) for item, count in made.counts.items()} == {
        "skill set": (len(teacher.sets), len(teacher.sets)),
        "query": (asked, queries),
        "answer": (queries, 200),
    }
    _require_that_counts_add_up(made)


def test_shirkers_do_not_get_in() -> None:
    """A fifth of the answers scores 3: 250 are asked for to keep 200, with a standard deviation of 7."""
    teacher = _Teacher(shirk=0.2)
    made = _make(teacher, _recipe(pairs=200))
    assert made.summary["scores"] == {"8": 200}
    assert {pair.answer for pair in made.rows} == {"better"}
    shirkers = [row for row in made.dropped if row.reason == "score below 6"]
    assert 22 <= len(shirkers) <= 78
    assert {(row.stage, row.item, row.detail) for row in shirkers} == {("curate", "answer", "3: so it is")}
    # Everything is good enough at 3.
    assert _make(_Teacher(shirk=0.2), _recipe(pairs=200, min_score=3)).dropped == []


def test_without_critique_and_scores_only_queries_are_asked_for() -> None:
    teacher = _Teacher(shirk=1.0)
    made = _make(teacher, _recipe(critique=False, min_score=1, distinct_skills=False))
    assert teacher.sets == [] and teacher.asked == {"critique": [], "improve": [], "score": []}
    assert {(pair.answer, len(pair.origin.call_ids)) for pair in made.rows} == {("first", 1)}
    assert made.summary["scores"] == {}


def test_a_pair_names_all_calls_behind_it() -> None:
    made = _make(_Teacher(), _recipe(pairs=5))
    for number, pair in enumerate(made.rows):
        id, shown = f"{number:05d}.0", "+".join(sorted(pair.skills))
        assert pair.origin.call_ids == [
            f"set {shown}",
            *(f"{kind} {id}" for kind in ("query", "critique", "improve", "score")),
        ]


def test_a_set_is_asked_about_once_and_one_that_overlaps_is_not_drawn_again() -> None:
    overlapping = [frozenset("ab"), frozenset("cd"), frozenset("ef")]
    teacher = _Teacher(overlapping)
    made = _make(teacher, _recipe(pairs=300))
    assert len(teacher.sets) == len(set(map(frozenset, teacher.sets))) == comb(6, 2)
    assert all(list(skills) == sorted(skills) for skills in teacher.sets)
    assert not {frozenset(pair.skills) for pair in made.rows} & set(overlapping)
    assert not {frozenset(each.skills) for wave in teacher.queries for each in wave} & set(overlapping)
    told = {(row.item, row.id, row.reason, row.detail) for row in made.dropped}
    reason = ("the skills overlap", "one is a case of the other")
    assert told == {("skill set", id, *reason) for id in ("a, b", "c, d", "e, f")}
    assert made.counts["skill set"] == (15, 12)
    _require_that_counts_add_up(made)


def test_the_same_set_and_type_is_asked_for_as_another_sample() -> None:
    teacher = _Teacher(query=0.3)
    _make(teacher, _recipe(pairs=100))
    asked = [(each.skills, each.query_type, each.sample) for wave in teacher.queries for each in wave]
    assert len(set(asked)) == len(asked)
    ids = [each.id for wave in teacher.queries for each in wave]
    assert len(set(ids)) == len(ids)


# -- held out, near copies --------------------------------------------------------------------------------------------


def test_a_query_that_is_held_out_is_dropped_before_more_is_paid_for_it() -> None:
    """The check finds every query that needs skill a."""
    teacher, seen = _Teacher(), list[str]()
    held_out = HeldOut("q7", "What is it?", "validation")

    def check(texts: Sequence[str]) -> list[Hit | None]:
        seen.extend(texts)
        return [Hit("leak", "contained", held_out) if "'a'" in text else None for text in texts]

    made = make_skillmix(_recipe(pairs=50), SKILLS, _diagnosed(), tools_of(teacher, check), 0)
    assert len(made.rows) == 50 and not any("a" in pair.skills for pair in made.rows)
    assert not any("a" in draft.asked.skills for drafts in teacher.asked.values() for draft in drafts)
    assert len(seen) == sum(map(len, teacher.queries))
    rows = [row for row in made.dropped if row.item == "query"]
    assert len(rows) == sum("'a'" in text for text in seen) > 0
    assert {(row.stage, row.reason, row.detail) for row in rows} == {
        ("curate", "leak, contained", "validation q7: What is it?")
    }
    _require_that_counts_add_up(made)


def test_near_copies_are_dropped_with_what_they_copy() -> None:
    teacher = _Teacher(copy=0.2)
    made = _make(teacher, _recipe(pairs=100))
    assert sum("the same" in pair.question for pair in made.rows) == 1
    rows = [row for row in made.dropped if row.reason == "near copy of another query"]
    (copied,) = {row.detail.split(":")[0] for row in rows}
    assert copied in {each.id for each in teacher.queries[0]} and len(rows) > 5
    assert [draft.asked.id for draft in teacher.asked["critique"] if "the same" in draft.query] == [copied]


# -- the same bytes ---------------------------------------------------------------------------------------------------


class _Shuffled(ScriptedGenerator):
    """Replies in any order."""

    def __init__(self, order: int) -> None:
        super().__init__(_reply)
        self.order = Random(order)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        replies = list(super().generate(requests))
        self.order.shuffle(replies)
        yield from replies


def _reply(request: Request) -> str:
    """Return a reply that depends on what is sent alone: some skills overlap, some answers are poor, some copied."""
    assert request.schema
    sent = json.dumps([request.messages, request.sample])
    number = int(hashlib.sha256(sent.encode()).hexdigest(), 16)
    parts = {
        "judgement": "overlapping" if number % 7 == 0 else "distinct",
        "score": str(1 + number % 10),
        "query": f"query {number % 300}",
    }
    return json.dumps({name: parts.get(name, f"{name} {number}") for name in request.schema["properties"]})


def _model(order: int) -> LanguageModelTeacher:
    shipped: dict[str, Any] = yaml.safe_load((config_dir() / "teacher" / "openai.yaml").read_text())
    generator = _Shuffled(order)
    return LanguageModelTeacher(OpenAITeacher(**shipped | {"model": "m"}), read_prompts(None), lambda: generator)


def test_the_order_of_the_replies_does_not_matter_and_the_seed_does() -> None:
    recipe = _recipe(pairs=120, query_types=["advice", "facts"])
    first, second = (_make(_model(order), recipe) for order in (0, 1))
    assert first == second
    assert {row.item for row in first.dropped} == {"skill set", "query", "answer"}
    assert _make(_model(0), recipe, seed=1).rows != first.rows


def test_the_plan_names_what_is_asked_first() -> None:
    recipe, teacher = _recipe(pairs=80, query_types=["advice", "facts"]), _Teacher()
    planned = first_wave(recipe, known_vocabulary(recipe, SKILLS, _diagnosed().profile), 5)
    _make(teacher, recipe, seed=5)
    assert teacher.queries == [planned]
    assert teacher.sets == different_sets(planned)


# -- skills that the teacher lists ------------------------------------------------------------------------------------


class _Lister(_Teacher):
    """Lists two topics, one of them twice, and skills, of which one is in both; `broken` is what it cannot list."""

    lists = {
        "topics/": ["Cooking", "law ", "cooking"],
        "topic_skills/cooking": ["Tasting", "cutting onions", "tasting"],
        "topic_skills/law": ["weighing_evidence", "Cutting Onions"],
        "query_types/": ["Advice", "fiction"],
    }

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.broken, self.listed = broken, list[ListRequest]()

    def list_names(self, requests: Iterable[ListRequest]) -> Iterator[Listed]:
        for asked in requests:
            self.listed.append(asked)
            name = f"{asked.what}/{asked.topic}"
            error = "cut off" if name in self.broken else None
            yield Listed([] if error else self.lists[name], [f"list {name}"], error)


def test_skills_that_the_teacher_lists() -> None:
    teacher = _Lister()
    made = _make(teacher, _recipe(skills="teacher", topics=3, skills_per_topic=4, pairs=40))
    assert [tuple(asked)[:2] for asked in teacher.listed] == [
        ("topics", 3),
        ("topic_skills", 4),
        ("topic_skills", 4),
        ("query_types", 15),
    ]
    assert {skill for pair in made.rows for skill in pair.skills} == {"tasting", "cutting_onions", "weighing_evidence"}
    assert made.summary["query_types"] == {"advice": 20, "fiction": 20}
    told = {(row.item, row.id, row.reason) for row in made.dropped}
    assert told == {(item, id, "listed before") for item, id in [("topic", "cooking"), ("skill", "tasting")]} | {
        ("skill", "Cutting Onions", "listed before")
    }
    assert {item: tuple(made.counts[item]) for item in ("topic", "skill", "query type")} == {
        "topic": (3, 2),
        "skill": (5, 3),
        "query type": (2, 2),
    }
    _require_that_counts_add_up(made)
    with_law = next(pair for pair in made.rows if pair.skills == ["weighing_evidence", "tasting"])
    listed = ["topics/", "topic_skills/law", "topic_skills/cooking", "query_types/"]
    assert with_law.origin.call_ids[:4] == [f"list {name}" for name in listed]


def test_lists_that_cannot_be_read_are_left_out_and_counted() -> None:
    made = _make(_Lister("topic_skills/law", "query_types/"), _recipe(skills="teacher", pairs=20))
    assert {skill for pair in made.rows for skill in pair.skills} == {"tasting", "cutting_onions"}
    assert set(made.summary["query_types"]) == {"any"}
    told = {(row.item, row.id, row.detail) for row in made.dropped if "no usable reply" in row.reason}
    assert told == {("topic", "law", "cut off"), ("query type", "all", "cut off")}
    _require_that_counts_add_up(made)


def test_types_of_the_settings_are_not_asked_for() -> None:
    teacher = _Lister()
    made = _make(teacher, _recipe(skills="teacher", query_types=["puzzle"], pairs=10))
    assert "query_types" not in {asked.what for asked in teacher.listed}
    assert set(made.summary["query_types"]) == {"puzzle"}


def test_a_teacher_that_lists_no_topics_is_refused() -> None:
    with pytest.raises(UserError, match=r"data_recipe.skills = teacher: it lists no topics \(cut off\)"):
        _make(_Lister("topics/"), _recipe(skills="teacher"))


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_profile_without_a_missing_skill_is_refused() -> None:
    with pytest.raises(UserError, match=r"4 of 9 validation questions are difficult .* data_recipe.skills_from=all"):
        _make(_Teacher(), _recipe(skills_from="profile"), {"a": 0})


def test_too_few_skills_are_refused() -> None:
    said = r"data_recipe.skills_per_query = 3: the task has only 2 skills: a, b\. Lower it"
    with pytest.raises(UserError, match=said):
        make_skillmix(_recipe(skills_per_query=3), ["a", "b"], _diagnosed(), tools_of(_Teacher()), 0)


@pytest.mark.parametrize("short", [False, True])
def test_a_teacher_that_never_gives_anything_ends_it(short: bool) -> None:
    teacher = _Teacher(shirk=1.0)
    with pytest.raises(UserError) as refused:
        _make(teacher, _recipe(pairs=5000, allow_short=short))
    assert sum(map(len, teacher.queries)) == MOST_IN_VAIN
    said = str(refused.value)
    assert "data_recipe.pairs = 5000: only 0 could be made" in said and "100 x answer: score below 6" in said
    assert "3: so it is" in said and "data_recipe.min_score = 6" in said and "allow_short=true" in said


def test_fewer_pairs_are_taken_when_that_is_allowed() -> None:
    """A query type of two is always refused: its places stay empty, after so many sets in vain."""

    class Half(_Teacher):
        def _fails(self, kind: str, asked: QueryRequest) -> bool:
            return kind == "query" and asked.query_type == "fiction"

    recipe = _recipe(pairs=60, query_types=["facts", "fiction"], distinct_skills=False)
    with pytest.raises(UserError, match=r"data_recipe.pairs = 60: only 30 could be made"):
        _make(Half(), recipe)
    teacher = Half()
    made = _make(teacher, recipe.model_copy(update={"allow_short": True}))
    assert len(made.rows) == 30
    assert [len(wave) for wave in teacher.queries] == [60, 30, 30, 30, 30]
    _require_that_counts_add_up(made)


def test_when_every_set_overlaps_nothing_is_drawn_any_more() -> None:
    """There are 15 sets: after the first wave none is left to draw, and no query was asked for."""
    teacher = _Teacher(frozenset(pair) for pair in combinations(SKILLS, 2))
    with pytest.raises(UserError, match="15 x skill set: the skills overlap"):
        _make(teacher, _recipe(pairs=90))
    assert len(teacher.sets) == 15 and sum(map(len, teacher.queries)) == 0


# -- without a model --------------------------------------------------------------------------------------------------


def test_the_exact_teacher_makes_pairs_of_the_embedded_task() -> None:
    settings = {"error_rate": 0.0, "wrong_solution_rate": 0.0, "same_error_rate": 0.0, "sampling_seed": 0}
    teacher = ExactTeacher(ArithmeticTeacher.model_validate({"name": "arithmetic"} | settings))
    diagnosed = _diagnosed({"division": 3, "percentage": 1})
    recipe = _recipe(pairs=40, skills_from="profile")
    made = make_skillmix(recipe, SKILL_NAMES, diagnosed, tools_of(teacher), 0)
    assert len(made.rows) == 40 and made.dropped == []
    for pair in made.rows:
        chain = teacher.chains[pair.question]
        assert set(pair.skills) == {"division", "percentage"} <= {name for name, _ in chain.steps}
        assert extract_final(pair.answer) == str(chain.values()[-1])
