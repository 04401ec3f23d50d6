"""How the rows of an optimizer step are split over processes and forward passes."""

from __future__ import annotations

from typing import NamedTuple

from stat_train.errors import UserError


class Split(NamedTuple):
    """Rows per device and forward pass, and how many passes make an optimizer step."""

    device_batch_size: int
    accumulation_steps: int


def split_batch(
    rows: int, processes: int, device_batch_size: int, setting: str = "train.effective_batch_size"
) -> Split:
    """Split the `rows` of a step over `processes`, with at most `device_batch_size` rows in a forward pass.

    Raises UserError when the rows cannot be shared out equally: with unequal work, ranks would wait for each other.
    """
    each, left = divmod(rows, processes)
    if left or not each:
        raise UserError(f"{setting} = {rows}: {cannot_split(rows, processes)}")
    largest = next(size for size in range(min(device_batch_size, each), 0, -1) if each % size == 0)
    return Split(largest, each // largest)


def cannot_split(rows: int, processes: int) -> str:
    """Say why `rows` cannot be shared out equally, and what to do about it."""
    least = processes * max(1, round(rows / processes))
    return (
        f"cannot be split equally over {processes} processes; expected a multiple of {processes}, such as {least}, or "
        f"as many processes as divide {rows}"
    )
