"""Which calls Instruct-SkillMix will make: one query for each pair, and what comes after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stat_train.config import OpenAITeacher
from stat_train.curation.inputs import read_profile
from stat_train.curation.skill_sets import QUERY_TYPES_ASKED, Vocabulary, known_vocabulary
from stat_train.curation.skillmix import different_sets, first_wave
from stat_train.models.generator import Request, Sampling
from stat_train.plan.known import CHARACTERS_PER_TOKEN, Asked, Known
from stat_train.plan.look import Look
from stat_train.recipe_settings import SkillMixRecipe
from stat_train.teacher.contract import Draft, ListRequest, QueryRequest
from stat_train.teacher.skill_list import names_for
from stat_train.teacher.skillmix import (
    critique_request,
    distinct_request,
    improve_request,
    list_request,
    query_request,
    score_request,
)

# What comes before an answer in a reply that holds a query too.
QUERY_TOKENS = 100
EXAMPLES = 300


def asked_to_mix(look: Look, teacher: OpenAITeacher, known: Known, recipe: SkillMixRecipe) -> Iterator[Asked]:
    """Yield the calls of each step, as if every query and answer were kept."""
    plan, prompts = look.config.plan, look.prompts
    writing = Sampling(teacher.writing_temperature, teacher.max_new_tokens)
    judging = Sampling(teacher.temperature, teacher.max_new_tokens)
    if recipe.skills == "teacher":
        yield _lists(look, recipe, judging)
    asked = first_wave(recipe, _vocabulary(known, recipe), look.config.seed)
    sets = different_sets(asked) if recipe.distinct_skills and recipe.skills_per_query > 1 else []
    if sets:
        requests = [distinct_request(prompts, judging, skills).request for skills in sets]
        yield _asked("sets", requests, len(sets), plan.label_tokens, f"sets: {len(sets):,} different sets are drawn")
    every = f"mix: each of {len(asked):,} queries and answers is kept; for each that is not, one more is paid"
    queries = [
        query_request(prompts, writing, each).request for each in (asked if known.profiled else asked[:EXAMPLES])
    ]
    yield _asked("mix", queries, len(asked), plan.rewrite_tokens + QUERY_TOKENS, every)
    drafts = [_draft(each, plan.rewrite_tokens) for each in asked[:EXAMPLES]]
    usual = f"answers are taken to be {plan.rewrite_tokens} tokens long (plan.rewrite_tokens)"
    if recipe.critique:
        requests = [critique_request(prompts, judging, each).request for each in drafts]
        yield _asked("criticise", requests, len(asked), plan.diagnosis_tokens, f"criticise: {usual}")
        requests = [improve_request(prompts, writing, each).request for each in drafts]
        yield _asked("improve", requests, len(asked), plan.rewrite_tokens, f"improve: {usual}")
    if recipe.min_score > 1:
        requests = [score_request(prompts, judging, each).request for each in drafts]
        yield _asked("score", requests, len(asked), plan.label_tokens, f"score: {usual}")


def _asked(stage: str, requests: Sequence[Request], calls: int, reply_tokens: int, assumed: str) -> Asked:
    return Asked(stage, "teacher", requests, calls, reply_tokens, (assumed,))


def _vocabulary(known: Known, recipe: SkillMixRecipe) -> Vocabulary:
    """Return the skills that sets are drawn from, evenly while there is no profile or no list."""
    if recipe.skills == "teacher":
        names = [f"a_skill_of_the_usual_length_{n}" for n in range(recipe.topics * recipe.skills_per_topic)]
        return Vocabulary(dict.fromkeys(names, 1), recipe.query_types or ["a usual type"], {})
    names = sorted(set(names_for(known.skills, None))) or [f"a_skill_of_the_usual_length_{n}" for n in range(20)]
    if known.profiled:
        return known_vocabulary(recipe, names, read_profile(known.profiled))
    return Vocabulary(dict.fromkeys(names, 1), recipe.query_types or [], {})


def _lists(look: Look, recipe: SkillMixRecipe, judging: Sampling) -> Asked:
    wanted = [ListRequest("topics", recipe.topics)]
    wanted += [ListRequest("topic_skills", recipe.skills_per_topic, f"a usual topic {n}") for n in range(recipe.topics)]
    wanted += [] if recipe.query_types else [ListRequest("query_types", QUERY_TYPES_ASKED)]
    requests = [list_request(look.prompts, judging, each).request for each in wanted]
    return _asked(
        "list", requests, len(requests), look.config.plan.label_tokens, f"list: {recipe.topics} topics, no two alike"
    )


def _draft(asked: QueryRequest, answer_tokens: int) -> Draft:
    query, answer = ("x" * CHARACTERS_PER_TOKEN * tokens for tokens in (QUERY_TOKENS, answer_tokens))
    return Draft(asked, query, answer)
