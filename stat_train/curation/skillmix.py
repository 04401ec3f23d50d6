"""Instruct-SkillMix (arXiv 2408.14774): queries that need several skills at once, with answers that were improved.

    skill set -> are they distinct? -> query and answer -> held out? near copy? -> critique -> better answer -> score

Each arrow is one call, or none; what is left out at one is not asked about at the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from stat_train.curation.skill_sets import SetDraws, Tally, Vocabulary, known_vocabulary, listed_vocabulary
from stat_train.errors import UserError
from stat_train.recipe_settings import SkillMixRecipe
from stat_train.records import Diagnosed, Dropped
from stat_train.teacher.contract import Draft, QueryRequest, Teacher

# When so many sets, one after the other, give nothing, the teacher cannot do what is asked of it.
MOST_SETS_IN_VAIN = 100


class HeldOut(Protocol):
    """A question that must not be trained on."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def question(self) -> str:
        """Its text."""

    @property
    def place(self) -> str:
        """Where it is from."""


class Hit(Protocol):
    """What a text has in common with a held-out question."""

    @property
    def kind(self) -> str:
        """Of which kind it is."""

    @property
    def how(self) -> str:
        """How it was found."""

    @property
    def held_out(self) -> HeldOut:
        """The question."""


class NearCopies(Protocol):
    """The texts that are there, and which of them a new one copies."""

    def find(self, text: str) -> str | None:
        """Return the id of a text that this one is nearly a copy of."""
        ...

    def add(self, id: str, text: str) -> None:
        """Add a text."""
        ...


Check = Callable[[Sequence[str]], Sequence[Hit | None]]


class MixedPair(NamedTuple):
    """A query that needs the skills, and its answer.

    `missing_skill` is the skill that the set was drawn for, where the profile says what is missing; `score` is None
    when answers are not scored; `call_ids` are all calls behind the pair.
    """

    query: str
    answer: str
    skills: list[str]
    missing_skill: str | None
    query_type: str | None
    score: int | None
    call_ids: list[str]


class Count(NamedTuple):
    """How many items of a kind there were, and how many of them were kept; the others are in `dropped`."""

    total: int
    kept: int


class SkillMix(NamedTuple):
    """The pairs in the order of their places, what was left out, what was counted, what there is to say."""

    pairs: list[MixedPair]
    dropped: list[Dropped]
    counts: dict[str, Count]
    summary: dict[str, Any]


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
    teacher: Teacher
    check: Check
    near_copies: NearCopies
    tally: Tally


def make_skillmix(
    recipe: SkillMixRecipe,
    skills: Sequence[str],
    diagnosed: Diagnosed,
    teacher: Teacher,
    check: Check,
    near_copies: NearCopies,
    seed: int,
) -> SkillMix:
    """Return the recipe's pairs; the same arguments and the same replies give the same pairs.

    `skills` are the names of the task. Each wave asks for as many sets as pairs are missing, so no call is made that no
    pair needs; the first waves are small, so that a teacher that cannot do this is found out early.
    """
    tally = Tally()
    makers = _Makers(recipe, teacher, check, near_copies, tally)
    vocabulary = (
        listed_vocabulary(recipe, teacher, tally)
        if recipe.skills == "teacher"
        else known_vocabulary(recipe, skills, diagnosed.profile)
    )
    draws = SetDraws(vocabulary, recipe.skills_per_query, seed)
    found, in_vain = dict[int, _Item](), 0
    while in_vain < MOST_SETS_IN_VAIN and (open_ := [n for n in range(recipe.pairs) if n not in found]):
        wave = _drawn(draws, open_ if found else open_[: MOST_SETS_IN_VAIN - in_vain])
        if not wave:
            break
        made = _made(wave, makers, draws)
        found |= {item.place: item for item in made}
        in_vain = 0 if made else in_vain + len(wave)
    _require_enough(len(found), recipe, tally)
    pairs = [_pair(found[place], vocabulary, recipe) for place in sorted(found)]
    return SkillMix(pairs, tally.dropped, _counts(tally), _summary(recipe, draws, pairs))


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
    if makers.recipe.critique:
        items = _improved(items, makers)
    items = _scored(items, makers) if makers.recipe.min_score > 1 else items
    makers.tally.keep("answer", len(items))
    return items


