"""The shipped student is what its card says: small, loadable, with real gaps that come from its training mix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stat_train.models.places import SHIPPED
from stat_train.tasks.arithmetic.mixes import MIXES
from stat_train.tasks.arithmetic.skills import SKILL_NAMES

TINY = SHIPPED["tiny"]
ROW = re.compile(r"^\| (\w+) \| ([\d.]+) % \| ([\d.]+) % \|$", re.MULTILINE)


def card() -> dict[str, tuple[float, float]]:
    """Return skill -> (share of the training mix, accuracy on single-skill questions), both in percent."""
    rows = ROW.findall((TINY / "README.md").read_text(encoding="utf-8"))
    return {skill: (float(share), float(accuracy)) for skill, share, accuracy in rows}


def test_the_card_names_every_skill_with_the_share_of_its_mix() -> None:
    mix = MIXES["a"]
    shares = {skill: round(100 * weight / sum(mix.values()), 1) for skill, weight in mix.items()}
    assert {skill: share for skill, (share, _) in card().items()} == shares
    assert set(shares) == set(SKILL_NAMES)


def test_most_skills_are_strong() -> None:
    accuracies = [accuracy for _, accuracy in card().values()]
    assert sum(accuracy > 80 for accuracy in accuracies) > len(accuracies) / 2


def test_three_skills_are_weak() -> None:
    assert sum(accuracy < 50 for _, accuracy in card().values()) >= 3


def test_rare_and_weak_are_crossed() -> None:
    """A skill is rare below half of an even share; so equal weights per skill are not the same as targeting."""
    rare_share, mean = 50 / len(SKILL_NAMES), sum(accuracy for _, accuracy in card().values()) / len(SKILL_NAMES)
    strong_and_rare = [skill for skill, (share, accuracy) in card().items() if share < rare_share and accuracy > 80]
    weak_and_common = [skill for skill, (share, accuracy) in card().items() if share >= rare_share and accuracy < mean]
    assert len(strong_and_rare) >= 2
    assert len(weak_and_common) >= 2


def test_the_checkpoint_is_small_and_complete() -> None:
    names = {path.name for path in TINY.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert sum(path.stat().st_size for path in Path(TINY).iterdir()) < 4_000_000


@pytest.mark.slow
def test_the_checkpoint_scores_as_its_card_says() -> None:
    """100 questions against the card's 300: two deviations of the difference are at most 11.6 points a skill."""
    pytest.importorskip("torch")
    from stat_train.models.transformers import load_model, load_tokenizer
    from stat_train.training.pretrain import skill_accuracies

    measured = skill_accuracies(load_model("tiny", None).eval(), load_tokenizer("tiny", None), per_skill=100)
    assert {skill: accuracy for skill, (_, accuracy) in card().items()} == pytest.approx(measured, abs=17)
