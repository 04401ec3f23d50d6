"""An invented run of the size of MATH: 118 skills, 5,000 questions, 10 benchmarks, two trainings, hostile answers."""

from __future__ import annotations

import math
from functools import cache
from random import Random
from typing import Any

from stat_train.evaluation.curves import Training, curves
from stat_train.evaluation.report import Findings, report_numbers
from stat_train.evaluation.report_samples import Shown, chosen, diagnosed, samples
from stat_train.evaluation.scores import Scored
from stat_train.evaluation.summary import evaluation
from stat_train.records import (
    Answer,
    Diagnosis,
    Origin,
    Question,
    SkillCount,
    SkillGap,
    SkillPair,
    SkillProfile,
    SubjectGap,
    TrainingExample,
    Verdict,
)

HOSTILE = '<script>window.hit = 1</script>"><img src=x onerror="window.hit = 1"> \'<svg onload=alert(1)>'
SKILLS, QUESTIONS = 118, 5000
SUBJECTS = ("algebra", "counting and probability", "geometry", "intermediate algebra", "number theory", "prealgebra")
BENCHMARKS = {"math": QUESTIONS, "gsm8k": 1319, "amc23": 40, "aime24": 30, "aime25": 30, "math_perturb_simple": 279}
BENCHMARKS |= {"math_perturb_hard": 279, "math2": 210, "math_difficult": 1200, "hellaswag": 1000}
MEASURES = {"amc23": ("average@64", 64), "aime24": ("pass@64", 64), "aime25": ("pass@64", 64), "hellaswag": ("acc", 1)}
NAMES = [
    f"{word}_with_{other}_{i}"
    for i in range(SKILLS)
    for word, other in [
        (
            ("factoring", "completing_the_square", "modular_arithmetic", "similar_triangles")[i % 4],
            ("integers", "polynomials_and_rational_functions", "care")[i % 3],
        )
    ]
]


def _question(random: Random, benchmark: str, index: int) -> Question:
    skills = sorted({NAMES[min(SKILLS - 1, int(random.expovariate(0.05)))] for _ in range(random.randint(1, 4))})
    return Question(
        id=f"{benchmark}-{index:05}",
        question=f"What is the remainder of {index} ** 2 divided by 7? " * random.choice((1, 1, 12)),
        answer=str(index**2 % 7),
        subject=SUBJECTS[index % len(SUBJECTS)] if benchmark == "math" else None,
        level=None,
        skills=skills if benchmark == "math" else None,
    )


@cache
def large_scores() -> tuple[dict[str, list[Question]], dict[str, dict[str, Scored]]]:
    """Return the questions of each benchmark, and what three arms score on them: about 0.45, 0.55 and 0.6."""
    random = Random(0)
    asked = {name: [_question(random, name, i) for i in range(count)] for name, count in BENCHMARKS.items()}
    arms: dict[str, dict[str, Scored]] = {"base": {}, "sft": {}, "rl": {}}
    for name, questions in asked.items():
        measure, count = MEASURES.get(name, ("accuracy", 1))
        shared = measure.startswith("average")
        worse = name == "gsm8k"
        for arm, level in (("base", 0.45), ("sft", 0.4 if worse else 0.55), ("rl", 0.38 if worse else 0.6)):
            shares = {
                q.id: round(random.betavariate(1, 1), 3) if shared else float(random.random() < level)
                for q in questions
            }
            scores: dict[str, float | None] = dict(shares)
            scores[questions[0].id] = None
            nats = {q.id: -random.uniform(0.5, 2 - level) for q in questions} if name == "aime24" else {}
            arms[arm][name] = Scored(questions, scores, measure, count, 12, nats)
    return asked, arms


def _gap(index: int) -> SkillGap:
    missing, exposed = max(1, 180 - index * 2), 200 + index
    rate = missing / exposed
    low, high = rate * 0.8, min(1.0, rate * 1.2)
    bounds = {"low": low, "high": high, "posterior_low": low, "posterior_high": high}
    few = index > 100
    return SkillGap(
        skill=NAMES[index], missing=missing, exposed=exposed, rate=rate, posterior_mean=rate, too_few=few, **bounds
    )


