"""The prompts, read from files, each known by the hash of its content: editing one re-asks only its calls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from stat_train.errors import UserError, did_you_mean
from stat_train.models.generator import Request, Sampling
from stat_train.store import content_hash
from stat_train.teacher.reply_form import Part, hint, schema

SHIPPED = Path(__file__).parent / "prompts"
CODE_LENGTH = 8
# A place to fill in; what stands in the braces of TeX, as in \\boxed{x} or x_{n}, is text.
PLACE = re.compile(r"(?<![\w^}])\{(\w+)\}")


class PromptFile(BaseModel):
    """One prompt: what is said, with places to fill in, and the parts of the reply; without parts that is a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = Field(min_length=1)
    user: str = Field(min_length=1)
    again: str | None = None
    reply: dict[str, Part] = Field(default_factory=dict)
    # No part of what is said, so not of the version either.
    _name: str | None = PrivateAttr(default=None)

    @property
    def version(self) -> str:
        """The hash of all that a teacher is told by this prompt; comments in the file do not count."""
        return content_hash(self.model_dump())

    def request(
        self,
        id: str,
        values: Mapping[str, str],
        sampling: Sampling,
        sample: int = 0,
        names: Sequence[str] = (),
    ) -> Request:
        """Return the request with the values filled in; `names` are those that the reply's part `skills` may hold."""
        code = code_of(values)
        messages = [
            {"role": "system", "content": filled(self.system, values, code)},
            {"role": "user", "content": filled(self.user, values, code)},
        ]
        form = schema(self.reply, {"skills": names}) if self.reply else None
        asked_form = hint(self.reply, code) if self.reply else ""
        return Request(id, messages, sampling, sample, form, asked_form, self.version, self._name)


Prompts = Mapping[str, PromptFile]


def code_of(values: Mapping[str, str]) -> str:
    """Return a mark for tags that no text among the values can hold, because it is made from all of them."""
    return content_hash(dict(values))[:CODE_LENGTH]


def filled(template: str, values: Mapping[str, str], code: str) -> str:
    """Return the template with its places filled in, all at once: what is filled in is not looked at again."""
    known = {**values, "code": code}
    return PLACE.sub(lambda place: known.get(place[1], place[0]), template)


def read_prompts(folder: str | None) -> Prompts:
    """Return the prompts by name: the shipped ones, each replaced by the file of its name in `folder`.

    Raises UserError for a file that cannot be used, with what is wrong in it.
    """
    shipped = {path.stem: _read(path) for path in sorted(SHIPPED.glob("*.yaml"))}
    if folder is None:
        return shipped
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise UserError(f"teacher.prompts = {folder}: no such folder; expected one with files such as rewrite.yaml")
    own = {path.stem: path for path in sorted(place.glob("*.yaml"))}
    if not own:
        raise UserError(f"teacher.prompts = {folder}: holds no .yaml file; expected some of {', '.join(shipped)}")
    for name, path in own.items():
        if name not in shipped:
            raise UserError(f"{path}: no such prompt; expected {', '.join(shipped)}.{did_you_mean(name, shipped)}")
        _require_same_places(path, own_prompt := _read(path), shipped[name])
        shipped[name] = own_prompt
    return shipped


def _read(path: Path) -> PromptFile:
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        prompt = PromptFile.model_validate(found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}; expected system, user and, as shipped, reply") from error
    prompt._name = path.stem
    return prompt


def _require_same_places(path: Path, own: PromptFile, shipped: PromptFile) -> None:
    """Refuse a prompt that leaves out what has to be filled in, or asks for other parts than the shipped one."""
    if (own.again is None) != (shipped.again is None):
        raise UserError(f"{path}: again: expected {'none' if own.again else 'one'}, as in the shipped file")
    first = (f"{each.system}\n{each.user}" for each in (own, shipped))
    for mine, theirs in (tuple(first), (own.again or "", shipped.again or "")):
        given, needed = _places(mine), _places(theirs)
        # Without the code, tags that a student writes look like those around its answer.
        needed = needed if "answer" in needed else needed - {"code"}
        if absent := sorted(needed - given):
            raise UserError(
                f"{path}: does not hold {', '.join(f'{{{name}}}' for name in absent)}; the shipped one does"
            )
        for name in sorted(given - needed - {"code"}):
            hint = did_you_mean(name, needed) or f" Expected {', '.join(sorted(needed)) or 'none'}"
            raise UserError(f"{path}: {{{name}}} is no place to fill in.{hint}")
    form, expected = ([(name, p.kind, p.choices) for name, p in each.reply.items()] for each in (own, shipped))
    if form != expected:
        raise UserError(f"{path}: the parts of its reply are {_shown(own)}; expected {_shown(shipped)}, in this order")


def _shown(prompt: PromptFile) -> str:
    parts = (f"{name} ({', '.join([part.kind, *part.choices])})" for name, part in prompt.reply.items())
    return ", ".join(parts) or "none"


def _places(text: str) -> set[str]:
    return set(PLACE.findall(text))
