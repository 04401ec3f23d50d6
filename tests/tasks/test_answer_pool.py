"""Comparing in worker processes: hostile answers end within their limit, and whatever happens the workers go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stat_train.errors import UserError
from stat_train.tasks.answer_pool import PooledGrader, function_hash, grader_function
from stat_train.tasks.graders import Pair

GIBIBYTE = 2**30
HALF = Pair("?", r"\frac{1}{2}", "0.5")
# What a model may write into its box, by accident or not. Each is made different by a number, so none is known before.
HOSTILE = {
    "a power of powers": "10**10**10 + {n}",
    "a tower of powers": "{n}^{{10^{{10^{{10}}}}}}",
    "factorials of factorials": "{n}!!!!!!",
    "fractions nested 5,000 deep": r"\frac{{" * 5000 + "{n}" + "}}{{2}}" * 5000,
    "a short nest": r"\frac{{" * 300 + "{n}" + "}}{{2}}" * 300,
    "a megabyte of digits": "9" * 1_000_000 + "{n}",
    "just short enough": "9" * 9_000 + "{n}",
    "braces that are never closed": "{{" * 4_000 + "{n}",
    "braces that were never opened": "}}" * 4_000 + "{n}",
    "Unicode digits": "\u0663\u0661\u06f2\uff15{n}",
    "a polynomial of high degree": "(x+{n})^{{99999999}}",
    "a sum of many terms": r"\sum_{{i=1}}^{{10^{{10}}}} i^{n}",
    "a product to expand": "(a+b+c+d+{n})^{{400}}",
    "a call": "__import__('os').system('sleep {n}')",
    "nothing but signs": "+-" * 4_000 + "{n}",
    "roots in roots": r"\sqrt{{" * 400 + "{n}" + "}}" * 400,
    "an intervals' union": r"\cup".join(["({n},2)"] * 500),
    "control characters": "\x00\x07\x1b[2J{n}",
}


@pytest.fixture(scope="module")
def grader() -> Iterator[PooledGrader]:
    with PooledGrader("math", timeout_seconds=1.0, processes=2) as grader:
        yield grader


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_costs_at_most_its_limit(name: str, grader: PooledGrader) -> None:
    """The next comparison, in the same worker or the one in its place, gives its verdict."""
    grader.compare([HALF])
    hostile = Pair("?", r"\frac{3}{7}", HOSTILE[name].format(n=7))
    start = time.monotonic()
    (found,) = grader.compare([hostile])
    assert time.monotonic() - start < 1.0 + 2.0
    assert found.verdict in ("wrong", "unscored")
    assert found.verdict == "wrong" or found.reason
    assert [found.verdict for found in grader.compare([HALF._replace(given="0.50")])] == ["correct"]


@pytest.mark.parametrize(
    "count", [pytest.param(60, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.soak)]
)
def test_many_hostile_answers(count: int) -> None:
    """In random order, with right ones between: 4 workers need a quarter of all limits, and 1.5 times it more.

    Memory is that of this process's children together, looked at ten times a second.
    """
    choose = random.Random(0)
    kinds = [choose.choice(list(HOSTILE)) for _ in range(count)]
    pairs = [Pair("?", r"\frac{3}{7}", HOSTILE[kind].format(n=index + 2)) for index, kind in enumerate(kinds)]
    right = [Pair("?", str(index), f"{index}.0") for index in range(count // 10)]
    for pair in right:
        pairs.insert(choose.randrange(len(pairs)), pair)
    memory, others = MemoryWatch(), _workers()
    with PooledGrader("math", timeout_seconds=1.0, processes=4) as grader, memory:
        start = time.monotonic()
        found = dict(zip(pairs, grader.compare(pairs), strict=True))
        seconds = time.monotonic() - start
        # Alive afterwards, and at work.
        assert _soon(lambda: len(set(_workers()) - set(others)) >= 4)
        assert [each.verdict for each in grader.compare([HALF] * 8)] == ["correct"] * 8
    print(f"{seconds:.0f} s, at most {memory.most / GIBIBYTE:.2f} GiB")
    # A worker that was killed takes a quarter of a second to replace on a slow machine.
    assert seconds < 2.5 * len(pairs) / 4
    assert {found[pair].verdict for pair in right} <= {"correct"}
    assert "correct" not in {found[pair].verdict for pair in pairs if pair not in set(right)}
    assert memory.most < GIBIBYTE
    assert _no_worker_left(beside=others)


class MemoryWatch:
    """Keeps the most memory that the child processes held together."""

    def __init__(self) -> None:
        self.most = 0

    def __enter__(self) -> None:
        import threading

        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.1):
            self.most = max(self.most, sum(map(_resident, psutil.Process().children(recursive=True))))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _no_worker_left(beside: list[psutil.Process]) -> bool:
    """Workers are children of a server, which stays, with Python's tracker of semaphores, until this process ends."""
    return _soon(lambda: not set(_workers()) - set(beside))


