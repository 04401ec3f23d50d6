"""Instruct-SkillMix (arXiv 2408.14774): queries that need several skills at once, with answers that were improved.

    skill set -> are they distinct? -> query and answer -> held out? near copy? -> critique -> better answer -> score

Each arrow is one call, or none; what is left out at one is not asked about at the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stat_train.curation.rows import MOST_IN_VAIN, Made, Row, Tally, Tools, still_in_vain, wave_limit
from stat_train.curation.skill_sets import SetDraws, Vocabulary, known_vocabulary, listed_vocabulary
from stat_train.errors import UserError
from stat_train.recipe_settings import SkillMixRecipe
from stat_train.records import Diagnosed, Origin
from stat_train.teacher.contract import Draft, QueryRequest


class _Item(NamedTuple):
    """What is on its way to a pair: its place, what is written so far, the calls behind it."""

    place: int
    draft: Draft
    call_ids: list[str]
    score: int | None = None

    @property
    def id(self) -> str:
        """The id of the query."""
        return self.draft.asked.id


class _Makers(NamedTuple):
    """Who and what decides on the way from a set to a pair."""

    recipe: SkillMixRecipe
    tools: Tools
    tally: Tally


def make_skillmix(recipe: SkillMixRecipe, skills: Sequence[str], diagnosed: Diagnosed, tools: Tools, seed: int) -> Made:
    """Return the recipe's rows, in the order of their places; the same arguments and replies give the same rows.

    `skills` are the names of the task. No wave asks for more sets than pairs are missing, so no call is made that no
    pair needs; the first waves are small, so that a teacher that cannot do this is found out early.
    """
    tally = Tally()
    makers = _Makers(recipe, tools, tally)
    vocabulary = (
        listed_vocabulary(recipe, tools.teacher, tally)
        if recipe.skills == "teacher"
        else known_vocabulary(recipe, skills, diagnosed.profile)
    )
    draws = SetDraws(vocabulary, recipe.skills_per_query, seed)
    found, in_vain = dict[int, _Item](), 0
    while in_vain < MOST_IN_VAIN and (open_ := [n for n in range(recipe.pairs) if n not in found]):
        wave = _drawn(draws, open_[: wave_limit(len(found), in_vain)])
        if not wave:
            break
        made = _made(wave, makers, draws)
        found |= {item.place: item for item in made}
        in_vain = still_in_vain(in_vain, len(wave), len(made))
    _require_enough(len(found), recipe, tally)
    items = [found[place] for place in sorted(found)]
    rows = [_row(item, vocabulary, recipe) for item in items]
    return Made(rows, tally.dropped, tally.counts(), _summary(draws, items))


def first_wave(recipe: SkillMixRecipe, vocabulary: Vocabulary, seed: int) -> list[QueryRequest]:
    """Return what is asked for first, were all of it kept: one query for each pair."""
    draws = SetDraws(vocabulary, recipe.skills_per_query, seed)
    return [asked for _, asked in _drawn(draws, range(recipe.pairs))]


def different_sets(asked: Iterable[QueryRequest]) -> list[tuple[str, ...]]:
    """Return the different sets of skills that are asked for, in the form in which the teacher is shown them."""
    return list(dict.fromkeys(tuple(sorted(each.skills)) for each in asked))


def _drawn(draws: SetDraws, places: Iterable[int]) -> list[tuple[int, QueryRequest]]:
    drawn = []
    for place in places:
        # Where hardly any set is left, another place finds none either.
        if not (asked := draws.draw(place)):
            break
        drawn.append((place, asked))
    return drawn


# -- one wave ---------------------------------------------------------------------------------------------------------


def _made(wave: Sequence[tuple[int, QueryRequest]], makers: _Makers, draws: SetDraws) -> list[_Item]:
    """Return what became of a wave of sets: those that were dropped on the way are missing."""
    _validate([asked for _, asked in wave], makers, draws)
    kept = [(place, asked) for place, asked in wave if frozenset(asked.skills) in draws.distinct]
    items = _usable(_queries(kept, makers, draws), makers)
    makers.tally.see("answer", len(items))
    if makers.recipe.critique:
        items = _improved(items, makers)
    items = _scored(items, makers) if makers.recipe.min_score > 1 else items
    makers.tally.keep("answer", len(items))
    return items


def _validate(asked: Sequence[QueryRequest], makers: _Makers, draws: SetDraws) -> None:
    """Note which sets are distinct, with the calls that say so; each different set is asked about once."""
    new = [each for each in different_sets(asked) if frozenset(each) not in draws.distinct]
    makers.tally.see("skill set", len(new))
    if not makers.recipe.distinct_skills or makers.recipe.skills_per_query == 1:
        draws.distinct |= {frozenset(skills): [] for skills in new}
        makers.tally.keep("skill set", len(new))
        return
    for skills, verdict in zip(new, makers.tools.teacher.distinct(new), strict=True):
        if verdict.distinct:
            draws.distinct[frozenset(skills)] = verdict.call_ids
            makers.tally.keep("skill set")
            continue
        draws.overlapping.add(frozenset(skills))
        reason = "no usable verdict on the skills" if verdict.distinct is None else "the skills overlap"
        makers.tally.drop("skill set", ", ".join(skills), reason, verdict.reason)


def _queries(wave: Sequence[tuple[int, QueryRequest]], makers: _Makers, draws: SetDraws) -> list[_Item]:
    items = []
    makers.tally.see("query", len(wave))
    for (place, asked), reply in zip(wave, makers.tools.teacher.write_queries([each for _, each in wave]), strict=True):
        if reply.draft:
            calls = draws.distinct[frozenset(asked.skills)] + reply.call_ids
            items.append(_Item(place, reply.draft, calls))
        else:
            makers.tally.drop("query", asked.id, "no usable query", reply.error or "")
    return items


def _usable(items: Sequence[_Item], makers: _Makers) -> list[_Item]:
    """Return the items whose query is neither near a held-out question nor a near copy of an earlier one.

    A query whose answer is left out later still counts as an earlier one.
    """
    kept = []
    for item, hit in zip(items, makers.tools.check([item.draft.query for item in items]), strict=True):
        query = item.draft.query
        if hit:
            makers.tally.held_out("query", item.id, hit)
        elif copied := makers.tools.near_copies.find(query):
            makers.tally.drop("query", item.id, "near copy of another query", f"{copied}: {query}")
        else:
            makers.tools.near_copies.add(item.id, query)
            makers.tally.keep("query")
            kept.append(item)
    return kept


def _improved(items: Sequence[_Item], makers: _Makers) -> list[_Item]:
    """Return the items with their better answers."""
    criticised = []
    for item, said in zip(items, makers.tools.teacher.criticise([item.draft for item in items]), strict=True):
        if said.text is None:
            makers.tally.drop("answer", item.id, "no usable critique", said.error or "")
        else:
            criticised.append(_with(item, item.draft._replace(critique=said.text), said.call_ids))
    improved = []
    for item, better in zip(criticised, makers.tools.teacher.improve([item.draft for item in criticised]), strict=True):
        if better.text is None:
            makers.tally.drop("answer", item.id, "no usable better answer", better.error or "")
        else:
            improved.append(_with(item, item.draft._replace(answer=better.text), better.call_ids))
    return improved


def _with(item: _Item, draft: Draft, call_ids: Sequence[str]) -> _Item:
    return item._replace(draft=draft, call_ids=[*item.call_ids, *call_ids])


def _scored(items: Sequence[_Item], makers: _Makers) -> list[_Item]:
    """Return the items whose answer is good enough."""
    kept, least = [], makers.recipe.min_score
    for item, found in zip(items, makers.tools.teacher.score([item.draft for item in items]), strict=True):
        if found.score is None:
            makers.tally.drop("answer", item.id, "no usable score", found.reason)
        elif found.score < least:
            makers.tally.drop("answer", item.id, f"score below {least}", f"{found.score}: {found.reason}")
        else:
            kept.append(_with(item, item.draft, found.call_ids)._replace(score=found.score))
    return kept


# -- what came of it --------------------------------------------------------------------------------------------------


def _require_enough(made: int, recipe: SkillMixRecipe, tally: Tally) -> None:
    """Refuse a training set that came out smaller than asked, unless that was allowed."""
    if made == recipe.pairs or (made and recipe.allow_short):
        return
    reasons = Counter(f"{row.item}: {row.reason}" for row in tally.dropped).most_common(3)
    why = "; ".join(f"{count} x {reason}" for reason, count in reasons) or "no set of skills could be drawn"
    example = f" Such as {tally.dropped[-1].id}: {tally.dropped[-1].detail}." if tally.dropped else ""
    raise UserError(
        f"data_recipe.pairs = {recipe.pairs}: only {made} could be made, and no further set of skills gives one "
        f"({why}).{example} Mend the teacher (its model, or teacher.prompts), lower data_recipe.min_score = "
        f"{recipe.min_score} or data_recipe.pairs, or accept fewer with data_recipe.allow_short=true"
    )


def _row(item: _Item, vocabulary: Vocabulary, recipe: SkillMixRecipe) -> Row:
    """Return an item as a row; its first skill is the one that the set was drawn for, where a profile says so."""
    asked = item.draft.asked
    names = [*asked.skills, asked.query_type or ""]
    listed = [call for name in names for call in vocabulary.call_ids.get(name, ())]
    missing = asked.skills[0] if recipe.skills_from == "profile" else None
    calls = list(dict.fromkeys([*listed, *item.call_ids]))
    return Row(
        item.draft.query, item.draft.answer, list(asked.skills), Origin(skill=missing, seed_ids=[], call_ids=calls)
    )


def _summary(draws: SetDraws, items: Sequence[_Item]) -> dict[str, Any]:
    scores = Counter(item.score for item in items if item.score is not None)
    return {
        "answers": "improved",
        "unique_questions": len({item.draft.query for item in items}),
        "skills": len(draws.vocabulary.weights),
        "distinct_skill_sets": len(draws.distinct),
        "query_types": dict(Counter(item.draft.asked.query_type or "any" for item in items).most_common()),
        "scores": {str(score): scores[score] for score in sorted(scores)},
    }
