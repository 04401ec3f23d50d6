"""Raw results as a sweep keeps them, written by a test: one mark a question, + right, - wrong, ? not scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stat_train.claims.measures import PAIRS
from stat_train.claims.results import Result, Scores

MARKS = {"+": 1.0, "-": 0.0, "?": None}
HEADLINE = "standard"
TOKENS_PER_PAIR = 250


def result(
    recipe: str = "pool",
    seed: int = 0,
    place: int = 0,
    varies: Mapping[str, str] | None = None,
    own: Collection[str] = (),
    **arms: str | Mapping[str, str],
) -> Result:
    """Return the result of a run; an arm is its marks on `standard`, or those of each benchmark.

    On the benchmarks in `own` each seed has questions of its own. An arm `rl` and the absence of `sft` show in what
    varies. The settings are the seed and the pairs.
    """
    scores = {
        arm: {HEADLINE: _scores(given)} if isinstance(given, str) else _each(given) for arm, given in arms.items()
    }
    steps = ({"rl": "grpo"} if "rl" in arms else {}) | ({} if "sft" in arms else {"train": "none"})
    told = {"data_recipe": recipe} | steps | dict(varies or {})
    asked = int(told.get(PAIRS, 5000))
    pairs = asked if "sft" in arms else 0
    return Result(
        name="-".join([*told.values(), f"seed{seed}"]),
        place=place,
        varies=told,
        seed=seed,
        student="tiny",
        recipe=recipe,
        pairs=pairs,
        learning_rate=4e-4,
        fine_tuning_tokens=TOKENS_PER_PAIR * pairs,
        reinforcement_tokens=None,
        difficult=600,
        settings={"seed": seed, PAIRS: asked},
        with_seed=[],
        only_difficult=[],
        questions={name: f"{name}-{seed}" if name in own else name for name in scores["base"]},
        scores=scores,
    )


def right(share: float, of: int = 40) -> str:
    """Return marks of which the first so many are right."""
    count = round(share * of)
    return "+" * count + "-" * (of - count)


def _each(given: Mapping[str, str]) -> dict[str, Scores]:
    return {name: _scores(marks) for name, marks in given.items()}


def _scores(marks: str) -> Scores:
    return [MARKS[mark] for mark in marks]
