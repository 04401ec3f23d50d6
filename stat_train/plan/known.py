"""What is known of a run before it is made, and the calls that it will make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from stat_train.models.generator import Request
from stat_train.store import Artifact
from stat_train.teacher.skill_list import SkillList

CHARACTERS_PER_TOKEN = 4


class Asked(NamedTuple):
    """The calls of one stage: `requests` are those that will be made, or examples, and then `assumed` says for what.

    `different` is how many such calls there are at all, where runs that draw otherwise may draw the same ones.
    """

    stage: str
    role: Literal["teacher", "student", "audit"]
    requests: Sequence[Request]
    calls: int
    reply_tokens: int
    assumed: tuple[str, ...] = ()
    different: int | None = None


class Known(NamedTuple):
    """What is there of a run: its questions, a list of skills (empty when one has to be found), its stages."""

    questions: Artifact
    skills: SkillList
    skill_map: Artifact | None
    answers: Artifact | None
    grades: Artifact | None
    diagnoses: Artifact | None
    profiled: Artifact | None
    overlapping: Artifact | None
