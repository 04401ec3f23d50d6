"""What a served model says when it is asked as a teacher: a fixed reply to each prompt, in the form that is asked for.

Choices are made by the hash of the question, so that a reply depends on nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from random import Random
from typing import Any

from stat_train.tasks.answers import extract_final

TAG = re.compile(r"<(\w+)-([0-9a-f]{8})>(.*)</\1-\2>")
CHOICE = re.compile(r": \w+( or \w+)+$")
FORM = "Give your answer in this form"


def teacher_reply(messages: list[dict[str, str]], schema: dict[str, Any] | None, errs: float = 0.0) -> str:
    """Return the reply to a teacher's prompt: JSON where a schema came with it, tags where these are asked for.

    In a share `errs` of the prompts, other skills are named than usual.
    """
    user = messages[min(1, len(messages) - 1)]["content"]
    if schema:
        return json.dumps({name: _json_value(name, part, user, errs) for name, part in schema["properties"].items()})
    user, asked = user.partition(FORM)[0].rstrip(), messages[-1]["content"].partition(FORM)[2]
    if not asked:
        return f"In other words.\n\nThe final answer is: \\boxed{{{_known_answer(user)}}}"
    parts = [(name, code, _tag_value(name, about, user, errs)) for name, code, about in TAG.findall(asked)]
    return "\n".join(f"<{name}-{code}>{value}</{name}-{code}>" for name, code, value in parts)


def skills_of(user: str, errs: float = 0.0) -> list[str]:
    """Return the skills that are named for a prompt: two of its list in any order, by the hash of the question.

    Whether these or others are named, with a chance of `errs`, is by the hash of the whole prompt.
    """
    listed = sorted(user.split("one a line:\n", 1)[1].split("\n\n")[0].split("\n"))
    digest = hashlib.sha256(_question(user).encode()).digest()
    named = [listed[digest[0] % len(listed)], listed[digest[1] % len(listed)]]
    if Random(user).random() >= errs:
        return named
    return [name for name in listed if name not in named][:2]


def _question(user: str) -> str:
    return user.split("<question-", 1)[1].split(">\n", 1)[1].split("\n</question-")[0]


def _known_answer(user: str) -> str:
    """Return the final answer of the solution that a prompt shows: in a box, or as its last word."""
    solution = user.partition("<solution-")[2].partition("\n</solution-")[0]
    return extract_final(solution) or solution.rstrip(".").rpartition(" ")[2] or "0"


def _json_value(name: str, part: dict[str, Any], user: str, errs: float) -> Any:
    if part["type"] == "array":
        return _lines(name, user, errs)
    return _choice(name, user) if "enum" in part else _text(name, user)


def _tag_value(name: str, about: str, user: str, errs: float) -> str:
    if "one a line" in about:
        return "\n".join(_lines(name, user, errs))
    return _choice(name, user) if CHOICE.search(about) else _text(name, user)


def _text(name: str, user: str) -> str:
    """Return a text that differs with the prompt where it is a question."""
    asks = name == "query" or name.endswith("_question")
    # A word without digits: all numbers are alike where copies are looked for.
    word = _digest(user).hex()[:8].translate(str.maketrans("0123456789", "ghijklmnop"))
    return f"the {name} {word}" if asks else f"the {name}"


def _choice(name: str, user: str) -> str:
    """Return what is chosen: skills differ, one answer in five is poor, and verdicts are those of `_judgement`."""
    if name == "score":
        return "2" if _digest(_between(user, "query"))[0] % 5 == 0 else "8"
    return "distinct" if "really distinct" in user else _judgement(user)


def _judgement(user: str) -> str:
    """Return the verdict: every answer is wrong, but one that says what a reference says in other letters.

    Where an answer is judged on its own, it is right when it is a whole sentence.
    """
    reference, given = (_between(user, mark).casefold() for mark in ("reference", "student"))
    if "what a good answer to this question has to hold" in user:
        return "correct" if given.endswith(".") else "incorrect"
    return "correct" if reference and reference in given else "incorrect"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _between(user: str, mark: str) -> str:
    return user.partition(f"<{mark}-")[2].partition(">\n")[2].partition(f"\n</{mark}-")[0]


def _lines(name: str, user: str, errs: float) -> list[str]:
    if name == "groups":
        names = user.split("one a line:\n")[2].split("\n\n")[0].split("\n")
        return [f"group_of_{names[0]}: {', '.join(names)}"]
    if name == "names":
        return [f"name {_digest(user).hex()[:4]} {n % 5}" for n in range(6)]
    if "one a line:" not in user:
        return [f"skill_{hashlib.sha256(_question(user).encode()).digest()[0] % 4}"]
    return skills_of(user, errs)
