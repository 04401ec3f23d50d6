"""A list of skills for a task that has none: named freely, then grouped (method stage 0; Didolkar et al., 2405.12205).

The third step of that paper, naming each question again with the names of the list, is what labelling does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from stat_train.models.generator import Sampling
from stat_train.records import Dropped, Question
from stat_train.tasks.skill_files import normal
from stat_train.teacher.asking import Asked, Heard, TeacherGenerator, ask
from stat_train.teacher.contract import Discovery
from stat_train.teacher.prompt_files import PromptFile, Prompts, code_of
from stat_train.teacher.reply_form import read_reply

# So many names are grouped in one call: the reply lists each of them once.
NAMES_PER_CALL = 150
# What is left out: a question whose skills were to be named, and a name that was given.
SAMPLED, FOUND = "sampled question", "name that was found"

Groups = dict[str, list[str]]


class Discoverer:
    """Finds the skills of each subject with a model's help."""

    def __init__(self, generator: TeacherGenerator, prompts: Prompts, sampling: Sampling, per_subject: int) -> None:
        self.generator, self.prompts, self.sampling, self.per_subject = generator, prompts, sampling, per_subject

    def discover(self, questions: Iterable[Question]) -> Discovery:
        """Return the skills of the subjects of the questions.

        What no name could be read of, and names that the model puts in no group, are left out with the reason. A
        subject without a group has no list; its questions choose from the lists of the others.
        """
        left_out: list[Dropped] = []
        named = self._named(list(questions), left_out)
        groups = {subject: self._grouped(subject, names, left_out) for subject, names in sorted(named.items())}
        skills = {subject: sorted(found) for subject, found in groups.items() if found}
        return Discovery(skills, groups, left_out)

    def _named(self, questions: Sequence[Question], left_out: list[Dropped]) -> dict[str, list[str]]:
        """Return the names that were given freely, by subject, the commonest first."""
        prompt = self.prompts["name_skills"]
        asked = (naming(prompt, question, self.sampling) for question in questions)
        heard = ask(self.generator, asked, "Naming skills")
        counts: dict[str, Counter[str]] = {}
        for question in questions:
            found = heard[question.id, 0]
            if found.error:
                left_out.append(
                    _left_out(question.id, "no names: no usable reply of the teacher", found.error, SAMPLED)
                )
            names = (name for line in found.value or [] for name in re.split("[,;]", line))
            counts.setdefault(question.subject or "", Counter()).update(set(map(normal, names)))
        return {
            subject: [name for name, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])) if name]
            for subject, found in counts.items()
        }

    def _grouped(self, subject: str, names: Sequence[str], left_out: list[Dropped]) -> Groups:
        """Return the groups of a subject's names; what is grouped later is shown the groups so far."""
        groups: Groups = {}
        for start in range(0, len(names), NAMES_PER_CALL):
            part = names[start : start + NAMES_PER_CALL]
            heard = self._heard(subject, part, groups)
            for group, members in (heard.value or {}).items():
                groups[group] = groups.get(group, []) + members
            placed, why = set(chain.from_iterable(groups.values())), heard.error or "no group named"
            left = (name for name in part if name not in placed)
            left_out += [_left_out(subject, "name in no group", f"{name} ({why})", FOUND) for name in left]
        # A model that is shown the groups so far still makes some of them anew, under another name.
        return self._merged(subject, groups) if len(names) > NAMES_PER_CALL else groups

    def _merged(self, subject: str, groups: Groups) -> Groups:
        """Return the groups after those that mean nearly the same are brought together; one in no group stays."""
        if not 1 < len(groups) <= NAMES_PER_CALL:
            return groups
        found = self._heard(subject, list(groups), {}).value or {}
        alone = {group: [group] for group in groups if group not in set(chain.from_iterable(found.values()))}
        merged: Groups = {}
        for name, parts in [*found.items(), *alone.items()]:
            merged[name] = merged.get(name, []) + [member for part in parts for member in groups[part]]
        return merged

    def _heard(self, subject: str, names: Sequence[str], groups: Groups) -> Heard[Groups]:
        asked = _grouping(self.prompts["group_skills"], subject, names, groups, self.per_subject, self.sampling)
        (heard,) = ask(self.generator, [asked], "Grouping skills").values()
        return heard


def _left_out(id: str, reason: str, detail: str, item: str) -> Dropped:
    return Dropped(stage="label", id=id, reason=reason, detail=detail, item=item)


def naming(prompt: PromptFile, question: Question, sampling: Sampling) -> Asked[list[str]]:
    """Return what is asked to name the skills of a question freely."""
    values = {"question": question.question, "solution": question.solution or "(not known)"}

    def read(text: str) -> list[str] | None:
        reply = read_reply(text, prompt.reply, code_of(values))
        return list(reply["skills"]) if reply else None

    return Asked(prompt.request(question.id, values, sampling), read)


def _grouping(
    prompt: PromptFile, subject: str, names: Sequence[str], groups: Groups, most: int, sampling: Sampling
) -> Asked[Groups]:
    values = {
        "subject": subject or "all questions",
        "most": str(most),
        "groups": "\n".join(groups) or "(none yet)",
        "names": "\n".join(names),
    }

    def read(text: str) -> Groups | None:
        reply = read_reply(text, prompt.reply, code_of(values))
        return read_groups(reply["groups"], names) if reply else None

    return Asked(prompt.request(subject, values, sampling), read)


def read_groups(lines: Iterable[str], names: Sequence[str]) -> Groups | None:
    """Return the groups of lines such as `group: name, name`; None when there are none.

    A name that was not to be placed is passed over, and one that is placed twice stays in the first group.
    """
    groups: Groups = {}
    left = set(names)
    for line in lines:
        group, _, members = line.partition(":")
        placed = [name for name in map(normal, members.split(",")) if name in left]
        if normal(group) and placed:
            left -= set(placed)
            groups[normal(group)] = groups.get(normal(group), []) + list(dict.fromkeys(placed))
    return groups or None
