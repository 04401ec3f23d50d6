"""What runs changed, over their seeds: raw results side by side, one row for each training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

from stat_train.claims.results import Result, Scores
from stat_train.compose import is_below
from stat_train.errors import UserError
from stat_train.evaluation.over_seeds import by_student_t, over_seeds
from stat_train.evaluation.summary import BASE, FINE_TUNED, REINFORCED

# The recipes that draw for what the profile has missing, unless they are told to draw from all skills.
TARGETED = ("stat_sel", "stat_syn", "skillmix")
# From one set of resamples to another a bound moves by one or two tenths of a point, far less than it is wide.
RESAMPLES = 1000
PAIRS = "data_recipe.pairs"
# Now and then a pair is left out, and the pairs of equal tokens are worked out from the lengths in other runs.
SAME_SIZE = 0.02
WHAT_IS_TRAINED = ("data_recipe", "train", "train.learning_rate", "train.learning_rates", "rl")


class Change(NamedTuple):
    """A mean change in points over seeds, with its 95 % bounds (None for one seed) and the change of each seed."""

    points: float
    low: float | None
    high: float | None
    per_seed: list[float]

    @property
    def is_above_zero(self) -> bool:
        """Tell whether the whole interval is above 0."""
        return self.low is not None and self.low > 0


class Training(NamedTuple):
    """The runs that differ in nothing but their seed (and what goes with it), by their seed."""

    name: str
    arm: str
    runs: dict[int, Result]

    @property
    def first(self) -> Result:
        """Return the run of the first seed."""
        return next(iter(self.runs.values()))

    @property
    def recipe(self) -> str:
        """Return the training set's recipe."""
        return self.first.recipe

    @property
    def is_targeted(self) -> bool:
        """Tell whether the set was drawn for what the profile has missing; if not, it is a baseline."""
        return self.recipe in TARGETED and self.first.settings.get("data_recipe.skills_from") != "all"

    @property
    def benchmarks(self) -> list[str]:
        """Return the benchmarks that all its runs have."""
        return [name for name in self.first.questions if all(name in run.questions for run in self.runs.values())]

    def accuracy(self, benchmark: str, arm: str | None = None) -> float:
        """Return the mean accuracy over the seeds, in percent."""
        every = [_mean(known(run.scores[arm or self.arm][benchmark])) for run in self.runs.values()]
        return sum(every) / len(every)


def trainings(results: Sequence[Result]) -> list[Training]:
    """Return the trainings of a sweep in its order, each with a run for each seed.

    Raises UserError when two results are of the same training and seed, or differ in what the sweep does not vary.
    """
    for result in results:
        _require_alike(results[0], result)
    found: dict[tuple[str, ...], dict[int, Result]] = {}
    for result in results:
        key = tuple(sorted(f"{name}={value}" for name, value in result.varies.items()))
        first = found.setdefault((*key, result.arm), {}).setdefault(result.seed, result)
        if first is not result:
            same = f"are both of seed {result.seed} of the same training"
            raise UserError(
                f"{first.name} and {result.name}: {same}; expected one of them, so take the other file away"
            )
    firsts = [next(iter(runs.values())) for runs in found.values()]
    return [Training(_name(first, firsts), first.arm, runs) for first, runs in zip(firsts, found.values(), strict=True)]


def _require_alike(first: Result, other: Result) -> None:
    varied = {"seed", *first.with_seed, *other.with_seed, *first.varies, *other.varies}
    if differing := differing_settings(first.settings, other.settings, varied):
        told = ", ".join(f"{key} ({first.settings.get(key)} and {other.settings.get(key)})" for key in differing)
        raise UserError(
            f"{first.name} and {other.name}: were made with different settings, {told}; expected one sweep's results, "
            "so take those of the other away, or give sweep.results=FOLDER"
        )


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any], varied: Collection[str] = ()) -> list[str]:
    """Return the settings, but for those that vary, in which two runs differ; one that a run lacks differs too."""
    keys = dict.fromkeys([*one, *other])
    return [key for key in keys if one.get(key) != other.get(key) and not is_below(key, varied)]


def _name(result: Result, every: Sequence[Result]) -> str:
    """Return what is trained on, and then the settings that tell it from others that are trained on the same."""
    alike = [other for other in every if _steps(other) == _steps(result)]
    told = [
        f"{key.rpartition('.')[2]}={value}"
        for key, value in result.varies.items()
        if any(other.varies.get(key) != value for other in alike)
    ]
    return ", ".join([_steps(result), *told])


def _steps(result: Result) -> str:
    trained = result.recipe if FINE_TUNED in result.scores else BASE
    return f"{trained} + GRPO" if result.arm == REINFORCED else trained


