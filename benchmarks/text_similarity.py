"""How often similarity of text is similarity of skill: on MATH, and on the embedded task.

    python benchmarks/text_similarity.py [--math FOLDER] [--pool 80000]

For each of 1,000 held-out questions one of its skills is drawn, and the 5 pool questions that are nearest in their
words (as data_recipe=embed_sel finds them) are looked at: how many need that skill too? Beside it, how many would by
chance, which is the skill's share of the pool. FOLDER has train.jsonl and test.jsonl with `question` and `skills`, such
as MATH with the labels of the AdaptMI data (arXiv 2505.00147).

Writes benchmarks/results/text_similarity.md. Cost: a minute or two of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import NamedTuple

import numpy
from scipy.stats import bootstrap

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from datasets import Dataset  # noqa: E402

from stat_train.curation.embedding import TFIDF, nearest_rows  # noqa: E402
from stat_train.records import Question  # noqa: E402
from stat_train.tasks.arithmetic import world  # noqa: E402
from stat_train.tasks.arithmetic.mixes import MIXES  # noqa: E402

ASKED, NEAREST = 1000, 5


class Row(NamedTuple):
    """A task: shares of the nearest questions that need the skill, its 95 % bounds, and the share by chance."""

    task: str
    skills: int
    found: float
    bounds: tuple[float, float]
    chance: float


def measure(task: str, pool: Sequence[Question], asked: Sequence[Question]) -> Row:
    """Return how often a question that is near in its words needs the skill that was drawn."""
    source = SimpleNamespace(
        pool=Dataset.from_list([{"question": q.question} for q in pool]), rows=numpy.arange(len(pool))
    )
    random = Random(0)
    drawn = [random.choice(question.skills or []) for question in asked]
    near = next(nearest_rows(source, asked, NEAREST, TFIDF))  # type: ignore[arg-type]
    needs = [set(question.skills or []) for question in pool]
    found = numpy.array(
        [numpy.mean([skill in needs[row] for row in rows]) for skill, rows in zip(drawn, near, strict=True)]
    )
    share = {skill: sum(skill in each for each in needs) / len(needs) for skill in set(drawn)}
    bounds = bootstrap((found,), numpy.mean, n_resamples=2000, batch=200, rng=0).confidence_interval
    chance = float(numpy.mean([share[skill] for skill in drawn]))
    return Row(task, len(set().union(*needs)), float(found.mean()), (float(bounds.low), float(bounds.high)), chance)


def math_questions(folder: Path, name: str) -> Iterator[Question]:
    """Yield the labelled questions of a file."""
    rows = (
        Question.model_validate({"id": str(place), **_known(row)}) for place, row in enumerate(_rows(folder / name))
    )
    return (question for question in rows if question.skills)


def _rows(file: Path) -> Iterator[dict[str, object]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _known(row: dict[str, object]) -> dict[str, object]:
    return {key: row[key] for key in ("question", "skills") if row.get(key)}


def main() -> None:
    """Measure both tasks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--math", type=Path, help="folder of MATH with skill labels; without it, the embedded task alone"
    )
    parser.add_argument("--pool", type=int, default=80_000, help="questions of the embedded task's pool")
    given = parser.parse_args()
    pool = list(world.questions("0", "pool", "pool", given.pool, world.Family(weights=MIXES["a"])))
    asked = list(world.questions("0", "validation", "validation", ASKED, world.Family()))
    rows = [measure(f"arithmetic, pool of {given.pool:,} (mix a)", pool, asked)]
    if given.math:
        labelled = list(math_questions(given.math, "train.jsonl"))
        held_out = list(islice(math_questions(given.math, "test.jsonl"), ASKED))
        rows.append(measure(f"MATH, pool of {len(labelled):,}", labelled, held_out))
    text = markdown(rows)
    print(text)
    if not given.math:
        print("not written: the table that is kept has MATH too; give --math FOLDER")
        return
    (ROOT / "benchmarks" / "results" / "text_similarity.md").write_text(text + "\n", encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, in percent."""
    head = ["", "skills", f"of the {NEAREST} nearest need the skill, %", "95 % interval", "by chance, %"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        low, high = (100 * bound for bound in row.bounds)
        lines.append(
            [row.task, str(row.skills), f"{100 * row.found:.1f}", f"{low:.1f} to {high:.1f}", f"{100 * row.chance:.1f}"]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
