"""The schema of the data recipes; their defaults and meaning are in `data_recipes/`, one file a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stat_train.setting_types import Count, Node, Positive, Share, Text

AnswerSource = Literal["own", "rewrites", "both"]
Solutions = Annotated[int, Field(ge=1, le=64)]


class PoolRecipe(Node):
    """Pairs from the pool as it is, each question with its own solution."""

    name: Literal["pool"]
    pairs: Positive
    allow_short: bool


class AugmentRecipe(Node):
    """Rewrites of the pool's solutions, every question equally likely."""

    name: Literal["augment"]
    pairs: Positive
    answers_per_question: Positive
    allow_short: bool


class UntargetedRecipe(Node):
    """Pairs from the pool, drawn uniformly over questions (`random`) or over skills (`uniform_skill`)."""

    name: Literal["random", "uniform_skill"]
    pairs: Positive
    answers: AnswerSource | None
    answers_per_question: Positive
    allow_short: bool


class HardRecipe(Node):
    """Pairs from the pool's questions of some levels, drawn uniformly."""

    name: Literal["hard"]
    pairs: Positive
    levels: Annotated[list[Count], Field(min_length=1)]
    answers: AnswerSource | None
    answers_per_question: Positive
    allow_short: bool


class StatSelRecipe(Node):
    """Pairs from the pool, drawn for each missing skill of each difficult question."""

    name: Literal["stat_sel"]
    pairs: Positive
    questions_per_skill: Positive
    weight: Literal["count", "rate", "posterior"]
    answers: AnswerSource | None
    answers_per_question: Positive
    allow_short: bool


class EmbedSelRecipe(Node):
    """Pairs from the pool's questions that are nearest to the difficult ones."""

    name: Literal["embed_sel"]
    pairs: Positive
    nearest: Positive
    embedder: Text
    answers: AnswerSource | None
    answers_per_question: Positive
    allow_short: bool


class DifficultyTuningRecipe(Node):
    """Pairs from the pool, with more answers for questions whose skills the student fails more often."""

    name: Literal["difficulty_tuning"]
    pairs: Positive
    answers: AnswerSource | None
    answers_per_question: Annotated[int, Field(ge=2)]
    allow_short: bool


class StatSynRecipe(Node):
    """New questions of the teacher for each missing skill, with solutions that agree."""

    name: Literal["stat_syn"]
    pairs: Positive
    references: Positive
    solutions: Solutions
    must_agree: Solutions
    answers_per_question: Positive
    near_copy_similarity: Share | None
    allow_short: bool


class EmbedSynRecipe(Node):
    """New questions of the teacher after the pool's nearest ones to each difficult question; solutions that agree."""

    name: Literal["embed_syn"]
    pairs: Positive
    nearest: Positive
    embedder: Text
    references: Positive
    questions_per_difficult: Positive
    solutions: Solutions
    must_agree: Solutions
    answers_per_question: Positive
    near_copy_similarity: Share | None
    allow_short: bool


class SkillMixRecipe(Node):
    """Queries of the teacher that need several skills at once, with answers that were criticised and improved."""

    name: Literal["skillmix"]
    pairs: Positive
    skills: Literal["map", "teacher"]
    skills_from: Literal["profile", "all"]
    skills_per_query: Annotated[int, Field(ge=1, le=4)]
    query_types: Annotated[list[Text], Field(min_length=1)] | None
    topics: Positive
    skills_per_topic: Positive
    distinct_skills: bool
    critique: bool
    min_score: Annotated[int, Field(ge=1, le=10)]
    near_copy_similarity: Share | None
    allow_short: bool


SelectionRecipe = (
    PoolRecipe | AugmentRecipe | UntargetedRecipe | HardRecipe | StatSelRecipe | EmbedSelRecipe | DifficultyTuningRecipe
)
SynthesisRecipe = StatSynRecipe | EmbedSynRecipe
DataRecipe = Annotated[SelectionRecipe | SynthesisRecipe | SkillMixRecipe, Field(discriminator="name")]
