"""A served model that knows the true skill of each question, and names skills as people do: in several wordings.

Asked freely it uses one of the skill's wordings, and some times one of another skill's. It groups the wordings of a
skill under a name of its own; with `forgets`, under another one in each call, whatever
groups it is shown, and any of these serves it for the skill later.
Choices are made by the hash of the question and the seed, so that a reply depends on nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

BEFORE, AFTER = ("", "doing_", "how_to_", "using_"), ("", "_problems", "_questions")
WORDINGS = [f"{before}{{}}{after}" for after in AFTER for before in BEFORE]


@dataclass
class Namer:
    """Knows the skills by the questions' texts (`truth`: a JSON file) and has so many wordings for each."""

    truth: str
    wordings: int = 3
    wrong_share: float = 0.1
    forgets: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.skill_of: dict[str, str] = json.loads(Path(self.truth).read_text())
        self.skills = sorted(set(self.skill_of.values()))
        self.meaning = {words.format(skill): skill for skill in self.skills for words in WORDINGS[: self.wordings]}

    def reply(self, messages: list[dict[str, str]]) -> str:
        """Return the reply to a prompt, as JSON."""
        user = messages[1]["content"]
        if "Place every one of these names" in user:
            names = user.split("one a line:\n")[2].split("\n\n")[0].split("\n")
            return json.dumps({"reason": "r", "groups": self.groups(names)})
        question = user.split("<question-", 1)[1].split(">\n", 1)[1].split("\n</question-")[0]
        random = Random(f"{self.seed}/{question}")
        if "Name the skills that a person" in user:
            return json.dumps({"reason": "r", "skills": [self.free_name(self.skill_of[question], random)]})
        listed = user.split("one a line:\n", 1)[1].split("\n\n")[0].split("\n")
        fitting = [name for name in listed if name.startswith(self.topic(self.skill_of[question]))] or listed
        return json.dumps({"reason": "r", "skills": [random.choice(fitting)]})

    def free_name(self, skill: str, random: Random) -> str:
        """Return a wording of the skill, or of another one."""
        if random.random() < self.wrong_share:
            skill = random.choice([other for other in self.skills if other != skill])
        return random.choice(WORDINGS[: self.wordings]).format(skill)

    def groups(self, names: list[str]) -> list[str]:
        """Return the groups of names, one a line."""
        by_skill: dict[str, list[str]] = {}
        for name in names:
            # Groups can be grouped again.
            topics = (skill for skill in self.skills if name.startswith(self.topic(skill)))
            by_skill.setdefault(self.meaning.get(name) or next(topics), []).append(name)
        more = f"_of_{names[0]}" if self.forgets else ""
        return [f"{self.topic(skill)}{more}: {', '.join(found)}" for skill, found in by_skill.items()]

    def topic(self, skill: str) -> str:
        """Return this model's own name for a skill."""
        return f"topic_{self.skills.index(skill):02d}"
