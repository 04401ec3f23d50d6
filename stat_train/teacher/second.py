"""Who is asked for a diagnosis a second time, so that it is seen how far teachers agree."""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

from stat_train.config import ArithmeticTeacher, Audit, Config, LabelsTeacher, OpenAITeacher
from stat_train.teacher.skill_list import SkillList, names_for


class Second(NamedTuple):
    """The teacher that is asked again; `role` is the group of settings that says where it is, `words` who it is."""

    settings: ArithmeticTeacher | LabelsTeacher | OpenAITeacher
    role: Literal["teacher", "audit"]
    same_model: bool
    words: str

    def skills(self, known: SkillList) -> SkillList:
        """Return the list it chooses from: the same model is shown it in another order."""
        if not (self.same_model and isinstance(self.settings, OpenAITeacher)):
            return known
        # Subjects without a list of their own share one, which is to be in another order as a whole.
        every = {"": names_for(known, None)} | dict(known)
        seed = self.settings.sampling_seed
        return {subject: Random(f"{seed}/{subject}").sample(names, len(names)) for subject, names in every.items()}


def second_teacher(config: Config) -> Second:
    """Return who is asked again: the model that `audit` names, else the teacher itself, whose calls then are new."""
    audit, teacher = config.audit, config.teacher
    if isinstance(teacher, LabelsTeacher):
        return Second(teacher, "teacher", True, "the same labels")
    if isinstance(teacher, ArithmeticTeacher):
        exact = teacher.model_copy(update={"sampling_seed": teacher.sampling_seed + 1})
        return Second(exact, "teacher", True, "the same teacher, another sampling_seed")
    second = teacher.model_copy(update=_own(audit))
    role: Literal["teacher", "audit"] = "audit" if audit.model or audit.base_url else "teacher"
    if (second.model, second.revision) != (teacher.model, teacher.revision):
        return Second(second, role, False, " ".join(filter(None, (second.model, second.revision))))
    # With the teacher's own seed, a list that has one order only would be answered from the ledger.
    again = second.model_copy(update={"sampling_seed": teacher.sampling_seed + 1})
    return Second(again, role, True, "the same teacher, skill list shuffled")


def _own(audit: Audit) -> dict[str, Any]:
    """Return the settings in which the second teacher differs from the first."""
    own = audit.model_dump(exclude={"sample"}, exclude_none=True)
    if audit.model:
        # What is not known of another model is not what is known of the teacher.
        own |= audit.model_dump(include={"revision", "usd_per_million_input_tokens", "usd_per_million_output_tokens"})
    if audit.base_url:
        # The teacher's key is not for another server.
        own["api_key_env"] = audit.api_key_env
        own["server"] = None
    return own
