"""Which calls a recipe will make: those that its draws lead to where there is a profile, examples where not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

from stat_train.config import OpenAITeacher
from stat_train.curating import left_out_rows
from stat_train.curation.inputs import read_diagnosed
from stat_train.curation.rewriting import answer_source, draws
from stat_train.curation.source import OWN, Source, fill, make_source, questions_at
from stat_train.curation.synthesis import (
    QUESTIONS_PER_REPLY,
    Seed,
    filter_of,
    requests_for,
    require_reachable,
    seeds_for,
)
from stat_train.models.generator import Request, Sampling
from stat_train.plan.known import Asked, Known
from stat_train.plan.look import Look
from stat_train.plan.skillmix import asked_to_mix
from stat_train.recipe_settings import PoolRecipe, SelectionRecipe, SkillMixRecipe, StatSelRecipe, SynthesisRecipe
from stat_train.records import Diagnosed, Question
from stat_train.tasks.load import open_pool, open_pool_skills
from stat_train.teacher.contract import QuestionRequest, RewriteRequest, SolveRequest
from stat_train.teacher.llm import new_question_request, rewrite_request, solve_request

EXAMPLES = 300


def asked_to_curate(look: Look, teacher: OpenAITeacher, known: Known) -> Iterator[Asked]:
    """Yield the calls of the run's recipe."""
    recipe = look.config.data_recipe
    writing = Sampling(teacher.writing_temperature, teacher.max_new_tokens)
    if isinstance(recipe, SynthesisRecipe):
        yield from _new_questions(look, known, recipe, writing)
    elif isinstance(recipe, SkillMixRecipe):
        yield from asked_to_mix(look, teacher, known, recipe)
    elif answer_source(recipe, look.teacher) != "own":
        yield _rewrites(look, known, recipe, writing)


def judged_note(look: Look) -> str | None:
    """Return what the judge is asked beside grading while the training set is made."""
    recipe = look.config.data_recipe
    if isinstance(recipe, SynthesisRecipe):
        return "curate: the judge is asked whether solutions agree, up to once for each two of them (not counted)"
    if isinstance(recipe, SkillMixRecipe) or answer_source(recipe, look.teacher) == "own":
        return None
    return "curate: the judge is asked of each rewrite that does not end in its answer to the letter"


def _source(look: Look, known: Known) -> tuple[Source, Diagnosed]:
    """Return what the recipe will draw from, and what it will draw for."""
    assert known.skill_map and known.diagnoses and known.profiled and known.overlapping
    left_out = left_out_rows(look, known.overlapping)
    source, _ = make_source(open_pool(known.questions.folder), open_pool_skills(known.skill_map.folder), left_out)
    return source, read_diagnosed(known.questions, known.diagnoses, known.profiled)


