"""The results of a sweep as Markdown, made from its raw results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from stat_train.claims.curves import curve_settings
from stat_train.claims.efficiency import DASH, efficiency
from stat_train.claims.measures import (
    Change,
    Training,
    added_by_rl,
    against,
    beside,
    best_baseline,
    gain,
    pool_beside,
    trainings,
)
from stat_train.claims.results import RETAINED, Result, read_results
from stat_train.claims.verdicts import points, verdicts
from stat_train.evaluation.compare import CHOSEN
from stat_train.evaluation.summary import BASE, FINE_TUNED, REINFORCED

BEST = "against the best baseline"


def markdown(folder: Path, figures: Sequence[str] = ()) -> str:
    """Return the tables of the raw results in a folder; `figures` are the files of pictures to show below them."""
    results = read_results(folder)
    every = trainings(results)
    parts = [
        _opening(folder, results, every),
        _gains(every),
        _questions(every),
        *_curves(every),
        *_margins(every),
        *_elsewhere(every),
        *_reinforced(every),
    ]
    parts += [_verdicts(every), efficiency(every), _per_seed(every)]
    parts += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(folder: Path, results: Sequence[Result], every: Sequence[Training]) -> str:
    seeds = ", ".join(_seeds_told(every))
    return (
        f"# {folder.name.replace('_', ' ').capitalize()}\n\n"
        f"{len(results)} runs; seeds (and the student of each): {seeds}. Accuracy in %, changes in points with 95 % "
        "intervals: over seeds and questions, the wider of a bootstrap and Student's t; where each seed has questions "
        "of its own, the wider of Student's t and what the questions alone leave open. Everything is paired by seed, "
        "and by question where the questions are the same. The intervals hold for these students: how much students "
        "differ is seen seed by seed. Rows of other seeds are compared in the paired columns alone."
    )


def _gains(every: Sequence[Training]) -> str:
    """Return the main table: each training against the students as they were, and against others."""
    headline, compared = every[0].first.headline, _compared(every)
    head = ["", headline, "gain", *compared, "pairs", "tokens, M", "rate", "seeds"]
    rows = [
        [name, f"{each.accuracy(headline, BASE):.1f}", *[DASH] * (len(head) - 3), str(len(each.runs))]
        for name, each in _bases(every).items()
    ]
    for each, others in zip(every, zip(*compared.values(), strict=True), strict=True):
        told = [_cell(against(other, each, headline)) if other and other is not each else DASH for other in others]
        is_best = any(each is best is not own for best, own in zip(compared.get(BEST, []), every, strict=False))
        name = f"`{each.name}`" + (" (best baseline)" if is_best else "")
        rows.append([name, f"{each.accuracy(headline):.1f}", points(gain(each, headline)), *told, *_cost(each)])
    return _table(head, rows)


def _bases(every: Sequence[Training]) -> dict[str, Training]:
    """Return a training of each set of untrained students, that of most seeds, under the name that its row has."""
    found = list[Training]()
    for each in sorted(every, key=lambda each: len(each.runs), reverse=True):
        if not any(_share_students(each, other) for other in found):
            found.append(each)
    if len(found) == 1:
        return {BASE: found[0]}
    return {f"{BASE} ({', '.join(_students(each))})": each for each in found}


def _share_students(one: Training, other: Training) -> bool:
    return all(run.student == other.runs[seed].student for seed, run in one.runs.items() if seed in other.runs)


def _students(training: Training) -> list[str]:
    return list(dict.fromkeys(run.student for run in training.runs.values()))


def _questions(every: Sequence[Training]) -> str:
    """Return how many questions each benchmark has, and what share of the answers to them has no score."""
    return "Questions of a seed: " + "; ".join(_asked(name, every) for name in every[0].benchmarks) + "."


def _asked(benchmark: str, every: Sequence[Training]) -> str:
    scores = [
        run.scores[arm][benchmark]
        for each in every
        if benchmark in each.benchmarks
        for run in each.runs.values()
        for arm in run.scores
    ]
    fewest, most = min(map(len, scores)), max(map(len, scores))
    absent = sum(one.count(None) for one in scores) / sum(map(len, scores))
    told = f"{benchmark} {fewest:,}" + (f" to {most:,}" if most > fewest else "")
    return told + (f" ({absent:.1%} of the answers not scored)" if absent else "")


def _compared(every: Sequence[Training]) -> dict[str, list[Training | None]]:
    """Return what each training is compared with, column by column; without baselines, the first of its recipe."""
    baselines = {
        "against `pool`": [pool_beside(each, every) for each in every],
        BEST: [best_baseline(each, every, each.first.headline) for each in every],
    }
    if any(
        other and other is not own for others in baselines.values() for own, other in zip(every, others, strict=True)
    ):
        return baselines
    return {
        "against the first of its recipe": [
            next(other for other in every if (other.recipe, other.arm) == (each.recipe, each.arm)) for each in every
        ]
    }


def _curves(every: Sequence[Training]) -> Iterator[str]:
    """Yield a table of the mean gains by each setting that takes several numbers, a row a recipe."""
    headline, recipes = every[0].first.headline, dict.fromkeys(each.recipe for each in every)
    for keys in curve_settings(every):
        places = {each.name: tuple(each.first.varies[key] for key in keys) for each in every}
        cells = {(each.recipe, places[each.name]): f"{gain(each, headline).points:+.1f}" for each in every}
        values = sorted(set(places.values()), key=lambda place: float(place[0]))
        rows = [[f"`{recipe}`", *(cells.get((recipe, value), DASH) for value in values)] for recipe in recipes]
        head = [" / ".join(f"`{key}`" for key in keys), *map(" / ".join, values)]
        yield f"Points gained on {headline}, means of the seeds:\n\n" + _table(head, rows)


def _margins(every: Sequence[Training]) -> Iterator[str]:
    """Yield by how much each set for missing skills is above each other set, where each was trained in one way."""
    tuned = [each for each in every if each.arm == FINE_TUNED]
    targeted = [each for each in tuned if each.is_targeted]
    others = [each for each in tuned if not each.is_targeted]
    if targeted and len(others) > 1 and len({each.recipe for each in tuned}) == len(tuned):
        rows = [[f"`{other.name}`", *(_above(other, each, every) for each in targeted)] for other in others]
        head = ["", *(f"`{each.name}`" for each in targeted)]
        told = f"By how much a set for missing skills is above another, on {every[0].first.headline}:"
        yield f"{told}\n\n{_table(head, rows)}"


def _above(other: Training, training: Training, every: Sequence[Training]) -> str:
    """Return by how much a training is above another of its size; a dash for one of another size."""
    is_beside = any(each is other for each in beside(training, every))
    return _cell(against(other, training, training.first.headline)) if is_beside else DASH


def _cost(each: Training) -> list[str]:
    """Return what a training was given: pairs and tokens over all epochs (means over the seeds), and its rates."""
    runs = list(each.runs.values())
    rates = sorted({run.learning_rate for run in runs if run.learning_rate is not None and run.pairs})
    pairs = fmean(run.pairs for run in runs)
    known = [
        [count for count in (run.fine_tuning_tokens, run.reinforcement_tokens) if count is not None] for run in runs
    ]
    tokens = f"{fmean(map(sum, known)) / 1e6:.2f}" if all(known) else DASH
    return [f"{pairs:,.0f}", tokens, ", ".join(map(_scientific, rates)) or DASH, str(len(runs))]


def _scientific(number: float) -> str:
    import numpy

    return numpy.format_float_scientific(number, trim="-", exp_digits=1)


def _elsewhere(every: Sequence[Training]) -> Iterator[str]:
    """Yield a table of the gains on the other benchmarks, where there are some."""
    others = [name for name in every[0].benchmarks if name != every[0].first.headline and _all_have(name, every)]
    if others:
        bases = [[name, *(_before(each, other, every) for other in others)] for name, each in _bases(every).items()]
        rows = [[f"`{each.name}`", *(_gained(each, name) for name in others)] for each in every]
        yield f"Gains on the other benchmarks{_notes(others, every)}:\n\n" + _table(["", *others], [*bases, *rows])


def _notes(benchmarks: Sequence[str], every: Sequence[Training]) -> str:
    chosen = [name for name in benchmarks if any(name in run.only_difficult for run in every[0].runs.values())]
    apart = [name for name in benchmarks if not _is_one_for_all(name, every)]
    notes = [f"{', '.join(chosen)}: {CHOSEN}, so any other model scores higher; compare the rows"] if chosen else []
    notes += [f"{', '.join(apart)}: each row has questions of its own, by its own profile"] if apart else []
    return f" ({'. '.join(notes)})" if notes else ""


def _before(each: Training, benchmark: str, every: Sequence[Training]) -> str:
    return f"{each.accuracy(benchmark, BASE):.1f}" if _is_one_for_all(benchmark, every) else DASH


def _is_one_for_all(benchmark: str, every: Sequence[Training]) -> bool:
    """Tell whether all trainings with one student and seed were asked the same questions."""
    asked: dict[tuple[int, str], set[str]] = {}
    for each in every:
        for seed, run in each.runs.items():
            asked.setdefault((seed, run.student), set()).add(run.questions[benchmark])
    return all(len(found) == 1 for found in asked.values())


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
    told = {True: "yes", False: "**no**", None: "open"}
    rows = [[each.claim, each.measured, told[each.holds]] for each in verdicts(every)]
    return _table(["claim", "measured", "holds"], rows) if rows else ""


def _per_seed(every: Sequence[Training]) -> str:
    headline = every[0].first.headline
    seeds = sorted({seed for each in every for seed in each.runs})
    rows = []
    for each in every:
        gained = dict(zip(each.runs, gain(each, headline).per_seed, strict=True))
        rows.append([f"`{each.name}`", *(f"{gained[seed]:+.1f}" if seed in gained else DASH for seed in seeds)])
    head = ["", *_seeds_told(every)]
    return f"Gain on {headline}, seed by seed:\n\n" + _table(head, rows)


def _seeds_told(every: Sequence[Training]) -> list[str]:
    """Return each seed with its student, or its students where a sweep trains several with one seed."""
    students: dict[int, dict[str, None]] = {}
    for each in every:
        for seed, run in each.runs.items():
            students.setdefault(seed, {})[run.student] = None
    return [f"{seed} ({', '.join(names)})" for seed, names in sorted(students.items())]


def _cell(change: Change | None) -> str:
    return points(change) if change else DASH


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