def gain(training: Training, benchmark: str) -> Change:
    """Return what a training gained over the students as they were."""
    return _change([(run, BASE, run, training.arm) for run in training.runs.values()], benchmark)


def against(first: Training, second: Training, benchmark: str) -> Change | None:
    """Return by how much the second training is above the first, seed by seed; None where they share no seed."""
    shared = [seed for seed in second.runs if seed in first.runs]
    pairs = [(first.runs[seed], first.arm, second.runs[seed], second.arm) for seed in shared]
    return _change(pairs, benchmark) if pairs else None


def added_by_rl(training: Training, benchmark: str) -> Change | None:
    """Return what reinforcement learning added to the fine-tuned model, or to the student where none was fine-tuned."""
    if training.arm != REINFORCED:
        return None
    start = FINE_TUNED if FINE_TUNED in training.first.scores else BASE
    return _change([(run, start, run, REINFORCED) for run in training.runs.values()], benchmark)


def by_student(training: Training, change: Change) -> Change | None:
    """Return a change with each student, not each seed, taken as one value; None where each seed has its own student.

    `change` has a value for each run of the training, in their order.
    """
    values: dict[str, list[float]] = {}
    for run, points in zip(training.runs.values(), change.per_seed, strict=True):
        values.setdefault(run.student, []).append(points)
    if not 1 < len(values) < len(training.runs):
        return None
    return student_t([sum(each) / len(each) for each in values.values()])


def pool_beside(training: Training, every: Sequence[Training]) -> Training | None:
    """Return the model trained on as much of the pool in as many steps: all else that varies is the same."""
    return next((each for each in beside(training, every) if each.recipe == "pool"), None)


def beside(training: Training, every: Sequence[Training]) -> list[Training]:
    """Return the trainings that ended with the same step on other sets, where all else that varies is the same.

    A recipe that the sweep trains in one way has no other, and settings of its own, such as levels, are a part of it;
    of one that it trains in several ways, those count that share the most with the training.
    """
    found = [other for other in every if _is_beside(other, training, every)]
    shared = [len(_others(each.first) & _others(training.first)) for each in found]
    most: dict[str, int] = {}
    for each, count in zip(found, shared, strict=True):
        most[each.recipe] = max(count, most.get(each.recipe, 0))
    return [each for each, count in zip(found, shared, strict=True) if count == most[each.recipe]]


def _is_beside(other: Training, own: Training, every: Sequence[Training]) -> bool:
    ended_alike = other.arm == own.arm and (FINE_TUNED in other.first.scores) == (FINE_TUNED in own.first.scores)
    return ended_alike and _is_as_large(other, own) and _shares_the_rest(other, own, every)


def _is_as_large(other: Training, own: Training) -> bool:
    """Tell whether two had as many pairs or, in a comparison at equal tokens, as many tokens on average."""
    seeds = own.runs.keys() & other.runs.keys()
    pairs, own_pairs = (sum(each.runs[seed].pairs for seed in seeds) for each in (other, own))
    tokens, own_tokens = (sum(each.runs[seed].fine_tuning_tokens or 0 for seed in seeds) for each in (other, own))
    return math.isclose(pairs, own_pairs, rel_tol=SAME_SIZE) or (
        bool(own_tokens) and math.isclose(tokens, own_tokens, rel_tol=SAME_SIZE)
    )


def _shares_the_rest(other: Training, own: Training, every: Sequence[Training]) -> bool:
    """Tell whether two differ in nothing but what is trained on and settings that belong to their recipes."""
    values, own_values = other.first.varies, own.first.varies
    return all(
        value == own_values.get(key)
        or (_is_of_the_recipe(key, other, every) and (key not in own_values or _is_of_the_recipe(key, own, every)))
        for key, value in values.items()
        if key not in (PAIRS, *WHAT_IS_TRAINED)
    )


def _is_of_the_recipe(key: str, training: Training, every: Sequence[Training]) -> bool:
    """Tell whether the sweep has one value of a setting for all trainings in the steps of this one."""
    alike = [each for each in every if _steps(each.first) == _steps(training.first)]
    return len({each.first.varies.get(key) for each in alike}) == 1


def _others(result: Result) -> set[tuple[str, str]]:
    return {(key, value) for key, value in result.varies.items() if key not in WHAT_IS_TRAINED}


def best_baseline(training: Training, every: Sequence[Training], benchmark: str) -> Training | None:
    """Return the model beside a training with the highest mean accuracy whose recipe targets no missing skill.

    It has all the seeds of the training, and the mean is over those.
    """
    seeds = training.runs.keys()

    def accuracy(each: Training) -> float:
        return each._replace(runs={seed: each.runs[seed] for seed in seeds}).accuracy(benchmark)

    return max((each for each in baselines(training, every) if seeds <= each.runs.keys()), key=accuracy, default=None)