def _examples(known: Known) -> list[Question]:
    """Return some of the pool's questions."""
    pool = open_pool(known.questions.folder)
    return questions_at(pool, range(0, len(pool), max(1, len(pool) // EXAMPLES)))


# -- rewrites ---------------------------------------------------------------------------------------------------------


def _rewrites(look: Look, known: Known, recipe: SelectionRecipe, writing: Sampling) -> Asked:
    """Return the rewrites that will be drawn, or the most that there can be while there is no profile."""
    drawn = _drawn(look, known, recipe) if known.profiled else [RewriteRequest(each, 0) for each in _examples(known)]
    requests = [rewrite_request(look.prompts, writing, each) for each in drawn]
    calls = len(requests) if known.profiled else _most_rewrites(look, recipe)
    assumed = () if known.profiled else _draw_assumptions(look, known, recipe, calls)
    anew = "curate: every rewrite can be used; for each that cannot, or ends in another answer, one more is paid"
    rewrites = 0 if isinstance(recipe, PoolRecipe) else recipe.answers_per_question
    different = len(open_pool(known.questions.folder)) * rewrites
    return Asked("curate", "teacher", requests, calls, look.config.plan.rewrite_tokens, (*assumed, anew), different)


def _drawn(look: Look, known: Known, recipe: SelectionRecipe) -> list[RewriteRequest]:
    """Return the rewrites that the recipe draws first; those that replace unusable ones are not known."""
    source, diagnosed = _source(look, known)
    random, left = draws(source, diagnosed, recipe, answer_source(recipe, look.teacher), look.config.seed)
    chosen = dict.fromkeys((d.row, d.answer) for d in fill(left, recipe.pairs, random)[0] if d.answer != OWN)
    questions = questions_at(source.pool, [row for row, _ in chosen])
    return [RewriteRequest(question, answer) for question, (_, answer) in zip(questions, chosen, strict=True)]


def _most_rewrites(look: Look, recipe: SelectionRecipe) -> int:
    """Return how many of the recipe's pairs have a rewrite."""
    if isinstance(recipe, PoolRecipe) or answer_source(recipe, look.teacher) != "both":
        return recipe.pairs
    return round(recipe.pairs * recipe.answers_per_question / (recipe.answers_per_question + 1))


def _draw_assumptions(look: Look, known: Known, recipe: SelectionRecipe, calls: int) -> tuple[str, ...]:
    each = f"curate: each of {calls:,} pairs has a rewrite of its own; one that is drawn twice is paid once"
    if not isinstance(recipe, StatSelRecipe):
        return (each,)
    plan = look.config.plan
    difficult = plan.difficult_share * len(known.questions.records("validation.jsonl", Question))
    pairs_per_skill = recipe.questions_per_skill * recipe.answers_per_question
    once = round(difficult * plan.skills_per_question * pairs_per_skill)
    draws_of_a_pass = (
        f"curate: one pass over the profile draws about {once:,} pairs ({plan.skills_per_question:g} skills a "
        "question, plan.skills_per_question); further passes fill up"
    )
    return each, draws_of_a_pass


# -- new questions ----------------------------------------------------------------------------------------------------


def _new_questions(look: Look, known: Known, recipe: SynthesisRecipe, writing: Sampling) -> Iterator[Asked]:
    """Yield the calls that write new questions, and those that solve them."""
    plan, rule = look.config.plan, filter_of(recipe)
    solutions = round(recipe.pairs / plan.kept_share)
    questions = round(solutions / max(rule.must_agree, rule.kept))
    replies = -(-questions // QUESTIONS_PER_REPLY)
    shown = _seed_requests(look, known, recipe, replies) if known.profiled else _usual_requests(look, known, recipe)
    written = [new_question_request(look.prompts, writing, each).request for each in shown]
    of_share = f"solve: {plan.kept_share:.0%} of the solutions are kept (plan.kept_share), and none was paid for before"
    of_form = f"write: {questions:,} new questions, {QUESTIONS_PER_REPLY} a reply, none of them a copy or a twin"
    yield Asked("write", "teacher", written, replies, plan.question_tokens, (of_form,))
    solved = [SolveRequest(each.id, each.question, 0) for each in _examples(known)]
    asked: list[Request] = [solve_request(look.prompts, writing, each) for each in solved]
    yield Asked("solve", "teacher", asked, solutions, plan.rewrite_tokens, (of_share,))


def _seed_requests(look: Look, known: Known, recipe: SynthesisRecipe, replies: int) -> list[QuestionRequest]:
    """Return the first requests that the recipe makes."""
    source, diagnosed = _source(look, known)
    require_reachable(source, diagnosed, recipe)
    random = Random(f"{look.config.seed}/curate/{recipe.name}")
    seeds: list[Seed] = list(islice(seeds_for(source, diagnosed, recipe, random), replies))
    return requests_for(source, seeds)


def _usual_requests(look: Look, known: Known, recipe: Any) -> list[QuestionRequest]:
    """Return requests after some of the pool's questions, for a skill of theirs."""
    every, count = _examples(known), recipe.references
    parts = [every[start : start + count] for start in range(0, len(every), count)]
    skill = "a_skill_of_the_usual_length" if recipe.name == "stat_syn" else None
    return [QuestionRequest(part[0].id, skill, part, 0) for part in parts]
