"""A student that is known by its recorded answers only."""

from __future__ import annotations

import json
from pathlib import Path

from stat_train.errors import InputError


def read_recording(path: Path) -> dict[str, list[str]]:
    """Return question id -> recorded answers of a JSONL file with `id` and `responses`.

    Raises InputError with file and line number at the first row of another form, because an answer that cannot be read
    would change who counts as difficult.
    """
    recording: dict[str, list[str]] = {}
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    with file as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                identifier, responses = _read_row(line, f"{path}:{number}")
                if identifier in recording:
                    raise InputError(f"{path}:{number}: id {identifier!r} was recorded before; merge its responses")
                recording[identifier] = responses
    if not recording:
        raise InputError(f"{path}: no recorded answers; expected JSON lines of id and responses")
    return recording


def _read_row(line: bytes, place: str) -> tuple[str, list[str]]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        identifier, responses = row["id"], row["responses"]
        # JSON can escape half of a character pair, which no file can then hold.
        json.dumps([identifier, responses], ensure_ascii=False).encode()
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place}: expected a JSON object with id and responses ({error})") from error
    texts = isinstance(responses, list) and responses and all(isinstance(text, str) for text in responses)
    if not isinstance(identifier, str) or not texts:
        raise InputError(f"{place}: expected id to be a text and responses a list of at least one text")
    return identifier, responses
