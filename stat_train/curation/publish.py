"""The training set as others would use it: Parquet beside JSONL, a card that says what is in it, and the hub."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stat_train import __version__
from stat_train.config import is_local
from stat_train.errors import UserError
from stat_train.records import TrainingExample
from stat_train.store import write_text

CARD, ROWS, TABLE = "DATASET_CARD.md", "training_set.jsonl", "training_set.parquet"
SKILLS_SHOWN = 200
# What Markdown or HTML may read as markup; an underscore inside a word is none.
MARKUP = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")


def write_table(folder: Path, examples: Sequence[TrainingExample]) -> None:
    """Write the rows as a Parquet file with the columns of the JSONL file; `messages` are in the chat format."""
    import pyarrow
    from pyarrow import parquet

    text, texts = pyarrow.string(), pyarrow.list_(pyarrow.string())
    message = pyarrow.struct([("role", text), ("content", text)])
    origin = pyarrow.struct([("question_id", text), ("skill", text), ("seed_ids", texts), ("call_ids", texts)])
    columns = {"id": text, "messages": pyarrow.list_(message), "question": text, "answer": text, "skills": texts}
    schema = pyarrow.schema([*columns.items(), ("recipe", text), ("origin", origin)])
    rows = [example.model_dump() for example in examples]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), folder / TABLE)


def licences(examples: Sequence[TrainingExample], of_seed: Mapping[str, str | None]) -> dict[str, int]:
    """Return how many rows come from questions under each licence; `of_seed` gives that of a pool question."""
    counts: Counter[str] = Counter()
    for example in examples:
        found = {of_seed.get(id) or "not stated" for id in example.origin.seed_ids} or {"written by the teacher alone"}
        counts.update(sorted(found))
    return dict(counts.most_common())


def write_card(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the card: a page for people with the front matter that the hub reads.

    `about` has `curation` (the content of `curation.json`), `task`, `pool`, `student`, `teacher`, `cost`, `licences`.
    """
    from huggingface_hub import DatasetCardData
    from jinja2 import Environment, PackageLoader, StrictUndefined

    front = DatasetCardData(
        language=None,
        task_categories=["text-generation"],
        tags=["stat-train", about["curation"]["recipe"]],
        size_categories=_size(about["curation"]["pairs"]),
        configs=[{"config_name": "default", "data_files": TABLE}],
    )
    page = Environment(loader=PackageLoader("stat_train", "curation"), undefined=StrictUndefined, trim_blocks=True)
    page.filters |= {"cell": as_cell, "place": _place}
    text = page.get_template("dataset_card.md.j2").render(
        about, front=front.to_yaml(), version=__version__, most=SKILLS_SHOWN
    )
    write_text(folder / CARD, text)


def as_cell(value: object) -> str:
    """Return a text for the cell of a table: names are the task's or a teacher's, and may hold anything.

    What could be read as markup is written as a character reference, which Markdown never takes for structure.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(plain.split()))


def _place(value: str) -> str:
    """Return where something is from; of a path only the name, for a machine's folders are nobody else's business."""
    return Path(value).name if is_local(value) else value


def _size(rows: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")


def push(folder: Path, repository: str) -> str:
    """Upload rows, table and card to a data set repository of the hub, made private if it is new; return its address.

    Files that the repository has already are not sent again. The token is that of the hub's own tools (`hf auth login`,
    or HF_TOKEN in the environment). Raises UserError when the hub does not take them.
    """
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, HfApi

    files = {"README.md": CARD, ROWS: ROWS, TABLE: TABLE}
    operations = [CommitOperationAdd(name, str((folder / file).resolve())) for name, file in files.items()]
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        done = api.create_commit(repository, operations, commit_message="Add a training set", repo_type="dataset")
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        # The last two: a reply or a token that cannot be read, and a large file that could not be sent.
        raise UserError(
            f"push_to_hub = {repository}: the hub does not take it ({_first_line(error)}); expected OWNER/NAME of a "
            "data set that your token may write to (hf auth login, or HF_TOKEN). The training set itself is made: see "
            "the run folder"
        ) from error
    return str(done.repo_url)


def _first_line(error: Exception) -> str:
    """Return what an error says first, without the token, which a header that cannot be sent is quoted with."""
    from huggingface_hub import get_token

    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    token = get_token() or ""
    for secret in {token, repr(token)[1:-1], ascii(token)[1:-1], repr(token.encode())[2:-1]} - {""}:
        said = said.replace(secret, "[token]")
    return said
