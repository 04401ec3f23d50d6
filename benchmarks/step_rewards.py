"""How fast a process reward model scores the steps of an answer: one forward pass an answer against one pass a step.

    python benchmarks/step_rewards.py [--quick]

A small causal language model with random weights scores answers of 8 steps, on one thread of a CPU, in turn in one run:

    naive   as the model's publishers do it: one unpadded pass a step over the conversation up to it, logits of all
            tokens (RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py)
    ours    one pass an answer, in batches, logits where replies are predicted (goal: 3 times as fast)

It also prints how far the rewards of the two differ. Cost: about two minutes, a few seconds with --quick (whose numbers
prove nothing).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from transformers.utils import logging

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "models")]

from reward_model_files import make_tokenizer, save_causal, settings  # noqa: E402

from stat_train.diagnosis.reward_models import CausalRewarder  # noqa: E402
from stat_train.diagnosis.step_rewards import Stepped  # noqa: E402
from stat_train.records import Question  # noqa: E402

STEPS = 8
VOCABULARY, HIDDEN, LAYERS = 32_000, 256, 4
QUESTION = "A train has {n} cars with 48 seats each, and 17 seats of each car are taken. How many seats are free?"
STEP = "So 48 - 17 = {m} seats of a car are free, and {n} * {m} in {n} cars."


def answers(count: int) -> list[Stepped]:
    """Return answers of 8 steps of a sentence each, some longer than others."""
    return [
        Stepped(
            Question(id=str(n), question=QUESTION.format(n=n)),
            [STEP.format(m=m, n=n) + " It is so." * (n % 4) for m in range(STEPS)],
        )
        for n in range(count)
    ]


@torch.inference_mode()
def naive(rewarder: CausalRewarder, items: list[Stepped]) -> list[list[float]]:
    """Score with one pass a step; the third token from the end predicts the last reply."""
    found = []
    for question, steps in items:
        conversation: list[dict[str, str]] = []
        rewards = []
        for index, step in enumerate(steps):
            turn = f"{question.question} {step}" if index == 0 else step
            conversation += [{"role": "user", "content": turn}, {"role": "assistant", "content": "+"}]
            ids = rewarder.tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=False)
            logits = rewarder.model(ids).logits[0, -3, rewarder.signs]
            rewards.append(logits.softmax(-1)[0].item())
        found.append(rewards)
    return found


def ours(rewarder: CausalRewarder, items: list[Stepped]) -> list[list[float]]:
    """Score with one pass an answer."""
    scored = rewarder.score(items)
    assert all(one.error is None for one in scored)
    return [one.rewards or [] for one in scored]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Run the comparison and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer answers: shows that it works, proves nothing")
    count, rounds = (4, 2) if parser.parse_args().quick else (16, 5)
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="step-rewards-") as folder:
        tokenizer = make_tokenizer()
        place = save_causal(Path(folder), tokenizer, hidden=HIDDEN, layers=LAYERS, vocabulary=VOCABULARY)
        rewarder = CausalRewarder(settings(place, batch_size=8))
    items = answers(count)
    # The first pass of each warms up, too.
    pairs = list(zip(naive(rewarder, items), ours(rewarder, items), strict=True))
    difference = max(abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True))
    times = [(seconds(lambda: naive(rewarder, items)), seconds(lambda: ours(rewarder, items))) for _ in range(rounds)]
    ratios = [slow / fast for slow, fast in times]
    tokens = sum(len(rewarder._shown(item).token_ids) for item in items) / count
    print(f"{count} answers of {STEPS} steps, {tokens:.0f} tokens each on average; largest difference {difference:.1e}")
    print(f"naive: {count / median(slow for slow, _ in times):.2f} answers/s (median of {rounds})")
    print(f"ours:  {count / median(fast for _, fast in times):.2f} answers/s")
    print(f"ratio: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