def _soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def _workers() -> list[psutil.Process]:
    return [worker for child in psutil.Process().children() for worker in child.children()]


def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    """`kill -9` while both workers are busy for hours: they end by their own clock, soon after the limit."""
    script = tmp_path / "owner.py"
    script.write_text(
        "import sys\n"
        "from stat_train.tasks.answer_pool import PooledGrader\n"
        "from stat_train.tasks.graders import Pair\n"
        "if __name__ == '__main__':\n"
        "    with PooledGrader('math', 3600, 2) as grader:\n"
        "        grader.compare([Pair('?', '1', '1.0'), Pair('?', '2', '2.0')])\n"
        "        print('ready', flush=True)\n"
        "        grader.timeout_seconds = 2\n"
        "        grader.compare([Pair('?', '1', f'{n}^{{10^{{10^{{10}}}}}}') for n in (3, 7)])\n"
    )
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout and owner.stdout.readline() == "ready\n"
    time.sleep(1)
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) >= 3
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []


def test_equal_pairs_are_compared_once_and_stay_in_order(grader: PooledGrader) -> None:
    pairs = [HALF, Pair("?", "1", "2"), HALF, Pair("?", None, "2"), Pair("?", "1", None), Pair("?", "x", " x ")]
    verdicts = [found.verdict for found in grader.compare(pairs)]
    assert verdicts == ["correct", "wrong", "correct", "unscored", "wrong", "correct"]


def test_an_answer_longer_than_any_is_wrong_without_being_read(grader: PooledGrader) -> None:
    (found,) = grader.compare([Pair("?", "1", "1" * 10_001)])
    assert found == ("wrong", "an answer of 10,001 characters")


def test_without_a_comparison_no_process_starts() -> None:
    with PooledGrader("math", timeout_seconds=1.0) as grader:
        assert [found.verdict for found in grader.compare([Pair("?", "1", "1")])] == ["correct"]
        assert "_pool" not in grader.__dict__


# -- functions of the user's ------------------------------------------------------------------------------------------

OWN = """
import os
import time

def same(question, gold, given):
    if given == "sleep":
        time.sleep(60)
    if given == "exit":
        os._exit(3)
    if given == "raise":
        raise KeyError("no such word")
    if given == "unknown":
        return None
    if given == "half":
        return 0.5
    if given == "numpy":
        import numpy
        return numpy.bool_(True)
    if given == "leave":
        raise SystemExit(1)
    return question == "greet" and given.lower() == gold
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{module}:same"


def test_a_function_of_the_working_folder_grades(own: str) -> None:
    given = ["Hello", "bye", "unknown", "raise", "exit", "sleep", "hello", None, "numpy", "leave"]
    with PooledGrader(own, timeout_seconds=1.0, processes=1) as grader:
        found = grader.compare([Pair("greet", "hello", text) for text in given])
    assert [each.verdict for each in found] == [
        *("correct", "wrong", "unscored", "unscored", "unscored", "unscored", "correct", "wrong", "correct", "unscored")
    ]
    reasons = " ".join(each.reason or "" for each in found)
    for word in ("cannot tell", "KeyError", "no such word", "ended its process", "longer than 1 s"):
        assert word in reasons


def test_a_function_that_returns_something_else_ends_the_run(own: str) -> None:
    with (
        PooledGrader(own, timeout_seconds=1.0, processes=1) as grader,
        pytest.raises(UserError, match=r"returned '0\.5' for 'half'"),
    ):
        grader.compare([Pair("greet", "hello", "half")])


def test_an_edited_function_is_another_grader(own: str, tmp_path: Path) -> None:
    before = function_hash(own)
    place = tmp_path / f"{own.partition(':')[0]}.py"
    place.write_text(OWN.replace("greet", "meet"))
    assert function_hash(own) != before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here:same", "cannot be imported"),
        ("os:no_such_function", "has no function no_such_function"),
        ("os:sep", "has no function sep"),
        ("os.path:isabs", r"does not take \(question, gold, given\)"),
    ],
)
def test_a_function_that_is_not_there_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        grader_function(name)


def test_the_number_of_processes_is_that_of_the_cores() -> None:
    assert PooledGrader("math", 1.0).processes == min(16, len(os.sched_getaffinity(0)))
