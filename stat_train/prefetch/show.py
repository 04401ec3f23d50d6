"""Everything that a run takes from the network, fetched and shown; and the stages that need it all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from stat_train.compose import Settings
from stat_train.config import Config, Endpoint
from stat_train.prefetch.item import Item
from stat_train.prefetch.models import fetch, models_of
from stat_train.prefetch.questions import fetch_harness, fetch_questions

STYLES = {"failed": "bold red", "fetched": "green", "here": "dim", "local": "dim"}
WORDS = {"here": "here already", "fetched": "fetched", "local": "local file", "failed": "failed"}


class Prefetched(NamedTuple):
    """What was fetched, and the stages that need the network while they run, each with the reason."""

    items: list[Item]
    network: dict[str, str]

    @property
    def whole(self) -> bool:
        """Tell whether everything is here."""
        return all(item.state != "failed" for item in self.items)


def prefetch(settings: Settings) -> Prefetched:
    """Fetch what the run would; raises StatTrainError for questions that the run would refuse."""
    config = settings.config
    items = [item for model in models_of(config) for item in fetch(model)]
    items += [*fetch_questions(settings), *fetch_harness(config)]
    return Prefetched(items, network_stages(config))


def network_stages(config: Config) -> dict[str, str]:
    """Return the stages that talk to another machine while they run, with whom."""
    found: dict[str, str] = {}
    if _elsewhere(config.student):
        found["answer"] = "asks the student (student.base_url)"
    if _elsewhere(config.teacher):
        judged = "judge" in config.graders()
        prompted = config.evaluate.prompting == "adaptmi"
        asked = {"label": True, "grade": judged, "diagnose": True, "profile": bool(config.audit.sample)}
        asked |= {"curate": True, "evaluate": judged or prompted}
        found |= {stage: "asks the teacher (teacher.base_url)" for stage, asks in asked.items() if asks}
    if config.push_to_hub:
        found["curate"] = "; ".join(filter(None, (found.get("curate"), "publishes the training set (push_to_hub)")))
    return {stage: why for stage, why in found.items() if config.reaches(stage)}


def _elsewhere(asked: object) -> bool:
    """Tell whether a model is asked at another machine than the run's own."""
    return isinstance(asked, Endpoint) and (asked.server is None or asked.server.where == "slurm")


def as_json(found: Prefetched) -> dict[str, Any]:
    """Return what was fetched as plain JSON values."""
    return {"whole": found.whole, "items": [item._asdict() for item in found.items], "network_stages": found.network}


def print_prefetched(found: Prefetched, console: Console) -> None:
    """Print a line for each thing, the reasons of what failed, and where the network is needed."""
    if found.items:
        console.print(_table(found.items))
    else:
        console.print("This run takes nothing from the network before it starts.")
    for item in found.items:
        if item.why:
            _print(f"{item.key} = {item.name}: {item.why}", console)
    if found.network:
        _print("\nStages that need the network all the same:", console)
        for stage, why in found.network.items():
            _print(f"  {stage:<10} {why}", console)
    if not found.whole:
        _print("\nNot everything is here; the reasons are above", console)
    elif found.items:
        _print("\nEverything is here: the other stages run with HF_HUB_OFFLINE=1", console)


def _table(items: Sequence[Item]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("setting", "what", "kind"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right")
    for name in ("state", "where"):
        table.add_column(name, overflow="fold")
    for item in items:
        size = "" if item.size_bytes is None else f"{item.size_bytes / 1e6:,.1f} MB"
        state = f"[{STYLES[item.state]}]{WORDS[item.state]}[/]"
        table.add_row(item.key, item.name, item.kind, size, state, item.where)
    return table


def _print(text: str, console: Console) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
