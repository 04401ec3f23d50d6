"""What the tests ask a chat server, in this process or (`python asking.py JOB`) in one that can be killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from stat_train.compose import config_dir
from stat_train.config import BudgetCaps, OpenAITeacher
from stat_train.errors import StatTrainError
from stat_train.models.budget import Budget
from stat_train.models.endpoint import Attempts, EndpointGenerator
from stat_train.models.generator import Request, Sampling
from stat_train.models.ledger import Ledger

MAX_NEW_TOKENS = 100


def teacher(url: str | list[str], **changes: Any) -> OpenAITeacher:
    """Return the settings of a teacher at an address: the shipped ones, with changes."""
    shipped = yaml.safe_load((config_dir() / "teacher" / "openai.yaml").read_text())
    quick = {"timeout_seconds": 3.0, "max_wait_seconds": 1.0}
    here = {"base_url": url, "model": "m", "api_key_env": None}
    prices = {"usd_per_million_input_tokens": 1000.0, "usd_per_million_output_tokens": 2000.0}
    return OpenAITeacher(**(shipped | quick | here | prices | changes))


def caps(**given: Any) -> BudgetCaps:
    """Return caps; those that are not given do not exist."""
    return BudgetCaps(**({"max_usd": None, "max_calls": None, "max_tokens": None} | given))


def ask(numbers: Iterable[int], words: str = "question", **more: Any) -> Iterator[Request]:
    """Yield one request for each number."""
    for number in numbers:
        asked = [{"role": "user", "content": f"{words} {number}"}]
        yield Request(str(number), asked, Sampling(0.0, MAX_NEW_TOKENS), 0, **more)


@contextmanager
def asking(
    cache: Path, settings: OpenAITeacher, run: str = "run", attempts: int = 5, retry_bad: bool = False, **given: Any
) -> Iterator[EndpointGenerator]:
    """Open a ledger, a budget with the given caps, and a generator."""
    with Ledger(cache) as ledger:
        budget = Budget(caps(**given), run, ledger)
        with EndpointGenerator(settings, ledger, budget, "teacher", Attempts(attempts, retry_bad)) as generator:
            yield generator


def rows(cache: Path, kind: str) -> list[dict[str, Any]]:
    """Return the rows of one kind in the ledger by their time, torn lines left out."""
    lines = [line for path in (cache / "ledger").glob("*.jsonl") for line in path.read_text().split("\n")[:-1]]
    found = [row for line in lines if (row := json.loads(line))["kind"] == kind]
    return sorted(found, key=lambda row: row.get("time", 0))


def work(job: dict[str, Any]) -> int:
    """Ask what a job says and write the replies, in order; returns the exit code that `stat-train` would have."""
    cache, settings = Path(job["cache"]), teacher(job["url"], **job.get("settings", {}))
    try:
        with asking(cache, settings, **job.get("caps", {})) as generator:
            replies = {int(c.id): c.text for c in generator.generate(ask(range(*job["numbers"])))}
    except StatTrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    Path(job["out"]).write_text(json.dumps(sorted(replies.items())))
    return 0


if __name__ == "__main__":
    sys.exit(work(json.loads(sys.argv[1])))