def _profile() -> SkillProfile:
    counts = [SkillCount(skill=NAMES[i], missing=9 - i, exposed=20) for i in range(3)]
    subjects = [
        SubjectGap(subject=name, questions=160, difficult=90 - i, rate=(90 - i) / 160, low=0.3, high=0.7, skills=counts)
        for i, name in enumerate(SUBJECTS)
    ]
    pairs = [SkillPair(first=NAMES[i], second=NAMES[i + 1], together=9 - i, expected=1.5, p=0.01) for i in range(8)]
    gaps = [_gap(index) for index in range(SKILLS)]
    return SkillProfile(
        student="local", task="math", questions=1000, difficult=540, skills=gaps, subjects=subjects, together=pairs
    )


def _steps(kind: str, random: Random) -> list[dict[str, Any]]:
    if kind == "sft":
        return [
            {
                "step": i + 1,
                "loss": 1.2 * math.exp(-i / 900) + random.gauss(0.3, 0.04),
                "learning_rate": 2e-5 * (1 - i / 3564),
            }
            for i in range(3564)
        ]
    return [
        {
            "step": i + 1,
            "reward": 0.4 + 0.2 * i / 120 + random.gauss(0, 0.02),
            "kl_to_start": 0.0004 * i,
            "answer_tokens": 310 + random.gauss(0, 9),
            "same_reward_share": 0.5 + 0.1 * random.random(),
        }
        for i in range(120)
    ]


def _samples(asked: dict[str, list[Question]], arms: dict[str, dict[str, Scored]]) -> dict[str, Any]:
    def verdicts(arm: str) -> dict[str, Verdict]:
        words: dict[float | None, Verdict] = {1.0: "correct", 0.0: "wrong", None: "unscored"}
        return {id: words[score] for id, score in arms[arm]["math"].scores.items()}

    before, after = verdicts("base"), verdicts("rl")
    text = "We square it.\n\nThe answer is 4. " + HOSTILE
    shown = [{id: Shown(verdict, text * 9, HOSTILE) for id, verdict in found.items()} for found in (before, after)]
    return samples("math", chosen(before, after), {q.id: q for q in asked["math"]}, *shown)


def _diagnosed() -> dict[str, Any] | None:
    questions = {f"validation-{i}": Question(id=f"validation-{i}", question=HOSTILE, answer="4") for i in range(5)}
    answers = {
        (id, 0): Answer(question_id=id, attempt=0, text=HOSTILE, finish_reason="stop", output_tokens=9, prompt_hash="a")
        for id in questions
    }
    diagnoses = [
        Diagnosis(question_id=id, attempt=0, judgement="wrong", missing_skills=NAMES[:2], explanation=HOSTILE)
        for id in questions
    ]
    rows = [
        TrainingExample(
            id=f"stat_sel-{i:05}",
            messages=[],
            question=HOSTILE,
            answer=HOSTILE * 20,
            skills=NAMES[:1],
            recipe="stat_sel",
            origin=Origin(question_id=f"validation-{i % 5}", skill=NAMES[0], seed_ids=["pool-1"]),
        )
        for i in range(25)
    ]
    return diagnosed(questions, answers, diagnoses, rows)


