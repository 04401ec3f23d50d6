"""What a setting may be: the types of fields, and the node that a group of them is.

A setting is *identity* (it changes what a stage makes) unless its field is marked `OPERATIONAL`; operational settings
(checkpoint interval, time limits) never change a stage's hash.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, LiteralString
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

OPERATIONAL = "operational"

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # the largest that numpy takes
Text = Annotated[str, Field(min_length=1)]


def _text_like(pattern: str, expected: LiteralString) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("text_like", expected)
        return value

    return AfterValidator(check)


def _with_a_port(value: str) -> str:
    try:
        urlsplit(value).port  # noqa: B018
    except ValueError:
        raise PydanticCustomError("port", "a URL with a port from 0 to 65535") from None
    return value


Url = Annotated[
    str,
    _text_like(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", "a URL such as http://host:8000/v1, no password"),
    AfterValidator(_with_a_port),
]
EnvironmentVariable = Annotated[str, _text_like("[A-Z_][A-Z0-9_]*", "the NAME of an environment variable, in capitals")]

# As Slurm takes it.
WallTime = Annotated[
    str,
    _text_like(r"(\d+-)?\d{1,2}:\d{2}:\d{2}|\d+", "HOURS:MINUTES:SECONDS, DAYS-HOURS:MINUTES:SECONDS or minutes"),
]

# As the hub names repositories: no two dots or hyphens in a row, none at an end.
HubName = Annotated[
    str,
    _text_like(
        r"(?!.*(--|\.\.))[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?/[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?",
        "OWNER/NAME of a data set on the hub",
    ),
]

# It names a file too.
BenchmarkName = Annotated[str, _text_like(r"[A-Za-z_][A-Za-z0-9_-]*", "a name of letters, digits, _ and -")]

GraderName = Annotated[
    str,
    _text_like(
        r"math|exact|numeric|choice|judge|[A-Za-z_][\w.]*:[A-Za-z_]\w*",
        "math, exact, numeric, choice, judge or package.module:function",
    ),
]


class Node(BaseModel):
    """A group of settings: unknown keys and values of the wrong type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's hash covers."""
        fields = type(self).model_fields.items()
        values = {name: getattr(self, name) for name, field in fields if OPERATIONAL not in field.metadata}
        return {name: _identity(value) for name, value in values.items()}


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _identity(each) for name, each in value.items()}
    return value.identity() if isinstance(value, Node) else value