def baselines(training: Training, every: Sequence[Training]) -> list[Training]:
    """Return the models beside a training whose recipes target no missing skill, those without all its seeds too."""
    return [each for each in beside(training, every) if not each.is_targeted]


def _change(pairs: Sequence[tuple[Result, str, Result, str]], benchmark: str) -> Change:
    scores = [(a.scores[arm][benchmark], b.scores[other][benchmark]) for a, arm, b, other in pairs]
    asked = {run.questions[benchmark] for before, _, after, _ in pairs for run in (before, after)}
    if len(asked) == 1:
        found = _same_questions(tuple((tuple(before), tuple(after)) for before, after in scores))
    else:
        # Each seed has questions of its own, such as those of its student's own mix.
        hashes = [(before.questions[benchmark], after.questions[benchmark]) for before, _, after, _ in pairs]
        found = _own_questions(scores, hashes)
    if found is None or any(map(math.isnan, found.per_seed)):
        arms = dict.fromkeys(
            f"{arm} of {run.name}" for a, one, b, other in pairs for run, arm in ((a, one), (b, other))
        )
        raise UserError(
            f"{benchmark}: no question is scored by all of {', '.join(arms)}; grade them again, or take files away"
        )
    return found


# Tables, verdicts and pictures ask for the same changes, and one of 5 seeds with 4,000 questions takes half a second.
@lru_cache(maxsize=256)
def _same_questions(scores: tuple[tuple[Sequence[float | None], Sequence[float | None]], ...]) -> Change | None:
    found = over_seeds(scores, resamples=RESAMPLES, with_p=False)
    if found.difference is None:
        return None
    low, high = (None if bound is None else 100 * bound for bound in (found.low, found.high))
    return Change(100 * found.difference, low, high, [100 * each for each in found.per_seed])


def student_t(per_seed: Sequence[float]) -> Change:
    """Return the mean of the seeds' changes with the bounds of Student's t; without bounds for one seed."""
    import numpy

    if len(per_seed) < 2:
        return Change(per_seed[0], None, None, list(per_seed))
    found = by_student_t(numpy.array(per_seed)[:, None] / 100)
    mean, low, high = (100 * float(each) for each in found[1:4] if each is not None)
    return Change(mean, low, high, list(per_seed))


def _own_questions(scores: Sequence[tuple[Scores, Scores]], asked: Sequence[tuple[str, str]]) -> Change:
    """Return the mean change of seeds that were not all asked the same; `asked` are each seed's hashes of questions.

    The bounds are the wider of Student's t over the seeds and what the questions alone leave open: seeds that agree by
    chance prove nothing about questions that were not asked. Seeds that share a hash share their questions' luck.
    """
    per_seed, luck = list[float](), dict[str, list[float]]()
    for (before, after), (first, second) in zip(scores, asked, strict=True):
        is_paired = first == second
        sides = [(second, _differences(before, after))] if is_paired else [(first, _negative(before)), (second, after)]
        per_seed.append(sum(_mean(known(side)) for _, side in sides))
        for questions, side in sides:
            others = luck.get(questions, [0.0] * len(side))
            luck[questions] = [sum(two) for two in zip(others, _luck(side), strict=True)]
    found = student_t(per_seed)
    if found.low is None or found.high is None:
        return found
    error = math.hypot(*itertools.chain.from_iterable(luck.values())) / len(per_seed)
    reach = 100 * NormalDist().inv_cdf(0.975) * error
    return found._replace(low=min(found.low, found.points - reach), high=max(found.high, found.points + reach))


def _differences(before: Scores, after: Scores) -> Scores:
    """Return the change of each question; of paired questions those count that are scored both before and after."""
    return [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]


def _negative(scores: Scores) -> Scores:
    return [None if score is None else -score for score in scores]


def _luck(scores: Scores) -> list[float]:
    """Return what each question has in the standard error of the mean: squared, they add up to the squared error."""
    count, mean = len(list(known(scores))), _mean(known(scores)) / 100
    if count == 1:
        # Of one question alone nobody knows how others would have come out.
        return [0.0 if score is None else math.inf for score in scores]
    return [0.0 if score is None else (score - mean) / math.sqrt(count * (count - 1)) for score in scores]


def _mean(scores: Iterable[float]) -> float:
    """Return the mean in percent; not a number where there are none."""
    found = list(scores)
    return 100 * sum(found) / len(found) if found else math.nan


def known(scores: Scores) -> Iterator[float]:
    """Yield the scores that there are."""
    return (score for score in scores if score is not None)
