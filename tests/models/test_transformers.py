"""Models that cannot be loaded: what the user is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stat_train.config import Prompt
from stat_train.errors import UserError
from stat_train.models.generator import Request, Sampling
from stat_train.models.places import SHIPPED


def test_top_p_leaves_the_likeliest_tokens_only() -> None:
    """Of the likeliest token alone a reply is drawn as greedily as without a temperature, which 2 makes unlikely."""
    transformers = pytest.importorskip("stat_train.models.transformers")
    torch = pytest.importorskip("torch")
    prompt = Prompt(system=None, template="{question}", chat_template_arguments={})
    generator = transformers.TransformersGenerator("tiny", None, prompt, batch_size=4)

    def texts(sampling: Sampling) -> list[str]:
        torch.manual_seed(0)
        asked = [[{"role": "user", "content": f"What is {n} + {n}?"}] for n in (12, 25, 31, 44)]
        requests = [Request(str(n), messages, sampling, 0) for n, messages in enumerate(asked)]
        return [completion.text for completion in generator.generate(requests)]

    greedy = texts(Sampling(0.0, 12))
    assert texts(Sampling(2.0, 12, top_p=1e-6)) == greedy
    assert texts(Sampling(2.0, 12)) != greedy


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_an_incomplete_checkpoint_is_refused(tmp_path: Path, part: str) -> None:
    """A folder that was copied in part, or that holds an adapter only."""
    transformers = pytest.importorskip("stat_train.models.transformers")
    for path in SHIPPED["tiny"].iterdir():
        if not path.name.startswith(part):
            shutil.copy(path, tmp_path)
    load = transformers.load_model if part == "model" else transformers.load_tokenizer
    with pytest.raises(UserError, match=r"student\.model = .*: cannot be loaded \(.*Expected a checkpoint folder"):
        load(str(tmp_path), None)
