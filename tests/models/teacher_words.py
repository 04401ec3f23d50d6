"""What a served model says when it is asked as a teacher: a fixed reply to each prompt, in the form that is asked for.

Choices are made by the hash of the question, so that a reply depends on nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from stat_train.tasks.answers import extract_final

TAG = re.compile(r"<(\w+)-([0-9a-f]{8})>(.*)</\1-\2>")


def teacher_reply(messages: list[dict[str, str]], schema: dict[str, Any] | None) -> str:
    """Return the reply to a teacher's prompt: JSON where a schema came with it, tags where these are asked for."""
    user = messages[min(1, len(messages) - 1)]["content"]
    if schema:
        return json.dumps({name: _json_value(name, part, user) for name, part in schema["properties"].items()})
    asked = messages[-1]["content"].partition("Give your answer in this form")[2]
    if not asked:
        return f"In other words.\n\nThe final answer is: \\boxed{{{_known_answer(user)}}}"
    parts = [(name, code, _tag_value(name, about, user)) for name, code, about in TAG.findall(asked)]
    return "\n".join(f"<{name}-{code}>{value}</{name}-{code}>" for name, code, value in parts)


def skills_of(user: str) -> list[str]:
    """Return the skills that are named for a prompt: two of its list, by the hash of the question."""
    listed = user.split("one a line:\n", 1)[1].split("\n\n")[0].split("\n")
    digest = hashlib.sha256(_question(user).encode()).digest()
    return [listed[digest[0] % len(listed)], listed[digest[1] % len(listed)]]


def _question(user: str) -> str:
    return user.split("<question-", 1)[1].split(">\n", 1)[1].split("\n</question-")[0]


def _known_answer(user: str) -> str:
    """Return the final answer of the solution that a prompt shows: in a box, or as its last word."""
    solution = user.partition("<solution-")[2].partition("\n</solution-")[0]
    return extract_final(solution) or solution.rstrip(".").rpartition(" ")[2] or "0"


def _json_value(name: str, part: dict[str, Any], user: str) -> Any:
    if part["type"] == "array":
        return _lines(name, user)
    return _judgement(user) if "enum" in part else f"the {name}"


def _tag_value(name: str, about: str, user: str) -> str:
    if "one a line" in about:
        return "\n".join(_lines(name, user))
    return _judgement(user) if "correct or incorrect" in about else f"the {name}"


def _judgement(user: str) -> str:
    """Return the verdict: every answer is wrong, but one that says what a reference says in other letters."""
    reference, given = (_between(user, mark).casefold() for mark in ("reference", "student"))
    return "correct" if reference and reference in given else "incorrect"


def _between(user: str, mark: str) -> str:
    return user.partition(f"<{mark}-")[2].partition(">\n")[2].partition(f"\n</{mark}-")[0]


def _lines(name: str, user: str) -> list[str]:
    if name == "groups":
        names = user.split("one a line:\n")[2].split("\n\n")[0].split("\n")
        return [f"group_of_{names[0]}: {', '.join(names)}"]
    if "one a line:" not in user:
        return [f"skill_{hashlib.sha256(_question(user).encode()).digest()[0] % 4}"]
    return skills_of(user)
