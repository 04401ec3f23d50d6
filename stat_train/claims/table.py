"""The results of a sweep as Markdown, made from its raw results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from stat_train.claims.curves import numeric_keys
from stat_train.claims.efficiency import efficiency
from stat_train.claims.measures import (
    TARGETED,
    Change,
    Training,
    added_by_rl,
    against,
    best_baseline,
    gain,
    pool_beside,
    trainings,
)
from stat_train.claims.results import RETAINED, Result, read_results
from stat_train.claims.verdicts import points, verdicts
from stat_train.evaluation.compare import CHOSEN
from stat_train.evaluation.summary import BASE, FINE_TUNED, REINFORCED

DASH = "–"
BEST = "against the best baseline"


def markdown(folder: Path, figures: Sequence[str] = ()) -> str:
    """Return the tables of the raw results in a folder; `figures` are the files of pictures to show below them."""
    results = read_results(folder)
    every = trainings(results)
    parts = [
        _opening(folder, results),
        _gains(every),
        *_curves(every),
        *_margins(every),
        *_elsewhere(every),
        *_reinforced(every),
    ]
    parts += [_verdicts(every), efficiency(every), _per_seed(every)]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(folder: Path, results: Sequence[Result]) -> str:
    seeds = {result.seed: result.student for result in results}
    told = ", ".join(f"{seed} ({student})" for seed, student in sorted(seeds.items()))
    return (
        f"# {folder.name.replace('_', ' ').capitalize()}\n\n"
        f"{len(results)} runs; seeds (and the student of each): {told}. Accuracy in %, changes in points with 95 % "
        "intervals: over seeds and questions, the wider of a bootstrap and Student's t; where each seed has questions "
        "of its own, Student's t. Everything is paired by seed, and by question where the questions are the same. The "
        "intervals hold for these students: how much students differ is seen seed by seed. Rows of "
        "other seeds are compared in the paired columns alone."
    )


def _gains(every: Sequence[Training]) -> str:
    """Return the main table: each training against the students as they were, and against others."""
    headline, compared = every[0].first.headline, _compared(every)
    head = ["", headline, "gain", *compared, "pairs", "tokens, M", "rate", "seeds"]
    rows = [[BASE, f"{every[0].accuracy(headline, BASE):.1f}", *[DASH] * (len(head) - 3), str(len(every[0].runs))]]
    for each, others in zip(every, zip(*compared.values(), strict=True), strict=True):
        told = [_cell(against(other, each, headline)) if other and other is not each else DASH for other in others]
        name = f"`{each.name}`" + (" (best baseline)" if any(each is best for best in compared.get(BEST, [])) else "")
        rows.append([name, f"{each.accuracy(headline):.1f}", points(gain(each, headline)), *told, *_cost(each)])
    return _table(head, rows)


def _compared(every: Sequence[Training]) -> dict[str, list[Training | None]]:
    """Return what each training is compared with, column by column; without baselines, the first of its recipe."""
    baselines = {
        "against `pool`": [pool_beside(each, every) for each in every],
        BEST: [best_baseline(each, every, each.first.headline) for each in every],
    }
    if any(other for others in baselines.values() for other in others):
        return baselines
    return {
        "against the first of its recipe": [
            next(other for other in every if (other.recipe, other.arm) == (each.recipe, each.arm)) for each in every
        ]
    }


def _curves(every: Sequence[Training]) -> Iterator[str]:
    """Yield a table of the mean gains by each setting that takes several numbers, a row a recipe.

    There is none where a recipe was trained in several ways with the same number.
    """
    headline, recipes = every[0].first.headline, dict.fromkeys(each.recipe for each in every)
    for key in numeric_keys(every):
        cells = {(each.recipe, each.first.varies[key]): f"{gain(each, headline).points:+.1f}" for each in every}
        values = sorted({value for _, value in cells}, key=float)
        if len(cells) == len(every):
            rows = [[f"`{recipe}`", *(cells.get((recipe, value), DASH) for value in values)] for recipe in recipes]
            yield f"Points gained on {headline}, means of the seeds:\n\n" + _table([f"`{key}`", *values], rows)


def _margins(every: Sequence[Training]) -> Iterator[str]:
    """Yield by how much each set for missing skills is above each other set, where each was trained in one way."""
    tuned = [each for each in every if each.arm == FINE_TUNED]
    targeted = [each for each in tuned if each.recipe in TARGETED]
    others = [each for each in tuned if each.recipe not in TARGETED]
    if targeted and len(others) > 1 and len({each.recipe for each in tuned}) == len(tuned):
        headline = every[0].first.headline
        rows = [[f"`{other.name}`", *(_cell(against(other, each, headline)) for each in targeted)] for other in others]
        head = ["", *(f"`{each.name}`" for each in targeted)]
        yield f"By how much a set for missing skills is above another, on {headline}:\n\n" + _table(head, rows)


def _cost(each: Training) -> list[str]:
    """Return what a training was given: pairs and tokens over all epochs (means over the seeds), and its rate."""
    runs, rate = list(each.runs.values()), each.first.learning_rate
    pairs = fmean(run.pairs for run in runs)
    known = [
        [count for count in (run.fine_tuning_tokens, run.reinforcement_tokens) if count is not None] for run in runs
    ]
    tokens = f"{fmean(map(sum, known)) / 1e6:.2f}" if all(known) else DASH
    return [f"{pairs:,.0f}", tokens, _scientific(rate) if rate is not None and pairs else DASH, str(len(runs))]


def _scientific(number: float) -> str:
    import numpy

    return numpy.format_float_scientific(number, trim="-", exp_digits=1)


def _elsewhere(every: Sequence[Training]) -> Iterator[str]:
    """Yield a table of the gains on the other benchmarks, where there are some."""
    others = [name for name in every[0].benchmarks if name != every[0].first.headline and _all_have(name, every)]
    if others:
        base = [BASE, *(f"{every[0].accuracy(name, BASE):.1f}" for name in others)]
        rows = [[f"`{each.name}`", *(_gained(each, name) for name in others)] for each in every]
        chosen = [name for name in others if any(name in run.only_difficult for run in every[0].runs.values())]
        note = f" ({', '.join(chosen)}: {CHOSEN}, so any other model scores higher; compare the rows)" if chosen else ""
        yield f"Gains on the other benchmarks{note}:\n\n" + _table(["", *others], [base, *rows])


def _gained(each: Training, benchmark: str) -> str:
    """Return a gain; without bounds where the questions were chosen by what the untrained student failed."""
    found = gain(each, benchmark)
    return f"{found.points:+.1f}" if benchmark in each.first.only_difficult else points(found)


def _all_have(benchmark: str, every: Sequence[Training]) -> bool:
    return all(benchmark in each.benchmarks for each in every)


def _reinforced(every: Sequence[Training]) -> Iterator[str]:
    """Yield what reinforcement learning added to each model that it started from."""
    after = [each for each in every if each.arm == REINFORCED]
    if after:
        names = [name for name in after[0].benchmarks if name != RETAINED and _all_have(name, after)]
        rows = [[f"`{each.name}`", *(_added(each, name) for name in names)] for each in after]
        yield "What GRPO added to the model that it started from:\n\n" + _table(["", *names], rows)


def _added(each: Training, benchmark: str) -> str:
    # Of the student itself it is the gain, and nothing is sure where its failures chose the questions.
    return _cell(added_by_rl(each, benchmark)) if FINE_TUNED in each.first.scores else _gained(each, benchmark)


def _verdicts(every: Sequence[Training]) -> str:
    rows = [[each.claim, each.measured, "yes" if each.holds else "**no**"] for each in verdicts(every)]
    return _table(["claim", "measured", "holds"], rows) if rows else ""


def _per_seed(every: Sequence[Training]) -> str:
    headline = every[0].first.headline
    seeds = sorted({seed for each in every for seed in each.runs})
    rows = []
    for each in every:
        gained = dict(zip(each.runs, gain(each, headline).per_seed, strict=True))
        rows.append([f"`{each.name}`", *(f"{gained[seed]:+.1f}" if seed in gained else DASH for seed in seeds)])
    students = {seed: run.student for each in every for seed, run in each.runs.items()}
    head = ["", *(f"{seed} ({students[seed]})" for seed in seeds)]
    return f"Gain on {headline}, seed by seed:\n\n" + _table(head, rows)


def _cell(change: Change | None) -> str:
    return points(change) if change else DASH


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
