"""One run: its settings, its folder, whom it may ask, and where it speaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, cast

from rich.console import Console

from stat_train.compose import Settings
from stat_train.config import (
    ArithmeticTeacher,
    Config,
    Endpoint,
    EndpointStudent,
    LabelsTeacher,
    LocalStudent,
    OpenAITeacher,
    Prompt,
    is_local,
    local_path,
)
from stat_train.counts import Counts, dropped_counts
from stat_train.errors import stopped
from stat_train.models.budget import Budget
from stat_train.models.ledger import Ledger, Spent
from stat_train.models.places import Weights
from stat_train.run_folder import RunFolder
from stat_train.run_state import DoneStage, RunState, begun, ending, now
from stat_train.setting_types import Node
from stat_train.store import Artifact, file_hash, make, make_folder, partial_of, place_of
from stat_train.tasks.answer_pool import PooledGrader, function_hash, grader_function, is_function
from stat_train.tasks.answers import BuiltInGrader
from stat_train.tasks.graders import Grader, PlainGrader
from stat_train.tasks.load import NO_OTHERS, OtherValidation, others_of
from stat_train.teacher.asking import TeacherGenerator
from stat_train.teacher.contract import Teacher, exact_teacher
from stat_train.teacher.prompt_files import Prompts, read_prompts
from stat_train.teacher.second import Second, second_teacher
from stat_train.tracking.tracker import Tracker
from stat_train.training.world import JOB_OF

if TYPE_CHECKING:
    from stat_train.models.serving import ServedModel

Build = Callable[[Path], Counts]
Summary = dict[str, Any]
Asked = Literal["teacher", "audit"]
# A file of this name in the run folder asks the run to stop: a training saves its state first.
STOP = "STOP"
PLAIN_GRADERS = ("exact", "numeric", "choice")


class Round(NamedTuple):
    """Which round of several a run is, and what it has of the others; a run that is alone is the first of none.

    `student` is whose answers are profiled, the model of the round before; None: the student of the settings. `start`
    is what is trained; None: the student. `earlier` are the training sets that are trained on beside the round's own.
    `whole` is the folder of all rounds, and `beside` are the run folders whose calls are paid from the same budget.
    """

    number: int = 1
    student: Weights | None = None
    start: Weights | None = None
    earlier: tuple[Artifact, ...] = ()
    others: OtherValidation = NO_OTHERS
    whole: Path | None = None
    beside: tuple[Path, ...] = ()


ALONE = Round()


@dataclass
class Run:
    """What every stage is given: the settings, the run folder, the way to make an artifact; a context manager.

    `arms` are the models that are compared, as far as they are known, the last trained last.
    """

    settings: Settings
    command: Sequence[str]
    console: Console
    round: Round = ALONE
    arms: dict[str, Weights] = field(default_factory=dict)
    opened: ExitStack = field(default_factory=ExitStack)
    graders: dict[str, Grader] = field(default_factory=dict)
    servers: dict[str, ServedModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config: Config = self.settings.config
        if self.round is ALONE:
            self.round = Round(others=others_of(self.config))
        self.prompts: Prompts = {}
        if isinstance(self.config.teacher, OpenAITeacher):
            self.prompts = read_prompts(self.config.teacher.prompts)
        for name in filter(is_function, self.config.graders()):
            grader_function(name)
        self.cache_dir = Path(self.config.cache_dir).expanduser()
        make_folder(self.cache_dir, "cache_dir")
        self.folder = RunFolder(Path(self.config.run_dir).expanduser())
        self.tracker = Tracker(self.config, self.folder.folder, self.console)
        self.state: RunState | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        status, exit_code, reason = ending(error)
        try:
            # What is open may want to know how the run ended.
            self.opened.__exit__(kind, error, at)
        finally:
            # A disk that is full, say, is what the run ended of, and must not hide it.
            with suppress(OSError):
                self._tell(status=status, ended=now(), exit_code=exit_code, error=reason)

    def make(
        self, name: str, version: int, inputs: Sequence[Artifact], identity: Summary, build: Build, *links: str
    ) -> Artifact:
        """Make a stage's artifact, or find it made; link its files into the run folder and say so, once in a run.

        Raises StatTrainError with the exit code of a stopped run when the run was asked to stop meanwhile.
        """
        if self.stop_file.exists():
            raise stopped(
                f"stopped before stage {name}, as asked ({self.stop_file}); the same command goes on from there"
            )
        place = place_of(self.cache_dir, name, version, inputs, identity)
        if not place.exists():
            self._tell(stage=name, partial=str(partial_of(place).absolute()), since=now())
        artifact = make(self.cache_dir, name, version, inputs, identity, build)
        if any(artifact.name == each.name for each in self.folder.made):
            return artifact
        self.folder.add(artifact, links)
        self._tell_done(artifact)
        state = "done before" if artifact.reused else f"{artifact.seconds:.1f} s"
        left_out = ", ".join(f"{count:,} x {reason}" for reason, count in dropped_counts(artifact.dropped()).items())
        self.console.print(f"{name:<13} {state:>11}{'  left out: ' + left_out if left_out else ''}", highlight=False)
        return artifact

    def begin(self) -> None:
        """Say in the run folder that the run starts, and from now on how far it is."""
        self.state = begun(self.config.until)
        self.folder.tell(self.state)

    def _tell_done(self, artifact: Artifact) -> None:
        if self.state:
            row = DoneStage(
                stage=artifact.stage, artifact=artifact.name, seconds=artifact.seconds, reused=artifact.reused
            )
            self._tell(stage=None, partial=None, since=None, done=[*self.state.done, row])

    def _tell(self, **changes: Any) -> None:
        if self.state:
            self.state = self.state.model_copy(update=changes)
            self.folder.tell(self.state)

    @property
    def stop_file(self) -> Path:
        """Return the file that asks the run to stop when it appears; of several rounds, that of the whole."""
        return (self.round.whole or self.folder.folder).absolute() / STOP

    def start_tracking(self) -> None:
        """Tell W&B or TensorBoard of the run from here to its end, if the settings say so."""
        self.opened.enter_context(self.tracker)

    def clear_stop(self) -> None:
        """Take away what asked an earlier run to stop, and say so: this one was started after it.

        Not in a batch job of one stage: its run was started when it was submitted, and may have been asked since then.
        """
        if JOB_OF not in os.environ and self.stop_file.exists():
            self.stop_file.unlink()
            self.console.print(f"removed {self.stop_file}, which had asked an earlier run to stop", highlight=False)

    def link(self, name: str, target: Path) -> None:
        """Show a folder in the run folder under a name."""
        self.folder.link(name, target)

    def say(self, text: str) -> None:
        """Print a line under the stage's own."""
        self.console.print(f"{'':<25}  {text}", highlight=False, markup=False)

    def say_all(self, texts: Iterable[str]) -> None:
        """Print lines under the stage's own."""
        for text in texts:
            self.say(text)

    # -- whom it may ask ----------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of calls, open until the run ends."""
        return self.opened.enter_context(Ledger(self.cache_dir))

    @cached_property
    def budget(self) -> Budget:
        """The budget of this run, over all its restarts; what other rounds spent is taken from it."""
        return Budget(self.config.budget, self.pays_as, self.ledger, self.spent_beside())

    @property
    def pays_as(self) -> str:
        """Return what the run is called where calls are charged: the same over all its restarts.

        The first of several rounds is called as the whole: a batch job that carries it out knows of no other.
        """
        first = self.round.whole if self.round.number == 1 else None
        return str((first or self.folder.folder).absolute())

    def spent_beside(self) -> Spent:
        """Return what the other rounds of the run spent."""
        others = Spent()
        for folder in self.round.beside:
            others = others.plus(self.ledger.spent(str(folder.absolute())))
        return others

    def read_ledger_anew(self) -> None:
        """Take in what other processes asked on this run's account, and what they spent."""
        for name in ("ledger", "budget", "teacher", "second_teacher"):
            self.__dict__.pop(name, None)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher; one behind an endpoint is connected to when it is asked for the first time."""
        return self._teacher(self.config.teacher, "teacher")

    @cached_property
    def second(self) -> Second:
        """Who is asked for diagnoses again."""
        return second_teacher(self.config)

    @cached_property
    def second_teacher(self) -> Teacher:
        """The teacher that is asked again."""
        return self._teacher(self.second.settings, self.second.role)

    @property
    def grader(self) -> Grader:
        """What tells whether answers to the task's questions are right."""
        return self.grader_named(self.config.task.grader)

    def grader_named(self, name: str) -> Grader:
        """Return the grader of this name, as `task.grader` takes it; it is the same one each time."""
        if name not in self.graders:
            self.graders[name] = self._grader(name)
        return self.graders[name]

    def _grader(self, name: str) -> Grader:
        if name == "judge":
            from stat_train.teacher.judge import JudgeGrader
            from stat_train.teacher.llm import LanguageModelTeacher

            assert isinstance(self.teacher, LanguageModelTeacher)
            return JudgeGrader(self.teacher)
        if name in PLAIN_GRADERS:
            return PlainGrader(cast(BuiltInGrader, name))
        return self.opened.enter_context(PooledGrader(name, self.config.task.grader_timeout_seconds))

    def grader_identity(self, name: str | None = None) -> Summary:
        """Return what verdicts depend on beside the answers; without a name, of the task's grader."""
        name = name or self.config.task.grader
        if name == "judge":
            return {"grader": name, "teacher": self.teacher_identity("judge", "judge_freely")}
        if name in PLAIN_GRADERS:
            return {"grader": name}
        # What took too long once may not with more time.
        limit = {"timeout_seconds": self.config.task.grader_timeout_seconds}
        return {"grader": name} | limit | ({"function": function_hash(name)} if is_function(name) else {})

    def teacher_identity(self, *prompts: str, settings: Node | None = None) -> Summary:
        """Return what the replies to these prompts depend on; of another teacher with its `settings`."""
        versions = {name: self.prompts[name].version for name in prompts if name in self.prompts}
        return (settings or self.config.teacher).identity() | ({"prompts": versions} if versions else {})

    def _teacher(self, settings: ArithmeticTeacher | LabelsTeacher | OpenAITeacher, role: Asked) -> Teacher:
        if not isinstance(settings, OpenAITeacher):
            return exact_teacher(settings)
        from stat_train.teacher.llm import LanguageModelTeacher

        return LanguageModelTeacher(settings, self.prompts, lambda: self._connect(settings, role))

    def _connect(self, settings: OpenAITeacher, role: Asked) -> TeacherGenerator:
        from stat_train.models.endpoint import Attempts, EndpointGenerator

        attempts = Attempts(settings.max_attempts, settings.retry_bad)
        served, seed = self.served("teacher", settings), settings.sampling_seed
        generator = EndpointGenerator(settings, self.ledger, self.budget, role, attempts, seed, served)
        return self.opened.enter_context(generator)

    # -- models that it serves itself ---------------------------------------------------------------------------------

    def served(self, role: str, endpoint: Endpoint) -> ServedModel | None:
        """Return the server of a model that the run is to serve; it starts when it is asked for the first time."""
        if endpoint.server is None:
            return None
        if role not in self.servers:
            from stat_train.models.serving import ServedModel

            log = self.folder.folder.absolute() / f"{role}_server.log"
            one = ServedModel(role, endpoint, log, self.config.slurm, lambda: self._make_room(role))
            self.servers[role] = self.opened.enter_context(one)
        return self.servers[role]

    def free_gpus(self, for_long: bool = False) -> None:
        """Stop the servers on GPUs that a stage needs; `for_long`, those on others too, which would lie idle."""
        for server in self.servers.values():
            if for_long or server.server.where == "process":
                server.stop()

    def _make_room(self, role: str) -> None:
        """Say that a server starts, and stop those that are on its GPUs."""
        self.say(f"starting the server of the {role}; what it says goes to {self.servers[role].log}")
        for server in self.servers.values():
            if server.role != role and server.shares_gpus(self.servers[role]):
                server.stop()

    def fingerprint(self, place: str) -> str:
        """Return what identifies a file, a folder or a hub name: the content of what is local, else the name."""
        local = local_path(place)
        if not (local.exists() or is_local(place)):
            return place
        # `FOLDER:CONFIG` is another set of questions than the folder alone.
        part = Path(place).name.removeprefix(local.name)
        return file_hash(local, self.cache_dir) + part

    @property
    def prompt(self) -> Prompt:
        """How the student is asked; a recorded one is taken to have been asked plainly."""
        if isinstance(self.config.student, LocalStudent | EndpointStudent):
            return self.config.student.prompt
        return Prompt(system=None, template="{question}", chat_template_arguments={})
