"""Comparing answers in worker processes, each comparison within a time limit: a hostile answer costs at most that.

Answers are written by models. Some of them keep a computer algebra system busy for hours or ask it for all memory, and
signals, the usual time limit, reach the main thread alone and no code below Python. So a worker that takes too long is
killed, and another takes its place.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stat_train.errors import StatTrainError, UserError
from stat_train.progress import track
from stat_train.store import content_hash
from stat_train.tasks.answers import Judgement, compare, decided, shown
from stat_train.tasks.graders import Pair

if TYPE_CHECKING:
    from pebble import ProcessPool

MOST_PROCESSES = 16
# What a comparison may take above the libraries that a worker has loaded.
WORKER_BYTES = 256 * 2**20
# A worker whose owner was killed is ended by its own clock, this much after the limit.
SECONDS_AFTER_LIMIT = 2.0
Function = Callable[[str, str | None, str], bool | None]


class PooledGrader:
    """Compares answers by mathematics, or by a function of the user's, in processes that can be killed.

    `name` is `math` or `package.module:function`. A context manager; the processes start with the first comparison that
    needs them. What does not end within `timeout_seconds` is unscored, with that as the reason.
    """

    def __init__(self, name: str, timeout_seconds: float, processes: int | None = None) -> None:
        self.name, self.timeout_seconds = name, timeout_seconds
        self.reads_text = is_function(name)
        # A function may judge an answer by itself.
        self.needs_gold = not self.reads_text
        self.processes = processes or min(MOST_PROCESSES, len(os.sched_getaffinity(0)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if "_pool" in self.__dict__:
            self._pool.stop()
            self._pool.join()

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given; equal pairs are compared once."""
        known = {pair: self._decided(pair) for pair in pairs}
        waiting = {pair: self._schedule(pair) for pair, found in known.items() if found is None}
        for pair, future in track(waiting.items(), "Comparing answers", len(waiting)):
            known[pair] = self._result(pair, future)
        return [found for pair in pairs if (found := known[pair])]

    def _decided(self, pair: Pair) -> Judgement | None:
        if self.reads_text:
            return None if pair.given else Judgement("wrong", "no answer")
        return decided(pair.gold, pair.given)

    def _schedule(self, pair: Pair) -> Future[Judgement]:
        work = _by_function if self.reads_text else _by_mathematics
        found: Future[Judgement] = self._pool.schedule(
            work, args=(self.name, pair, self.timeout_seconds), timeout=self.timeout_seconds
        )
        return found

    def _result(self, pair: Pair, future: Future[Judgement]) -> Judgement:
        from pebble import ProcessExpired

        given = shown(pair.given or "")
        try:
            return future.result()
        except BrokenExecutor as error:
            raise StatTrainError(
                f"task.grader = {self.name}: its worker processes cannot start ({error}). A script of your own has to "
                'be importable: put what it runs under `if __name__ == "__main__":`'
            ) from error
        except TimeoutError:
            return Judgement("unscored", f"the comparison took longer than {self.timeout_seconds:g} s: {given}")
        except ProcessExpired:
            return Judgement("unscored", f"the comparison ended its process: {given}")

    @cached_property
    def _pool(self) -> ProcessPool:
        from pebble import ProcessPool

        # Forked from a small server, not from this process, which may hold threads, locks and a GPU.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["math_verify"])
        start = _load if self.reads_text else _warm_up
        return ProcessPool(max_workers=self.processes, initializer=start, initargs=(self.name,), context=context)


def is_function(name: str) -> bool:
    """Tell whether a grader's name is that of a function of the user's."""
    return ":" in name


def function_hash(name: str) -> str | None:
    """Return the hash of the module that a grader's function is named in, so that an edited one grades anew."""
    grader_function(name)
    place = sys.modules[name.partition(":")[0]].__file__
    return content_hash(Path(place).read_text(encoding="utf-8")) if place and place.endswith(".py") else None


def grader_function(name: str) -> Function:
    """Return the function that `package.module:function` names, looked for in the working folder as well.

    Raises UserError when there is none.
    """
    module, _, attribute = name.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        # Whatever a user's module raises when it is imported, it cannot be used.
        raise UserError(
            f"task.grader = {name}: {module} cannot be imported ({type(error).__name__}: {error}); "
            "expected package.module:function, installed or in the working folder"
        ) from error
    function: Function | None = getattr(found, attribute, None)
    if not callable(function):
        raise UserError(
            f"task.grader = {name}: {module} has no function {attribute}; expected one that takes (question, gold, "
            "given) and returns True, False, or None when it cannot tell"
        )
    try:
        inspect.signature(function).bind("question", "gold", "given")
    except TypeError as error:
        raise UserError(f"task.grader = {name}: does not take (question, gold, given): {error}") from error
    except ValueError:
        pass  # Functions written in C do not always tell what they take.
    return function


# -- in a worker ------------------------------------------------------------------------------------------------------


def _warm_up(name: str) -> None:
    """Load and use the libraries once, so that the first comparison's time is its own; then limit the memory."""
    compare(r"\frac{1}{2}", "0.5", "math")
    _ignore_interrupts()
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + WORKER_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _load(name: str) -> None:
    grader_function(name)
    _ignore_interrupts()


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the owner ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _by_mathematics(name: str, pair: Pair, seconds: float) -> Judgement:
    _end_after(seconds + SECONDS_AFTER_LIMIT)
    try:
        return compare(pair.gold, pair.given, "math")
    except (ArithmeticError, MemoryError, RecursionError, TypeError, ValueError, AttributeError) as error:
        return Judgement("unscored", f"the comparison failed ({type(error).__name__}): {shown(pair.given or '')}")
    finally:
        _end_after(0)


def _by_function(name: str, pair: Pair, seconds: float) -> Judgement:
    _end_after(seconds + SECONDS_AFTER_LIMIT)
    function = grader_function(name)
    try:
        same = function(pair.question, pair.gold, pair.given or "")
    except (Exception, SystemExit) as error:
        # One answer that the user's function cannot take is no reason to lose the others.
        return Judgement("unscored", f"{name} raised {type(error).__name__}: {shown(str(error))}")
    finally:
        _end_after(0)
    if same is None:
        return Judgement("unscored", f"{name} cannot tell")
    # numpy and torch have truth values of their own.
    if type(same).__name__ not in ("bool", "bool_"):
        raise UserError(
            f"task.grader = {name}: returned {shown(repr(same))} for {shown(pair.given or '')}; expected True, False, "
            "or None when it cannot tell"
        )
    return Judgement("correct" if same else "wrong")


def _end_after(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
