"""Every recipe from the command line: the number of pairs asked for, the same bytes again, counts that add up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset
from scipy.stats import chisquare

from stat_train.cli import main
from stat_train.compose import choices
from stat_train.counts import Count, add_up
from stat_train.errors import StatTrainError
from stat_train.records import Diagnosis, Dropped, Question, QuestionSkills, SkillProfile, TrainingExample
from stat_train.store import read_records
from stat_train.tasks.load import open_pool

RECIPES = choices()["data_recipe"]
SMALL = ["task.pool=3000", "task.validation=200", "task.benchmark=50", "data_recipe.pairs=150"]
MORE = {"hard": ["data_recipe.levels=[2,3]"]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache in which all recipes share what comes before them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def other_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another one: questions, answers and diagnoses are made anew in it."""
    return tmp_path_factory.mktemp("other")


def _run(folder: Path, cache: Path, recipe: str, *more: str) -> Path:
    given = [f"data_recipe={recipe}", *SMALL, *MORE.get(recipe, []), *more, "until=curate"]
    assert main([*given, f"cache_dir={cache}", f"run_dir={folder}"]) == 0
    return folder


def _rows(run: Path) -> list[TrainingExample]:
    return read_records(run / "training_set.jsonl", TrainingExample)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_exactly_what_is_asked_and_the_same_bytes_again(
    recipe: str, cache: Path, other_cache: Path, tmp_path: Path
) -> None:
    first, again = _run(tmp_path / "first", cache, recipe), _run(tmp_path / "again", other_cache, recipe)
    assert len(_rows(first)) == 150
    assert {row.recipe for row in _rows(first)} == {recipe}
    for name in ("training_set.jsonl", "dropped.jsonl", "curation.json"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name
    other = _run(tmp_path / "other", cache, recipe, "seed=1")
    assert (first / "training_set.jsonl").read_bytes() != (other / "training_set.jsonl").read_bytes()


@pytest.mark.parametrize("recipe", RECIPES)
def test_counts_add_up_for_every_stage(recipe: str, cache: Path, tmp_path: Path) -> None:
    """What the manifest says was left out is in `dropped.jsonl`, item by item; what was kept is in the files."""
    run = _run(tmp_path / "run", cache, recipe)
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    counts = {(stage["stage"], item): found for stage in stages for item, found in stage["counts"].items()}
    assert {name for name, _ in counts} == {stage["stage"] for stage in stages}
    for found in counts.values():
        assert found["total"] == found["kept"] + sum(found["dropped"].values())
    left_out = Counter((row.stage, row.item, row.reason) for row in read_records(run / "dropped.jsonl", Dropped))
    assert left_out == {
        (stage, item, reason): count
        for (stage, item), found in counts.items()
        for reason, count in found["dropped"].items()
    }
    pool = len(open_pool(run / "questions"))
    assert counts["questions", "question"]["kept"] == pool + 200 + 50
    assert counts["label", "question"]["kept"] == len(read_records(run / "skill_map.jsonl", QuestionSkills))
    assert counts["diagnose", "diagnosis"]["total"] == len(read_records(run / "diagnoses.jsonl", Diagnosis))
    assert counts["decontaminate", "pool question"]["total"] == pool
    assert 150 in {found["kept"] for (stage, _), found in counts.items() if stage == "curate"}


def test_items_that_do_not_add_up_are_an_error() -> None:
    dropped = [Dropped(stage="s", id="1", reason="r", item="row")]
    assert add_up("s", {"row": Count(3, 2)}, dropped) == {"row": {"total": 3, "kept": 2, "dropped": {"r": 1}}}
    for counts in ({"row": Count(3, 3)}, {"row": Count(3, 1)}, {}, {"row": Count(3, 2), "call": Count(1, 0)}):
        with pytest.raises(StatTrainError, match="does not add up"):
            add_up("s", counts, dropped)


def test_stat_sel_draws_in_proportion_to_the_profile_and_pool_to_the_pool(cache: Path, tmp_path: Path) -> None:
    """A skill that fewer than five pool questions carry is drawn as often as those allow.

    A row of `stat_sel` is one draw of a fixed number for each skill, so the histogram is nearer to its expectation than
    chance would be; for `pool`, rows are drawn without replacement, of 3,000 each one time in twenty.
    """
    run = _run(tmp_path / "sel", cache, "stat_sel", "data_recipe.pairs=1500", "data_recipe.answers=own")
    profile = SkillProfile.model_validate_json((run / "profile.json").read_text())
    skills = [skill for found in _pool_skills(run) for skill in found]
    available = Counter(skills)
    expected = {gap.skill: gap.missing * min(5, available[gap.skill]) for gap in profile.skills if gap.missing}
    drawn = Counter(row.origin.skill for row in _rows(run))
    scale = 1500 / sum(expected.values())
    assert set(drawn) == set(expected)
    assert chisquare([drawn[s] for s in expected], [count * scale for count in expected.values()]).pvalue > 0.01
    pool = _run(tmp_path / "pool", cache, "pool")
    carried = Counter(skill for row in _rows(pool) for skill in row.skills)
    scale = carried.total() / len(skills)
    assert chisquare([carried[s] for s in available], [count * scale for count in available.values()]).pvalue > 0.01


def _pool_skills(run: Path) -> list[list[str]]:
    pool: Dataset = open_pool(run / "questions")
    skills = {row.id: row.skills for row in read_records(run / "skill_map.jsonl", QuestionSkills)}
    return [skills[id] for id in pool["id"]]


def test_no_row_is_a_held_out_question(cache: Path, tmp_path: Path) -> None:
    """Neither of those that a teacher wrote; what was dropped names the question that it is like."""
    run = _run(tmp_path / "syn", cache, "stat_syn")
    held_out = [question for place in _held_out_files(run) for question in read_records(place, Question)]
    texts = {" ".join(question.question.casefold().split()) for question in held_out}
    assert not texts & {" ".join(row.question.casefold().split()) for row in _rows(run)}
    hits = [row for row in read_records(run / "dropped.jsonl", Dropped) if row.reason.startswith("template twin")]
    assert hits, "questions of few templates: some are twins"
    by_id = {question.id: question.question for question in held_out}
    for row in hits:
        place, _, text = row.detail.partition(": ")
        assert by_id[place.split()[-1]] == text


def _held_out_files(run: Path) -> list[Path]:
    return [run / "questions" / "validation.jsonl", *sorted((run / "questions" / "benchmarks").iterdir())]
