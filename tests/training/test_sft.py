"""The order in which fine-tuning sees its rows."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from stat_train.training.sft import _ByLength

BATCH = 8
LENGTHS = [10 + (37 * row) % 50 for row in range(100)]  # 12 full batches and 4 rows


def order(seed: int = 0, epoch: int = 0) -> list[int]:
    sampler = _ByLength(BATCH, LENGTHS, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def batch_lengths(rows: list[int]) -> list[list[int]]:
    return [[LENGTHS[row] for row in rows[start : start + BATCH]] for start in range(0, len(rows), BATCH)]


def test_every_row_comes_once() -> None:
    assert sorted(order()) == list(range(len(LENGTHS)))


def test_seed_and_epoch_decide_the_order() -> None:
    assert order() == order()
    assert order() != order(epoch=1) != order(seed=1) != order()


def test_rows_of_a_batch_are_alike_and_batches_are_not_sorted() -> None:
    """Of 100 lengths over a range of 50, eight neighbours in order span about 4; eight at random span about 40."""
    full = batch_lengths(order())[:-1]
    spans = [max(lengths) - min(lengths) for lengths in full]
    assert sum(spans) / len(spans) < 15
    means = [sum(lengths) / BATCH for lengths in full]
    assert means not in (sorted(means), sorted(means, reverse=True))


def test_a_batch_that_is_not_full_is_the_last() -> None:
    assert [len(lengths) for lengths in batch_lengths(order())] == [BATCH] * 12 + [4]
