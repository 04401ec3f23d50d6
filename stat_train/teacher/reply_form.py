"""The form of a reply: how it is asked for, as a JSON schema or as tagged text, and how it is read.

Tags carry a code that is made from the texts that were sent, so none of these texts can hold them: a verdict that the
teacher quotes from a student's answer is not taken for its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Value = str | list[str]
# A schema with longer lists of names is refused by some servers; the names are then checked by the reader alone.
MOST_NAMES = 250
BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
NOTHING = {"", "none", "none.", "-", "[]", "empty", "n/a"}
FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


class Part(BaseModel):
    """One part of a reply: a text, one of some choices, or lines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["text", "choice", "lines"]
    about: str
    choices: list[str] = []


Form = Mapping[str, Part]


def schema(form: Form, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the JSON schema of a reply; `names` are the only lines that a part may hold, where there are any."""
    parts = {name: _part_schema(part, names.get(name, ())) for name, part in form.items()}
    return {"type": "object", "properties": parts, "required": list(form), "additionalProperties": False}


def _part_schema(part: Part, names: Sequence[str]) -> dict[str, Any]:
    if part.kind == "lines":
        item = {"type": "string"} | ({"enum": list(names)} if 0 < len(names) <= MOST_NAMES else {})
        return {"type": "array", "items": item, "description": part.about}
    return {"type": "string", "description": part.about} | ({"enum": part.choices} if part.choices else {})


def hint(form: Form, code: str) -> str:
    """Return the words that ask for a reply as tagged text."""
    lines = [f"<{name}-{code}>{_about(part)}</{name}-{code}>" for name, part in form.items()]
    return "\n".join(
        [
            "Give your answer in this form, at the end of your reply. Each part stands between its two tags, which are",
            "written exactly as here, with their code:",
            *lines,
        ]
    )


def _about(part: Part) -> str:
    more = {"text": "", "choice": f": {' or '.join(part.choices)}", "lines": ", one a line, or the word none"}
    return part.about + more[part.kind]


def read_reply(text: str, form: Form, code: str, quoted: str = "") -> dict[str, Value] | None:
    """Return the parts of a reply, or None when they are not all there.

    A reply is text with tags, of which the last well-formed one of each part counts, or a JSON object and nothing else.
    An object that stands in `quoted`, what was sent to be judged, is not the teacher's, however it is spaced.
    """
    return _from_tags(text, form, code) or _from_json(text, form, quoted)


def _from_json(text: str, form: Form, quoted: str) -> dict[str, Value] | None:
    whole = fenced[1] if (fenced := FENCE.match(text.strip())) else text.strip()
    try:
        found = json.loads(whole)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or _holds(quoted, found):
        return None
    values = {name: _read(part, found.get(name)) for name, part in form.items()}
    return _whole(values)


def _holds(text: str, sought: dict[str, Any]) -> bool:
    """Tell whether a JSON object stands anywhere in a text."""
    decoder = json.JSONDecoder()
    for start in re.finditer("{", text):
        with suppress(ValueError, RecursionError):
            if decoder.raw_decode(text, start.start())[0] == sought:
                return True
    return False


def _from_tags(text: str, form: Form, code: str) -> dict[str, Value] | None:
    return _whole({name: _last(text, f"{name}-{code}", part) for name, part in form.items()})


def _last(text: str, tag: str, part: Part) -> Value | None:
    """Return the value of the last well-formed tag: between an opening and the next closing one, without another."""
    found = re.findall(rf"<{tag}>((?:(?!<{tag}>).)*?)</{tag}>", text, re.DOTALL)
    values = (_read(part, value.splitlines() if part.kind == "lines" else value) for value in reversed(found))
    return next((value for value in values if value is not None), None)


def _whole(values: Mapping[str, Value | None]) -> dict[str, Value] | None:
    whole = {name: value for name, value in values.items() if value is not None}
    return whole if len(whole) == len(values) else None


def _read(part: Part, value: Any) -> Value | None:
    """Return the value of a part, or None when it is not what was asked for."""
    if part.kind == "lines":
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            return None
        lines = [BULLET.sub("", _in_whole_characters(line)).strip() for line in value]
        return [line for line in lines if line.casefold() not in NOTHING]
    if not isinstance(value, str) or not value.strip():
        return None
    if part.kind == "text":
        return _in_whole_characters(value.strip())
    chosen = value.strip().strip(".*\"'`").casefold()
    return chosen if chosen in part.choices else None


def _in_whole_characters(text: str) -> str:
    """Return a text with `?` for each half of a character pair: JSON can escape one, and no file can hold it."""
    return text.encode("utf-8", "replace").decode()
