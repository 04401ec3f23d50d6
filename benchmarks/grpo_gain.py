"""What reinforcement learning gains the shipped student, over several seeds, on questions that it was not trained on.

    python benchmarks/grpo_gain.py [--seeds 0 1 2] [--folder runs/grpo_gain] [--quick] [rl.KEY=VALUE ...]

The tiny student was fine-tuned on chains of 1 to 3 steps. It is trained as conf/rl/grpo.yaml sets it, on chains of 1 to
5 steps, MIX of each length, through the stage that a run uses. Held-out questions are of chains that no
training question has. Before and after:

    sampled   16 answers at temperature 1 to questions of the training mix: mean reward, and pass@8 (unbiased)
    greedy    one answer to questions of each length; those of 4 and 5 steps are longer than any of the fine-tuning

The rate, the number of updates and MIX were chosen by looking at other held-out questions than these.

A finished seed's numbers are in --folder and are not made again. Writes benchmarks/results/grpo_gain.md and .json.
Cost: about ten minutes of one core a seed; --quick takes two, proves nothing and writes to --folder alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path
from random import Random
from typing import Any

import numpy
from scipy.stats import bootstrap, t

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stat_train import stage  # noqa: E402
from stat_train.compose import read_settings  # noqa: E402
from stat_train.config import Config  # noqa: E402
from stat_train.models.generator import Request, Sampling  # noqa: E402
from stat_train.records import Question  # noqa: E402
from stat_train.store import lease, write_json, write_records, write_text  # noqa: E402
from stat_train.tasks.arithmetic import world  # noqa: E402
from stat_train.tasks.arithmetic.mixes import MIXES  # noqa: E402
from stat_train.tasks.graders import PlainGrader  # noqa: E402
from stat_train.tasks.prompts import messages  # noqa: E402
from stat_train.training.job import rl_job  # noqa: E402
from stat_train.training.world import World  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MIX = world.LONGER_CHAINS
SHORT, LONG = (1, 2, 3), (4, 5)
SAMPLES, K = 16, 8
GREEDY_QUESTIONS, SAMPLED_QUESTIONS = 500, 500
BATCH = 128
Counts = dict[str, list[int]]


def questions(random: Random, split: world.Split, name: str, steps: int, count: int) -> list[Question]:
    """Return questions of one length with different texts, skills as often as in the student's own training."""
    family = world.Family(steps=(steps, steps), weights=MIXES["a"])
    found: dict[str, Question] = {}
    while len(found) < count:
        made = world.make_question(random, family, f"{name}-{steps}-{len(found):04d}", split)
        found.setdefault(made.question, made)
    return list(found.values())


def mixed(seed: str, split: world.Split, name: str, count: int) -> list[Question]:
    """Return questions of the training mix."""
    random, total = Random(seed), sum(MIX.values())
    return [
        question
        for steps, weight in MIX.items()
        for question in questions(random, split, name, steps, round(count * weight / total))
    ]


def held_out(share: float) -> dict[str, list[Question]]:
    """Return the held-out questions: of each length, and of the training mix."""
    greedy = {
        str(steps): questions(
            Random(f"fresh {steps} steps"), "benchmark", "greedy", steps, int(GREEDY_QUESTIONS * share)
        )
        for steps in MIX
    }
    return greedy | {"sampled": mixed("fresh mix", "benchmark", "sampled", int(SAMPLED_QUESTIONS * share))}


def train(folder: Path, seed: int, config: Config, asked: dict[str, list[Question]], count: int) -> dict[str, float]:
    """Train the student in a stage of its own; return how many seconds it took, and how many of a core's."""
    trained_on = mixed(f"train {seed}", "pool", f"train-{seed}", count)
    texts = {question.question for every in asked.values() for question in every}
    assert not texts & {question.question for question in trained_on}, "a held-out question was trained on"
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "questions.jsonl", trained_on)
    job = rl_job(config.model_copy(update={"seed": seed}), folder, folder / "questions.jsonl", "tiny")
    began, used = time.monotonic(), _seconds_of_children()
    with lease(folder.with_suffix(".lease")):
        stage.train("rl", job, folder, World(1, 1), config.deepspeed)
    return {"seconds": time.monotonic() - began, "core_seconds": _seconds_of_children() - used}


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def right_answers(model: str, config: Config, asked: dict[str, list[Question]]) -> Counts:
    """Return how many answers to each held-out question are right: of one greedy, or of the sampled ones."""
    from torch import manual_seed

    from stat_train.models.transformers import TransformersGenerator

    generator = TransformersGenerator(model, None, config.student.prompt, BATCH)
    found = {}
    for name, every in asked.items():
        manual_seed(0)
        samples, temperature = (SAMPLES, 1.0) if name == "sampled" else (1, 0.0)
        sampling = Sampling(temperature, config.rl.max_new_tokens)
        prompts = [(question, messages(config.student.prompt, question.question)) for question in every]
        requests = [Request(q.id, prompt, sampling, sample) for q, prompt in prompts for sample in range(samples)]
        found[name] = _right(every, list(generator.generate(requests)))
    return found


def _right(every: list[Question], completions: list[Any]) -> list[int]:
    from stat_train.training.rewards import rewards

    by_id = {question.id: question for question in every}
    grades = rewards([by_id[one.id] for one in completions], [one.text for one in completions], PlainGrader("exact"))
    counts = dict.fromkeys(by_id, 0)
    for one, reward in zip(completions, grades, strict=True):
        counts[one.id] += int(reward or 0)
    return list(counts.values())


# -- the table --------------------------------------------------------------------------------------------------------


