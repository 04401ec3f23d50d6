"""Questions that the embedded task makes for reinforcement learning: how long, of which skills, none held out."""

from __future__ import annotations

import json
from collections import Counter
from math import sqrt
from pathlib import Path

import pytest
from rich.console import Console

from stat_train.compose import read_settings
from stat_train.pipeline import load
from stat_train.plan.training import training_of
from stat_train.records import Dropped, Question
from stat_train.reinforcing import rl_questions
from stat_train.run import Run
from stat_train.store import Artifact, read_records
from stat_train.tasks.arithmetic.checker import score_steps
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.arithmetic.world import Chain, longer_chains
from stat_train.tasks.steps import split_steps
from stat_train.train_settings import GrpoTraining

SMALL = ["task.pool=200", "task.validation=30", "task.benchmark=30", "rl=grpo", "rl.prompts=longer_chains"]


@pytest.mark.parametrize(
    ("count", "lengths"),
    [
        (17, {1: 1, 2: 2, 3: 6, 4: 4, 5: 4}),
        (1700, {1: 100, 2: 200, 3: 600, 4: 400, 5: 400}),
        # 100/17 of them end at 5.9, 17.6, 52.9, 76.5 and 100 of 100.
        (100, {1: 6, 2: 12, 3: 35, 4: 23, 5: 24}),
    ],
)
def test_each_length_has_its_share(count: int, lengths: dict[int, int]) -> None:
    made = longer_chains("tests", count)
    assert Counter(len(Chain.parse(each.source or "").steps) for each in made) == lengths


def test_they_are_right_different_and_of_the_pools_split_and_every_skill_is_as_likely() -> None:
    """59/17 steps on average over 18 skills. 4 standard deviations: p < 1e-3 for all."""
    made, share = longer_chains("tests", 1700), 59 / 17 / 18
    assert len({each.question for each in made}) == len({each.id for each in made}) == 1700
    assert {Chain.parse(each.source or "").split() for each in made} == {"pool"}
    assert all(all(score_steps(each, split_steps(each.solution or ""))) for each in made)
    counts = Counter(skill for each in made for skill in each.skills or [])
    most = max(abs(counts[name] - 1700 * share) for name in SKILL_NAMES)
    assert most < 4 * sqrt(1700 * share * (1 - share))


def test_the_seed_decides_which() -> None:
    first, again, other = ({each.question for each in longer_chains(seed, 170)} for seed in ("0/rl", "0/rl", "1/rl"))
    # Short questions may come again.
    assert first == again and len(first & other) < 17


def asked(folder: Path, *more: str) -> Artifact:
    """Return the questions of a run; of skill map, profile and training set nothing is read for them."""
    places = [f"run_dir={folder}/run", f"cache_dir={folder}/cache"]
    with Run(read_settings([*SMALL, *places, *more]), [], Console(quiet=True)) as run:
        run.folder.open("")
        assert isinstance(run.config.rl, GrpoTraining)
        questions = load(run)
        return rl_questions(run, run.config.rl, *[questions] * 5)


def test_a_run_asks_as_many_as_are_wanted_less_the_copies_of_held_out_ones(tmp_path: Path) -> None:
    """Of 96 questions two are held out by a file; the other 94 are asked in an order of the seed's."""
    usual = asked(tmp_path, "rl.questions=96")
    found = usual.records("questions.jsonl", Question)
    made = {each.id: each for each in longer_chains("0/rl", 96)}
    assert {each.id: each for each in found} == made and [each.id for each in found] != list(made)
    held_out = [found[3], found[7]]
    file = tmp_path / "held_out.jsonl"
    file.write_text("".join(json.dumps({"id": row.id, "question": row.question}) + "\n" for row in held_out))
    fewer = asked(tmp_path, "rl.questions=96", f"decontaminate.against=[{file}]")
    kept = {each.id for each in fewer.records("questions.jsonl", Question)}
    assert kept == set(made) - {each.id for each in held_out}
    dropped = read_records(fewer.folder / "dropped.jsonl", Dropped)
    assert sorted((row.id, row.reason) for row in dropped) == sorted((row.id, "leak, equal") for row in held_out)
    assert [fewer.counts()["question"][name] for name in ("total", "kept")] == [96, 94]
    other = asked(tmp_path, "rl.questions=96", "seed=1").records("questions.jsonl", Question)
    assert len({each.question for each in other} & {each.question for each in found}) < 10


def test_the_plan_counts_them() -> None:
    """480 questions are 10 batches of 48 with 8 answers each."""
    given = ["train=none", "rl=grpo", "rl.prompts=longer_chains", "rl.questions=480"]
    (found,) = training_of(read_settings(given).config)
    assert (found.numbers["questions"], found.numbers["completions"], found.numbers["steps"]) == (480, 10 * 48 * 8, 10)
