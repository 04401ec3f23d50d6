"""Artifacts and leases: the only file that writes them.

A stage's output is the folder `cache_dir/artifacts/STAGE-HASH`. It is made under `STAGE-HASH.partial` and renamed when
whole, so a folder without that suffix is complete. What an interrupted process left in the partial folder is kept: each
file in it was renamed into place when whole (`metrics.jsonl` grows, to be watched), so the next process goes on there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from stat_train import __version__
from stat_train.counts import Counts, add_up
from stat_train.errors import StatTrainError, UserError
from stat_train.records import Dropped, Record

logger = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
HEARTBEAT_SECONDS = 5.0
LEASE_EXPIRES_SECONDS = 60.0
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


# -- files ------------------------------------------------------------------------------------------------------------


def make_folder(folder: Path, key: str) -> None:
    """Create the folder that a setting names; raises UserError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{key} = {folder}: cannot be made ({error.strerror}); expected a folder, or a name that is free, in a "
            "place that you can write to"
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{key} = {folder}: cannot be written to; expected a folder of your own")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, whole or not at all."""
    write_text(path, "".join(record.to_line() for record in records))


def read_records(path: Path, record: type[R]) -> list[R]:
    """Read the records of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [record.from_line(line) for line in lines]


def chunk_seed(seed: int, stage: str, index: int) -> int:
    """Return the seed of one chunk, a number below 2**31."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stage}/{index}".encode(), digest_size=4).digest()) >> 1


def content_hash(value: Any) -> str:
    """Return a short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(place: Path, cache_dir: Path) -> str:
    """Return the content hash of a file or a folder; large files are read once, then known by size and time."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return content_hash([[path.name, _one_file_hash(path, cache_dir)] for path in files])


def _one_file_hash(path: Path, cache_dir: Path) -> str:
    state = path.stat()
    known = cache_dir / "hashes" / content_hash([str(path.resolve()), state.st_size, state.st_mtime_ns])
    if not known.exists():
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        known.parent.mkdir(parents=True, exist_ok=True)
        write_text(known, digest)
    return known.read_text()


# -- artifacts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Artifact:
    """The finished output folder of one stage."""

    stage: str
    hash: str
    folder: Path
    seconds: float
    reused: bool

    @property
    def name(self) -> str:
        """Return `STAGE-HASH`, the name of the folder."""
        return f"{self.stage}-{self.hash}"

    def records(self, name: str, record: type[R]) -> list[R]:
        """Read the records of one of its files."""
        return read_records(self.folder / name, record)

    def dropped(self) -> list[Dropped]:
        """Return what the stage left out, and why."""
        return dropped_in(self.folder)

    def counts(self) -> dict[str, Any]:
        """Return by kind of item how many there were, how many were kept, and how many dropped for each reason."""
        found: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())["counts"]
        return found


def dropped_in(folder: Path) -> list[Dropped]:
    """Return what a stage left out, and why."""
    path = folder / "dropped.jsonl"
    return read_records(path, Dropped) if path.exists() else []