def measures(counts: Counts) -> dict[str, numpy.ndarray]:
    """Return each measure, question by question, in points."""
    right = numpy.array(counts["sampled"])
    missed = numpy.array([comb(SAMPLES - int(count), K) / comb(SAMPLES, K) for count in right])
    lengths = {steps: 100.0 * numpy.array(counts[str(steps)]) for steps in MIX}
    return {
        "mean reward, sampled": 100.0 * right / SAMPLES,
        f"pass@{K}, sampled": 100.0 * (1 - missed),
        "greedy, 4 and 5 steps": numpy.concatenate([lengths[steps] for steps in LONG]),
        "greedy, 1 to 3 steps": numpy.concatenate([lengths[steps] for steps in SHORT]),
        **{f"greedy, {steps} steps": values for steps, values in lengths.items()},
    }


def rows(base: Counts, seeds: Sequence[Counts]) -> Iterator[dict[str, Any]]:
    """Yield each measure before and after, what it gained, and how sure that is over questions and over seeds."""
    before, after = measures(base), [measures(counts) for counts in seeds]
    for name, start in before.items():
        gains = numpy.array([one[name] - start for one in after])
        of_questions = gains.mean(axis=0)
        yield {
            "measure": name,
            "before": float(start.mean()),
            "after": float(numpy.mean([one[name].mean() for one in after])),
            "gains": [float(gain.mean()) for gain in gains],
            "gain": float(of_questions.mean()),
            "over_questions": _over_questions(of_questions),
            "over_seeds": _over_seeds(gains.mean(axis=1)),
        }


def _over_questions(gains: numpy.ndarray) -> tuple[float, float]:
    found = bootstrap((gains,), numpy.mean, n_resamples=4000, batch=200, method="percentile", rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _over_seeds(gains: numpy.ndarray) -> tuple[float, float] | None:
    if len(gains) < 2:
        return None
    half = t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return float(gains.mean() - half), float(gains.mean() + half)


def markdown(table: list[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return the rows as a Markdown table, in points."""
    head = ["", "before", "after", *(f"seed {seed}" for seed in seeds), "mean gain", "95 %, questions", "95 %, seeds"]
    lines = [head, ["---"] * len(head)]
    for row in table:
        gains = [f"{gain:+.1f}" for gain in (*row["gains"], row["gain"])]
        intervals = [f"{b[0]:+.1f} to {b[1]:+.1f}" if b else "" for b in (row["over_questions"], row["over_seeds"])]
        lines.append([row["measure"], f"{row['before']:.1f}", f"{row['after']:.1f}", *gains, *intervals])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Train and measure each seed that is not done yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/grpo_gain"), help="where the seeds are trained")
    parser.add_argument("--quick", action="store_true", help="few questions and steps: shows that it works")
    parser.add_argument("settings", nargs="*", help="settings of rl in place of those of conf/rl/grpo.yaml")
    given = parser.parse_args()
    config = read_settings(["rl=grpo", *given.settings]).config
    share, count = (0.1, 400) if given.quick else (1.0, config.rl.questions)
    asked = held_out(share)
    given.folder.mkdir(parents=True, exist_ok=True)
    base = _once(given.folder / "base.json", lambda: {"right": right_answers("tiny", config, asked)})
    seeds = [
        _once(given.folder / f"seed{seed}.json", lambda seed=seed: _seed(given.folder, seed, config, asked, count))
        for seed in given.seeds
    ]
    table = list(rows(base["right"], [seed["right"] for seed in seeds]))
    text = markdown(table, given.seeds)
    print(text)
    place = given.folder if given.quick or given.settings else RESULTS
    raw = {"settings": config.rl.model_dump(), "mix": MIX, "rows": table, "base": base, "seeds": seeds}
    # A number a line for each of thousands of questions is nothing to read.
    write_text(place / "grpo_gain.json", json.dumps(raw) + "\n")
    (place / "grpo_gain.md").write_text(opening(seeds, asked) + text + "\n", encoding="utf-8")


def opening(seeds: Sequence[dict[str, Any]], asked: dict[str, list[Question]]) -> str:
    """Return what stands above the table."""
    minutes = ", ".join(f"{seed['core_seconds'] / 60:.0f}" for seed in seeds)
    steps = ", ".join(str(seed["training"]["steps"]) for seed in seeds)
    return (
        "# What reinforcement learning gains the shipped student\n\n"
        "`python benchmarks/grpo_gain.py`: the tiny student (0.7 million parameters, fine-tuned on chains of 1 to 3 "
        "steps), `rl=grpo` on chains of 1 to 5 steps; "
        f"{minutes} minutes of one core a seed ({steps} updates). Held out: {len(asked['sampled'])} questions of the "
        f"training mix with {SAMPLES} answers each at temperature 1, and {len(asked['1'])} of each length answered "
        "greedily; no text of theirs was trained on. All in points; gains are paired by question. The first interval "
        "is a bootstrap over questions of the mean over seeds, the second Student's t over the seeds' means.\n\n"
    )


def _once(file: Path, make: Any) -> dict[str, Any]:
    """Return what a file holds, made first where it is not there."""
    if not file.exists():
        write_json(file, make())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _seed(folder: Path, seed: int, config: Config, asked: dict[str, list[Question]], count: int) -> dict[str, Any]:
    place = folder / f"seed{seed}"
    took = train(place, seed, config, asked, count)
    metrics = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    right = right_answers(str(place / "checkpoint"), config, asked)
    shown = [{key: row.get(key) for key in ("step", "reward", "kl_to_start", "same_reward_share")} for row in metrics]
    training = json.loads((place / "training.json").read_text())
    return {"seed": seed, **took, "training": training, "metrics": shown, "right": right}


if __name__ == "__main__":
    main()
