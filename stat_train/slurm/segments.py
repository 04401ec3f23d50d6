"""The parts of a run that are a job each: which stages they carry out, what they need, and when two runs share one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from stat_train.config import Config, Endpoint, LocalStudent, RecordedStudent, is_local, local_path
from stat_train.diagnosis.answering import how_asked
from stat_train.prefetch.show import network_stages
from stat_train.setting_types import Node
from stat_train.store import content_hash
from stat_train.task_settings import ArithmeticTask, TextTask
from stat_train.track_settings import NoTracking
from stat_train.train_settings import GrpoTraining, NoReinforcement, NoTraining, Processes, SftTraining

# The name of the job that lets the untrained student answer the benchmarks once for all runs of a sweep.
BASE = "base"
# The stages of each job, which is named after the last; grading is one of its own where a reward model follows it.
STAGES_OF = {
    "label": ("questions", "label"),
    "answer": ("answer",),
    "grade": ("grade",),
    "score": ("score",),
    "profile": ("grade", "diagnose", "profile"),
    "curate": ("curate",),
    "train": ("train",),
    "rl": ("rl",),
    "evaluate": ("evaluate",),
    "report": ("report",),
}
ON_GPUS = ("answer", "score", "train", "rl", "evaluate", BASE)
# Whose work can be spread over the tasks of an array, because it is made in chunks.
IN_CHUNKS = ("label", "answer", "score", "evaluate", BASE)


class Segment(NamedTuple):
    """A part of a run that is one job: its name, the stages in it, how far it carries the run, and in which round."""

    name: str
    stages: tuple[str, ...]
    until: str
    round: int = 1

    @property
    def label(self) -> str:
        """Return what it is called among all of a run."""
        return self.name if self.round == 1 else f"{self.name}-round{self.round}"


def segments(config: Config) -> list[Segment]:
    """Return the jobs of a run in their order, as far as the run goes; the last one goes exactly so far.

    Of several rounds each has its own; those before the last are whole.
    """
    found = list[Segment]()
    for number in range(1, config.rounds.count + 1):
        last = config if number == config.rounds.count else config.model_copy(update={"until": "report"})
        found += [segment._replace(round=number) for segment in _of_a_round(last)]
    return found


def _of_a_round(config: Config) -> list[Segment]:
    has = {
        "grade": config.reward_model() is not None,
        "score": config.reward_model() is not None,
        "train": isinstance(config.train, SftTraining),
        "rl": isinstance(config.rl, GrpoTraining),
        "evaluate": isinstance(config.student, LocalStudent),
    }
    found = list[Segment]()
    for name in (name for name in STAGES_OF if has.get(name, True)):
        done = {stage for segment in found for stage in segment.stages}
        stages = tuple(stage for stage in STAGES_OF[name] if config.reaches(stage) and stage not in done)
        found += [Segment(name, stages, stages[-1])] if stages else []
    return [*found[:-1], found[-1]._replace(until=config.until)]


def needs_gpus(config: Config, segment: Segment) -> bool:
    """Tell whether a job loads weights itself, or starts a server that does: not where the tasks of an array do."""
    if is_spread(config, segment.name):
        return False
    if segment.name == "answer":
        return isinstance(config.student, LocalStudent) or _is_served_here(config.student)
    asks = {"label", "diagnose", "curate", *(["grade"] if "judge" in config.graders() else [])}
    return segment.name in ON_GPUS or (_is_served_here(config.teacher) and bool(asks & set(segment.stages)))


def _is_served_here(asked: object) -> bool:
    return isinstance(asked, Endpoint) and asked.server is not None and asked.server.where == "process"


def is_spread(config: Config, segment: str) -> bool:
    """Tell whether a job gives its work to the tasks of an array: then it holds no GPU itself.

    Tasks of lm-evaluation-harness are not made in chunks, and need the GPU of the job.
    """
    if config.slurm.shards == 1 or segment not in IN_CHUNKS:
        return False
    if segment == "label":
        return config.teacher.name == "openai"
    if not isinstance(config.student, LocalStudent):
        return False
    return segment in ("answer", "score") or not config.evaluate.harness


def needs_network(config: Config, segment: Segment) -> list[str]:
    """Return what a job does over the network, in words; models that are on the hub are to be fetched before."""
    stages = ("evaluate",) if segment.name == BASE else segment.stages
    asked = network_stages(config)
    questions = ["reads questions from the hub"] if "questions" in stages and _hub_names(config) else []
    return [*questions, *(asked[stage] for stage in stages if stage in asked)]


def _hub_names(config: Config) -> list[str]:
    task = config.task
    own = [task.pool, task.benchmark, task.validation] if isinstance(task, TextTask) else []
    given = [*own, *(each.path for each in config.benchmark.values())]
    return [place for place in given if isinstance(place, str) and not (is_local(place) or local_path(place).exists())]


def nodes(config: Config, segment: str) -> int:
    """Return on how many nodes a job runs: more than one to train only."""
    settings = {"train": config.train, "rl": config.rl}.get(segment)
    return settings.nodes if isinstance(settings, Processes) else 1


# -- when two runs share a job ----------------------------------------------------------------------------------------
# Each row has the settings that a job depends on beside those of the rows before it. Too much in a row makes a job that
# finds its results made; too little leaves them to the next job, which makes them. Both cost time alone: what is made
# is known by its artifact, and never twice.


def _made_questions(config: Config) -> list[Any]:
    recorded = config.student.identity() if isinstance(config.student, RecordedStudent) else None
    seed = config.seed if isinstance(config.task, ArithmeticTask) else None
    rounds = [config.rounds.start, config.rounds.validation]
    return [config.task.identity(), _each(config.benchmark), rounds, seed, recorded]


def _asked_answers(config: Config) -> list[Any]:
    if isinstance(config.student, RecordedStudent):
        return []
    sampling, attempts = how_asked(config.student, config.difficulty)
    seed = config.seed if sampling.temperature else None
    return [config.student.identity(), attempts, sampling.temperature, seed]


def _each(nodes: dict[str, Any]) -> dict[str, Any]:
    return {name: node.identity() if isinstance(node, Node) else node for name, node in nodes.items()}


DEPENDS_ON: dict[str, Callable[[Config], list[Any]]] = {
    "label": lambda config: [*_made_questions(config), config.teacher.identity()],
    "answer": _asked_answers,
    "grade": lambda config: [],
    "score": lambda config: [config.difficulty.identity()],
    "profile": lambda config: [config.difficulty.identity(), config.audit.identity()],
    "curate": lambda config: [config.data_recipe.identity(), config.decontaminate.identity(), config.seed],
    "train": lambda config: [config.train.identity(), config.seed],
    "rl": lambda config: [config.rl.identity()],
    "evaluate": lambda config: [config.train.identity(), config.rl.identity(), config.evaluate.identity()],
    "report": lambda config: [config.run_dir],
}


def shared_keys(config: Config) -> Iterator[tuple[Segment, str]]:
    """Yield the jobs of a run with what each is known by: those of two runs with one key need to be done once."""
    key = ""
    for segment in segments(config):
        key = content_hash([key, segment, DEPENDS_ON[segment.name](config)])
        yield segment, key


def base_config(config: Config) -> Config | None:
    """Return the settings of a run that lets the untrained student answer the benchmarks; None where none trains."""
    trains = isinstance(config.train, SftTraining) or isinstance(config.rl, GrpoTraining)
    if not (trains and config.reaches("evaluate") and isinstance(config.student, LocalStudent)):
        return None
    untrained = {"train": NoTraining(name="none"), "rl": NoReinforcement(name="none")}
    quiet = {"track": NoTracking(name="none"), "push_to_hub": None}
    return config.model_copy(update={**untrained, **quiet, "until": "evaluate"})


def base_key(config: Config) -> str:
    """Return what the untrained student's answers to the benchmarks are known by."""
    asked = [*_made_questions(config), *_asked_answers(config), config.evaluate.identity()]
    # Which of their questions are difficult, and which examples stand before them, depends on these.
    chosen = [config.difficulty.identity(), config.decontaminate.identity(), config.seed]
    plain = config.evaluate.prompting == "plain" and not any(each.only_difficult for each in config.benchmark.values())
    seed = config.seed if config.evaluate.temperature else None
    return content_hash([BASE, asked, seed, None if plain else chosen])
