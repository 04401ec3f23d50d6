"""Weights & Biases, online or offline, silent and with a limit on every wait."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from stat_train.config import Config
from stat_train.errors import STOPPED
from stat_train.track_settings import WandbTracking
from stat_train.tracking.follow import Row
from stat_train.tracking.memory import Memory
from stat_train.tracking.results import COLUMNS, REPORTS, Results

Mode = Literal["online", "offline"]
# What a user may have put a secret in: it goes into the body of each request.
NOT_SENT = "request_overrides"
# Whoever was asked to stop, or ended by the scheduler, will go on under the same id.
PREEMPTED = (STOPPED, 143)


class WeightsAndBiases:
    """Tells W&B of a run, under the id that the run folder remembers."""

    def __init__(self, settings: WandbTracking, config: Config, memory: Memory) -> None:
        # Read when the library is imported: crashes of its own are not reported either.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.run_dir = Path(config.run_dir).expanduser().absolute()
        # What is not sent yet, and the library's own logs, lie with the run, not in the user's home.
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            os.environ.setdefault(name, str(self.run_dir / "wandb"))
        import wandb

        self.place = f"wandb {settings.entity}/{settings.project}"
        self.settings, self.config, self.id = settings, config, memory.id
        self.curves: set[str] = set()
        mode, self.opening = find_mode(settings.mode)
        self.kept_back = REPORTS if has_overrides(config.model_dump()) else ()
        if self.kept_back:
            self.opening.append(f"track=wandb: {' and '.join(self.kept_back)} show {NOT_SENT}, so they are not sent")
        try:
            self.run = self._start(mode)
        except wandb.errors.Error as error:
            # Its own process still has a run of this id.
            wandb.teardown()
            reason = " ".join(str(error).split())
            self.opening.append(f"track=wandb: cannot be reached, so data are kept offline: {reason}")
            self.run = self._start("offline")
        self.opening += [f"track=wandb: {self.run.url}"] if self.run.url else []

    def _start(self, mode: Mode) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        return wandb.init(
            project=self.settings.project,
            entity=self.settings.entity,
            group=self.settings.group or self.run_dir.parent.name,
            name=self.settings.run_name or self.run_dir.name,
            tags=self.settings.tags,
            id=self.id,
            resume="allow",
            reinit="create_new",
            dir=os.environ.get("WANDB_DIR", str(self.run_dir)),
            config=without_overrides(self.config.model_dump()),
            mode=mode,
            save_code=False,
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_save_requirements=False,
                label_disable=True,
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                init_timeout=self.settings.connect_timeout_seconds,
                finish_timeout=self.settings.finish_timeout_seconds,
                finish_timeout_raises=True,
            ),
        )

    def log(self, curve: str, rows: Sequence[Row]) -> None:
        """Send the numbers of each step; a curve has its own axis of steps."""
        if curve not in self.curves:
            self.curves.add(curve)
            self.run.define_metric(f"{curve}/*", step_metric=f"{curve}/step")
        for row in rows:
            self.run.log({f"{curve}/{name}": value for name, value in row.items()})

    def results(self, results: Results) -> None:
        """Send what the run came to: the summary, each skill's change as a table, the files as one artifact."""
        import wandb

        self.run.summary.update(results.numbers)
        if results.skills:
            self.run.log({"skills": wandb.Table(columns=list(COLUMNS), data=results.skills)})
        if files := [file for file in results.files if file.name not in self.kept_back]:
            artifact = wandb.Artifact(f"results-{self.id}", type="results")
            for file in files:
                # It will not change, so it need not be copied.
                artifact.add_file(str(file.resolve()), file.name, policy="immutable", skip_cache=True)
            self.run.log_artifact(artifact)

    def finish(self, exit_code: int) -> list[str]:
        """End the W&B run as this one ended; return what there is to say."""
        if exit_code in PREEMPTED:
            self.run.mark_preempting()
        folder, whole = Path(self.run.settings.sync_dir), not self.run.offline
        try:
            self.run.finish(exit_code=exit_code)
        except TimeoutError:
            whole = False
        if whole:
            return []
        # All that were left by the starts of this run: one command sends them in their order.
        kept = f"{shlex.quote(str(folder.parent))}/{folder.name.partition('run-')[0]}run-*-{self.id}"
        return [f"track=wandb: kept here, not sent; to send it: wandb sync {kept}"]


def without_overrides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are sent: all but what an endpoint's requests are to have beside the usual."""
    return {
        name: without_overrides(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name != NOT_SENT
    }


def has_overrides(settings: Mapping[str, Any]) -> bool:
    """Tell whether some endpoint's requests are to have more than the usual."""
    return any(
        bool(value) if name == NOT_SENT else has_overrides(value)
        for name, value in settings.items()
        if isinstance(value, dict)
    )


def leave_behind() -> None:
    """Let this process end without waiting for the library's own, which would try on to send what it has."""
    with suppress(Exception):
        import wandb

        connection: Any = wandb.setup()._connection
        # It would be waited for by what this takes away.
        connection._cleanup()


def find_mode(wanted: str) -> tuple[Mode, list[str]]:
    """Return online or offline, and what there is to say of that; nobody is asked for a key."""
    import wandb
    from wandb.sdk.lib import wbauth

    if wanted == "offline" or (wanted == "auto" and os.environ.get("WANDB_MODE") == "offline"):
        return "offline", []
    host = wandb.setup(wandb.Settings(silent=True)).settings.base_url
    try:
        key = wbauth.authenticate_session(host=host, source="stat-train", prompt=False, update_session=False)
    except wandb.errors.Error as error:
        return "offline", [f"track=wandb: the key cannot be used, so data are kept offline: {error}"]
    if key:
        return "online", []
    missing = f"track=wandb: no key for {host} (WANDB_API_KEY, or wandb login), so data are kept offline"
    return "offline", [missing] if wanted == "online" else []
