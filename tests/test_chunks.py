"""Files made chunk by chunk, by one after another and by several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Barrier, Thread
from uuid import uuid4

import pytest

from stat_train.chunks import Chunked, join_chunks, write_chunks
from stat_train.records import QuestionSkills

FIRST, SECOND = uuid4().hex, uuid4().hex
ITEMS = list(range(7))
# Seven items in chunks of two are four chunks.
CHUNKS = [(0, [0, 1]), (1, [2, 3]), (2, [4, 5]), (3, [6])]


def row(number: int) -> QuestionSkills:
    return QuestionSkills(id=str(number), skills=["addition"])


def rows_of_seven(folder: Path) -> Chunked:
    return Chunked(folder / "rows.jsonl", len(ITEMS), 2)


WHOLE = "".join(row(item).to_line() for item in ITEMS)


@pytest.mark.parametrize("done", range(4))
def test_chunks_interrupted_anywhere_give_the_same_bytes_and_none_is_done_twice(tmp_path: Path, done: int) -> None:
    calls, chunked = [], rows_of_seven(tmp_path)

    def work(chunk: Sequence[int], index: int) -> Iterator[QuestionSkills]:
        calls.append((index, list(chunk)))
        yield from map(row, chunk)

    def work_until_interrupted(chunk: Sequence[int], index: int) -> Iterator[QuestionSkills]:
        if index == done:
            yield row(chunk[0])
            raise KeyboardInterrupt
        yield from work(chunk, index)

    with pytest.raises(KeyboardInterrupt):
        write_chunks(chunked, ITEMS, FIRST, work_until_interrupted)
    assert (len(calls), chunked.left()) == (done, 4 - done)
    write_chunks(chunked, ITEMS, SECOND, work)
    assert (calls, chunked.left()) == (CHUNKS, 0)
    join_chunks(chunked)
    assert (tmp_path / "rows.jsonl").read_text() == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_another_of_the_same_launch_has_begun_is_left_to_it(tmp_path: Path) -> None:
    """The inner one starts while the outer one is at its first chunk, and makes all the others."""
    calls, chunked = [], rows_of_seven(tmp_path)

    def inner(chunk: Sequence[int], index: int) -> Iterator[QuestionSkills]:
        calls.append(("inner", index))
        return map(row, chunk)

    def outer(chunk: Sequence[int], index: int) -> Iterator[QuestionSkills]:
        calls.append(("outer", index))
        write_chunks(chunked, ITEMS, FIRST, inner)
        return map(row, chunk)

    write_chunks(chunked, ITEMS, FIRST, outer)
    assert calls == [("outer", 0), ("inner", 1), ("inner", 2), ("inner", 3)]
    join_chunks(chunked)
    assert chunked.file.read_text() == WHOLE


def test_many_at_the_same_moment_make_each_chunk_once(tmp_path: Path) -> None:
    made, start = [], Barrier(8)
    chunked = Chunked(tmp_path / "rows.jsonl", 100, 1)

    def work(chunk: Sequence[int], index: int) -> Iterator[QuestionSkills]:
        made.append(index)
        return map(row, chunk)

    def one() -> None:
        start.wait()
        write_chunks(chunked, range(100), FIRST, work)

    threads = [Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(100))
    join_chunks(chunked)
    assert chunked.file.read_text() == "".join(row(item).to_line() for item in range(100))


def test_a_missing_chunk_is_never_passed_over(tmp_path: Path) -> None:
    chunked = rows_of_seven(tmp_path)
    write_chunks(chunked, ITEMS, FIRST, lambda chunk, index: map(row, chunk))
    chunked.paths()[2].unlink()
    with pytest.raises(FileNotFoundError, match="000002"):
        join_chunks(chunked)
    assert [path.name for path in chunked.paths() if path.exists()] == ["000000", "000001", "000003"]
    assert not chunked.file.exists()


def test_chunks_that_were_put_together_are_not_done_again(tmp_path: Path) -> None:
    """A process that is killed while it clears its chunks away leaves the file and some chunks."""
    chunked = Chunked(tmp_path / "rows.jsonl", 2, 1)
    chunked.file.write_text("whole")
    chunked.folder.mkdir()
    chunked.paths()[1].write_text("part")
    assert chunked.left() == 0
    join_chunks(chunked)
    assert chunked.file.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_no_items_give_an_empty_file(tmp_path: Path) -> None:
    chunked = Chunked(tmp_path / "rows.jsonl", 0, 2)
    assert chunked.left() == 0
    join_chunks(chunked)
    assert chunked.file.read_text() == ""
