"""The shipped students are what their cards say: small, loadable, with real gaps that come from their mixes."""

from __future__ import annotations

import re

import pytest

from stat_train.models.places import SHIPPED
from stat_train.tasks.arithmetic.mixes import MIXES
from stat_train.tasks.arithmetic.skills import SKILL_NAMES

# Each has a mix with other rare skills.
MIX_OF = {"tiny": "a", "tiny_b": "b", "tiny_c": "c"}
ROW = re.compile(r"^\| (\w+) \| ([\d.]+) % \| ([\d.]+) % \|$", re.MULTILINE)


pytestmark = pytest.mark.parametrize("name", MIX_OF)


def card(name: str) -> dict[str, tuple[float, float]]:
    """Return skill -> (share of the training mix, accuracy on single-skill questions), both in percent."""
    rows = ROW.findall((SHIPPED[name] / "README.md").read_text(encoding="utf-8"))
    return {skill: (float(share), float(accuracy)) for skill, share, accuracy in rows}


def test_the_card_names_every_skill_with_the_share_of_its_mix(name: str) -> None:
    mix = MIXES[MIX_OF[name]]
    shares = {skill: round(100 * weight / sum(mix.values()), 1) for skill, weight in mix.items()}
    assert {skill: share for skill, (share, _) in card(name).items()} == shares
    assert set(shares) == set(SKILL_NAMES)


def test_most_skills_are_strong(name: str) -> None:
    accuracies = [accuracy for _, accuracy in card(name).values()]
    assert sum(accuracy > 80 for accuracy in accuracies) > len(accuracies) / 2


def test_five_skills_are_weak(name: str) -> None:
    assert sum(accuracy < 65 for _, accuracy in card(name).values()) >= 5


def test_rare_and_weak_are_crossed(name: str) -> None:
    """A skill is rare below half of an even share; so equal weights per skill are not the same as targeting."""
    rare_share, mean = 50 / len(SKILL_NAMES), sum(accuracy for _, accuracy in card(name).values()) / len(SKILL_NAMES)
    strong_and_rare = [skill for skill, (share, accuracy) in card(name).items() if share < rare_share and accuracy > 80]
    weak_and_common = [
        skill for skill, (share, accuracy) in card(name).items() if share >= rare_share and accuracy < mean
    ]
    assert len(strong_and_rare) >= 2
    assert len(weak_and_common) >= 2


def test_the_checkpoint_is_small_and_complete(name: str) -> None:
    names = {path.name for path in SHIPPED[name].iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert sum(path.stat().st_size for path in SHIPPED[name].iterdir()) < 4_000_000


@pytest.mark.slow
def test_the_checkpoint_scores_as_its_card_says(name: str) -> None:
    """100 questions against the card's 300: two deviations of the difference are at most 11.6 points a skill."""
    pytest.importorskip("torch")
    from stat_train.models.transformers import load_model, load_tokenizer
    from stat_train.training.pretrain import skill_accuracies

    measured = skill_accuracies(load_model(name, None).eval(), load_tokenizer(name, None), per_skill=100)
    assert {skill: accuracy for skill, (_, accuracy) in card(name).items()} == pytest.approx(measured, abs=17)
