"""Which skills queries are to need, and in which sets (Instruct-SkillMix, arXiv 2408.14774)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

from stat_train.curation.rows import Tally
from stat_train.errors import UserError
from stat_train.recipe_settings import SkillMixRecipe
from stat_train.records import SkillProfile
from stat_train.tasks.skill_files import normal
from stat_train.teacher.contract import Listed, ListRequest, QueryRequest, Teacher

# The lists of the paper's authors have 13 and 16 types.
QUERY_TYPES_ASKED = 15
# A set that may be drawn is found in so many tries, or as good as none is left.
MOST_TRIES = 1000


class Vocabulary(NamedTuple):
    """What sets are drawn from: each skill with its weight, and the types of queries; none: any.

    A skill of weight 0 only completes a set that has all those of weight. `call_ids` are the calls that a skill or a
    type was listed in.
    """

    weights: Mapping[str, int]
    query_types: Sequence[str]
    call_ids: Mapping[str, Sequence[str]]


# -- the skills -------------------------------------------------------------------------------------------------------


def known_vocabulary(recipe: SkillMixRecipe, skills: Sequence[str], profile: SkillProfile) -> Vocabulary:
    """Return the task's own skills: each weighs what it is missed (`skills_from=profile`), or all the same.

    Raises UserError when there are too few for a set, or no skill is missing.
    """
    weights = dict.fromkeys(skills, 1)
    if recipe.skills_from == "profile":
        missed = {gap.skill: gap.missing for gap in profile.skills if gap.missing}
        if not missed:
            raise UserError(
                f"data_recipe = skillmix: {profile.difficult} of {profile.questions} validation questions are "
                "difficult for the student and no skill is missing, so there is nothing to mix. Use harder validation "
                "questions, another difficulty, or data_recipe.skills_from=all"
            )
        weights = missed | {skill: 0 for skill in skills if skill not in missed}
    return _large_enough(Vocabulary(weights, recipe.query_types or [], {}), recipe)


def listed_vocabulary(recipe: SkillMixRecipe, teacher: Teacher, tally: Tally) -> Vocabulary:
    """Return skills that the teacher lists, topic by topic, and types of queries where the settings name none.

    A name that was there before is left out, and so is a topic without a usable reply; without topics it is UserError.
    """
    (topics,) = teacher.list_names([ListRequest("topics", recipe.topics)])
    if topics.error:
        raise UserError(
            f"data_recipe.skills = teacher: it lists no topics ({topics.error}). Mend the teacher (its model, or "
            "teacher.prompts), or use data_recipe.skills=map"
        )
    call_ids: dict[str, Sequence[str]] = {}
    for listed in _topic_skills(_new_names("topic", topics, {}, recipe.topics, tally), recipe, teacher, tally):
        for name in _new_names("skill", listed, call_ids, recipe.skills_per_topic, tally):
            tally.keep("skill")
            call_ids[name] = [*topics.call_ids, *listed.call_ids]
    weights = dict.fromkeys(call_ids, 1)
    types = recipe.query_types or _listed_types(teacher, tally, call_ids)
    return _large_enough(Vocabulary(weights, types, call_ids), recipe)


def _topic_skills(topics: Sequence[str], recipe: SkillMixRecipe, teacher: Teacher, tally: Tally) -> Iterator[Listed]:
    requests = [ListRequest("topic_skills", recipe.skills_per_topic, topic) for topic in topics]
    for topic, listed in zip(topics, teacher.list_names(requests), strict=True):
        if listed.error:
            tally.drop("topic", topic, "no skills: no usable reply of the teacher", listed.error)
        else:
            tally.keep("topic")
            yield listed


def _listed_types(teacher: Teacher, tally: Tally, call_ids: dict[str, Sequence[str]]) -> list[str]:
    (listed,) = teacher.list_names([ListRequest("query_types", QUERY_TYPES_ASKED)])
    if listed.error:
        tally.see("query type")
        tally.drop("query type", "all", "no types: no usable reply of the teacher", listed.error)
    types = _new_names("query type", listed, {}, QUERY_TYPES_ASKED, tally)
    for name in types:
        tally.keep("query type")
        call_ids[name] = listed.call_ids
    return types


def _new_names(item: str, listed: Listed, known: Iterable[str], most: int, tally: Tally) -> list[str]:
    """Return the names that are not known, each once, as they are normally written; no more than were asked for."""
    before, new = set(known), list[str]()
    tally.see(item, len(listed.names))
    for name in listed.names:
        spelled = normal(name) if item == "skill" else " ".join(name.split()).casefold()
        reason = "no name" if not spelled else "listed before" if spelled in before else None
        if reason := reason or ("more than asked for" if len(new) == most else None):
            tally.drop(item, name, reason)
            continue
        before.add(spelled)
        new.append(spelled)
    return new


def _large_enough(vocabulary: Vocabulary, recipe: SkillMixRecipe) -> Vocabulary:
    known, needed = list(vocabulary.weights), recipe.skills_per_query
    if len(known) < needed:
        some = f": {', '.join(known)}" if known else ""
        source = "the teacher lists" if recipe.skills == "teacher" else "the task has"
        raise UserError(
            f"data_recipe.skills_per_query = {needed}: {source} only {len(known)} skills{some}. Lower it, or give more "
            "skills (task.skills, or data_recipe.skills=teacher with data_recipe.skills_from=all)"
        )
    return vocabulary


# -- sets of them -----------------------------------------------------------------------------------------------------


class SetDraws:
    """Draws sets of skills for the places of a training set, each place with its type of query.

    Place n has type n modulo their number, so that the types stay even whatever is drawn anew. The first skill of a set
    is drawn by weight, the next by weight among the others, and so on.
    """

    def __init__(self, vocabulary: Vocabulary, size: int, seed: int) -> None:
        self.vocabulary, self.size = vocabulary, size
        self.random = Random(f"{seed}/curate/skillmix")
        # Sets that may be used, each with the calls that say so, and those that are not to be drawn again.
        self.distinct: dict[frozenset[str], list[str]] = {}
        self.overlapping: set[frozenset[str]] = set()
        self.tries: Counter[int] = Counter()
        self.asked: Counter[tuple[tuple[str, ...], str | None]] = Counter()

    def draw(self, place: int) -> QueryRequest | None:
        """Return what to ask for at a place; None when hardly any set is left."""
        skills = self._skills()
        if skills is None:
            return None
        types = self.vocabulary.query_types
        query_type = types[place % len(types)] if types else None
        nth, sample = self.tries[place], self.asked[skills, query_type]
        self.tries[place] += 1
        self.asked[skills, query_type] += 1
        return QueryRequest(f"{place:05d}.{nth}", skills, query_type, sample)

    def _skills(self) -> tuple[str, ...] | None:
        for _ in range(MOST_TRIES):
            drawn = distinct_names(self.random, self.vocabulary.weights, self.size)
            if frozenset(drawn) not in self.overlapping:
                return drawn
        return None


def distinct_names(random: Random, weights: Mapping[str, int], count: int) -> tuple[str, ...]:
    """Return different names, one drawn after the other by weight; when no weight is left, all others are even."""
    left, chosen = dict(weights), list[str]()
    for _ in range(count):
        if not any(left.values()):
            left = dict.fromkeys(left, 1)
        (name,) = random.choices(list(left), list(left.values()))
        chosen.append(name)
        del left[name]
    return tuple(chosen)