@cache
def large_numbers() -> dict[str, Any]:
    """Return the content of `report.json` of that run."""
    asked, arms = large_scores()
    random = Random(1)
    trainings = [
        Training("fine-tuning", f"rate {rate:g}", rate == 2e-5, _steps("sft", random)) for rate in (8e-5, 2e-5, 5e-4)
    ]
    trainings.append(Training("reinforcement learning", "rl", True, _steps("rl", random)))
    paid = {"calls": 17078, "tokens": 11_400_000, "usd": 4.31, "at_most": True}
    costs = {"seconds": 23_400.0, "training_seconds": 12_100.0, "processes": 8, "device": "NVIDIA H100 80GB HBM3"}
    costs |= {"fine_tuning_tokens": 9_800_000, "all_fine_tuning_tokens": 29_400_000, "paid": paid}
    costs |= {"reinforcement_tokens": 61_000_000, "device_seconds": {"rl-1": {"gpu": 96_800.0}}}
    costs |= {"device_seconds_in_all": {"gpu": 96_800.0}}
    places = {"validation": 1000, **BENCHMARKS}
    clean = {"pool_questions_checked": 7500, "new_questions_checked": 0, "against": places, "new_question_hits": {}}
    clean |= {"thresholds": {"shingle_words": 13, "leak_percent": 90}, "template_twins": "flag"}
    clean |= {"pool_hits": {"template twin, equal but for numbers": 253}}
    candidates = [
        {"learning_rate": rate, "step": 3564, "checkpoint": "checkpoint", "chosen": rate == 2e-5, "n": 1000}
        | {"correct": 450, "unscored": 0, "accuracy": 0.45, "low": 0.42, "high": 0.48}
        for rate in (2e-5, 8e-5, 5e-4)
    ]
    return report_numbers(
        config=_config(),
        profile=_profile(),
        curation={
            "pairs_carrying_skill": {name: 900 - 7 * i for i, name in enumerate(NAMES)},
            "decontamination": clean,
        },
        evaluation=_with_links(evaluation(arms)),
        dropped={"label": {"no skill label": 948}, "curate": {"rewrite ends in another answer": 61}},
        stages=_stages(),
        findings=Findings(
            choice={"questions": "validation", "candidates": candidates},
            curves=curves(trainings),
            samples=_samples(asked, arms),
            diagnosed=_diagnosed(),
            costs=costs,
            versions={"python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0"},
        ),
    )


def _with_links(found: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation that says how pairs of skills fare, as `weakest_link` does: twenty fall behind."""
    names = ("weaker", "stronger", "n", "accuracy", "weaker_accuracy", "stronger_accuracy", "link", "gap", "place")
    pairs = [
        dict(zip(names, (NAMES[i], NAMES[i + 1], 40, 0.3, 0.4, 0.5, -0.1, 0.1, "below_both"), strict=True))
        for i in range(20)
    ]
    link = {"pairs": 40, "below_both": 20, "nearer_the_weaker": 10, "nearer_the_stronger": 6, "above_both": 4}
    link |= {"follows_the_weaker": 0.75, "link": {"mean": -0.052, "low": -0.08, "high": -0.024}, "gap": 0.03}
    link |= {"correlation_with_weaker": 0.8, "correlation_with_stronger": 0.4, "list": pairs}
    link |= {"left_out": {"too_few_questions": 900, "skill_seldom_alone": 12}}
    for arm in found["arms"].values():
        arm["math"]["weakest_link"] = link
    return found


def _stages() -> list[dict[str, Any]]:
    names = ["questions", "label", "answer", "grade", "diagnose", "profile", "curate", "train", "train", "train", "rl"]
    names += ["benchmark"] * 30 + ["evaluate"]
    return [
        {"name": name, "hash": f"{i:016x}", "seconds": 100.0 * i, "counts": {"question": {"total": 5000, "kept": 4990}}}
        | (
            {"processes": 8, "device": "NVIDIA H100 80GB HBM3"}
            if name == "train"
            else {"processes": None, "device": None}
        )
        for i, name in enumerate(names)
    ]


def _config() -> dict[str, Any]:
    return {
        "run_dir": "runs/math",
        "seed": 0,
        "task": {"name": "math", "pool": "a/rather/long/path/to/the/pool/of/questions/train.jsonl"},
        "student": {"name": "local", "model": HOSTILE, "revision": None},
        "data_recipe": {"name": "stat_sel", "pairs": 9500},
        "train": {"name": "sft", "learning_rate": 2e-5},
        "evaluate": {"temperature": 0.1, "prompting": None},
        "rl": {"name": "grpo"},
        "deepspeed": {"name": "none", "config": {}},
    }