def _validate(asked: Sequence[QueryRequest], makers: _Makers, draws: SetDraws) -> None:
    """Note which sets are distinct, with the calls that say so; each different set is asked about once."""
    new = [each for each in different_sets(asked) if frozenset(each) not in draws.distinct]
    if not makers.recipe.distinct_skills or makers.recipe.skills_per_query == 1:
        draws.distinct |= {frozenset(skills): [] for skills in new}
        makers.tally.keep("skill set", len(new))
        return
    for skills, verdict in zip(new, makers.teacher.distinct(new), strict=True):
        if verdict.distinct:
            draws.distinct[frozenset(skills)] = verdict.call_ids
            makers.tally.keep("skill set")
            continue
        draws.overlapping.add(frozenset(skills))
        reason = "no usable verdict on the skills" if verdict.distinct is None else "the skills overlap"
        makers.tally.drop("skill set", ", ".join(skills), reason, verdict.reason)


def _queries(wave: Sequence[tuple[int, QueryRequest]], makers: _Makers, draws: SetDraws) -> list[_Item]:
    items = []
    for (place, asked), reply in zip(wave, makers.teacher.write_queries([each for _, each in wave]), strict=True):
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
    for item, hit in zip(items, makers.check([item.draft.query for item in items]), strict=True):
        query = item.draft.query
        if hit:
            told = f"{hit.held_out.place} {hit.held_out.id} ({hit.how}): {hit.held_out.question}"
            makers.tally.drop("query", item.id, f"held-out question: {hit.kind}", told)
        elif copied := makers.near_copies.find(query):
            makers.tally.drop("query", item.id, "near copy of another query", f"{copied}: {query}")
        else:
            makers.near_copies.add(item.id, query)
            makers.tally.keep("query")
            kept.append(item)
    return kept


def _improved(items: Sequence[_Item], makers: _Makers) -> list[_Item]:
    """Return the items with their better answers."""
    criticised = []
    for item, said in zip(items, makers.teacher.criticise([item.draft for item in items]), strict=True):
        if said.text is None:
            makers.tally.drop("answer", item.id, "no usable critique", said.error or "")
        else:
            criticised.append(_with(item, item.draft._replace(critique=said.text), said.call_ids))
    improved = []
    for item, better in zip(criticised, makers.teacher.improve([item.draft for item in criticised]), strict=True):
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
    for item, found in zip(items, makers.teacher.score([item.draft for item in items]), strict=True):
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


def _pair(item: _Item, vocabulary: Vocabulary, recipe: SkillMixRecipe) -> MixedPair:
    asked = item.draft.asked
    names = [*asked.skills, asked.query_type or ""]
    listed = [call for name in names for call in vocabulary.call_ids.get(name, ())]
    return MixedPair(
        query=item.draft.query,
        answer=item.draft.answer,
        skills=list(asked.skills),
        missing_skill=asked.skills[0] if recipe.skills_from == "profile" else None,
        query_type=asked.query_type,
        score=item.score,
        call_ids=list(dict.fromkeys([*listed, *item.call_ids])),
    )


def _counts(tally: Tally) -> dict[str, Count]:
    dropped = Counter(row.item for row in tally.dropped)
    return {item: Count(tally.kept[item] + dropped[item], tally.kept[item]) for item in sorted({*tally.kept, *dropped})}


def _summary(recipe: SkillMixRecipe, draws: SetDraws, pairs: Sequence[MixedPair]) -> dict[str, Any]:
    drawn_for = Counter(pair.missing_skill for pair in pairs if pair.missing_skill)
    carried = Counter(skill for pair in pairs for skill in pair.skills)
    scores = Counter(pair.score for pair in pairs if pair.score is not None)
    return {
        "recipe": recipe.name,
        "pairs": len(pairs),
        "skills": len(draws.vocabulary.weights),
        "distinct_skill_sets": len(draws.distinct),
        "query_types": dict(Counter(pair.query_type or "any" for pair in pairs).most_common()),
        "scores": {str(score): scores[score] for score in sorted(scores)},
        "pairs_drawn_for_skill": dict(drawn_for.most_common()),
        "pairs_carrying_skill": dict(carried.most_common()),
    }