def make(
    cache_dir: Path,
    stage: str,
    version: int,
    inputs: Sequence[Artifact],
    identity: Mapping[str, Any],
    build: Callable[[Path], Counts],
) -> Artifact:
    """Return the stage's artifact, made by `build(folder)` unless a finished one with the same hash is there.

    Raises StatTrainError when the counts that `build` returns and the items that it left out do not add up.
    """
    known_by = _known_by(stage, version, inputs, identity)
    digest, folder = _place(cache_dir, known_by)
    right = folder.with_name(folder.name + ".lease")
    if folder.exists():
        # Its holder has no more use for it, or was killed right after the renaming.
        right.unlink(missing_ok=True)
        return _finished(stage, digest, folder, reused=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lease(right):
        if folder.exists():
            return _finished(stage, digest, folder, reused=True)
        partial = partial_of(folder)
        partial.mkdir(exist_ok=True)
        _remove_temporaries(partial)
        started = time.monotonic()
        counts = build(partial)
        manifest = known_by | {"stat_train": __version__, "seconds": round(time.monotonic() - started, 2)}
        manifest |= {"counts": add_up(stage, counts, dropped_in(partial))}
        require_lease(partial)
        write_json(partial / "manifest.json", manifest)
        os.rename(partial, folder)
    return _finished(stage, digest, folder, reused=False)


def place_of(
    cache_dir: Path, stage: str, version: int, inputs: Sequence[Artifact], identity: Mapping[str, Any]
) -> Path:
    """Return the folder that a stage's artifact has, or will have when it is whole."""
    return _place(cache_dir, _known_by(stage, version, inputs, identity))[1]


def partial_of(folder: Path) -> Path:
    """Return the folder in which an artifact is until it is whole."""
    return folder.with_name(folder.name + ".partial")


def find(
    cache_dir: Path, stage: str, version: int, inputs: Sequence[Artifact], identity: Mapping[str, Any]
) -> Artifact | None:
    """Return the stage's artifact if it was made before."""
    digest, folder = _place(cache_dir, _known_by(stage, version, inputs, identity))
    return _finished(stage, digest, folder, reused=True) if folder.exists() else None


def _known_by(stage: str, version: int, inputs: Sequence[Artifact], identity: Mapping[str, Any]) -> dict[str, Any]:
    names = [artifact.name for artifact in inputs]
    return {"stage": stage, "version": version, "inputs": names, "identity": identity}


def _place(cache_dir: Path, known_by: Mapping[str, Any]) -> tuple[str, Path]:
    """Return the hash of what an artifact is known by, and where it is or will be."""
    digest = content_hash(known_by)
    return digest, cache_dir / "artifacts" / f"{known_by['stage']}-{digest}"


def _remove_temporaries(partial: Path) -> None:
    """Remove the half-written files of an interrupted process, which could be taken for results."""
    for path in list(partial.rglob(".*")):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _finished(stage: str, digest: str, folder: Path, reused: bool) -> Artifact:
    manifest = json.loads((folder / "manifest.json").read_text())
    return Artifact(stage, digest, folder, manifest["seconds"], reused)


# -- leases -----------------------------------------------------------------------------------------------------------


@contextmanager
def lease(path: Path) -> Iterator[None]:
    """Hold the right to make one artifact; wait while another live process holds it.

    Works on shared storage without locks: the file names its holder, who touches it every few seconds. A holder whose
    process is gone (same host), or whose file stays untouched for a minute of our own clock, has lost it.
    """
    text = json.dumps(
        {
            "host": this_host(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "id": uuid4().hex,
        }
    )
    while not _take(path, text):
        _wait_until_free(path)
    stop = threading.Event()
    beat = threading.Thread(target=_keep_touching, args=(path, text, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        _remove(path, text)


def require_lease(partial: Path) -> None:
    """Raise StatTrainError when this process no longer holds the lease of the artifact that it makes in `partial`.

    A process that was suspended for a minute cannot know it otherwise, and would spoil what the next one makes.
    """
    try:
        holder = json.loads(partial.with_suffix(".lease").read_text())
    except FileNotFoundError:
        holder = {}
    except OSError:
        # As for the heartbeat: shared storage fails now and then, which says nothing about the lease.
        return
    if (holder.get("host"), holder.get("pid")) != (this_host(), os.getpid()):
        raise StatTrainError(
            f"another process took over {partial.stem}, because this one was silent for {LEASE_EXPIRES_SECONDS:.0f} "
            "seconds (suspended?); the same command waits for the other and goes on from its result"
        )


def _take(path: Path, text: str) -> bool:
    mine = path.with_name(f".{path.name}.{uuid4().hex}")
    mine.write_text(text)
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    finally:
        mine.unlink()
    return True


def _wait_until_free(path: Path) -> None:
    """Return when the lease file is gone or another's; remove it when its holder is gone."""
    try:
        text, touched = path.read_text(), path.stat().st_mtime_ns
        seen = time.monotonic()
        holder = json.loads(text)
        if may_run(holder["host"], holder["pid"]):
            logger.warning("waiting for process %s on %s, which makes %s", holder["pid"], holder["host"], path.stem)
        while may_run(holder["host"], holder["pid"]) and time.monotonic() - seen < LEASE_EXPIRES_SECONDS:
            time.sleep(0.2)
            if path.read_text() != text:
                return
            if path.stat().st_mtime_ns != touched:
                touched, seen = path.stat().st_mtime_ns, time.monotonic()
    except FileNotFoundError:
        return
    _remove(path, text)


def this_host() -> str:
    """Return where our process numbers hold: containers can share a host's name without seeing each other's."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def may_run(host: str, pid: int) -> bool:
    """Tell whether a process may be alive; only one of this host can be known to be gone."""
    if host != this_host():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended unnoticed by its parent, as in a container that has no init; Linux only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _remove(path: Path, text: str) -> None:
    """Take away the lease that reads `text`; one that has become another's meanwhile stays, or is put back."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        if path.read_text() != text:
            return
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if aside.read_text() != text:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _keep_touching(path: Path, text: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            if path.read_text() == text:
                os.utime(path)
        except FileNotFoundError:
            return
        except OSError:
            # Shared storage fails now and then; the next beat tries again.
            continue
