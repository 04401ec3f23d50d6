"""One run: its settings, its folder, whom it may ask, and where it speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from rich.console import Console

from stat_train.compose import Settings
from stat_train.config import (
    ArithmeticTeacher,
    Config,
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
from stat_train.models.ledger import Ledger
from stat_train.run_folder import RunFolder
from stat_train.setting_types import Node
from stat_train.store import Artifact, file_hash, make, make_folder
from stat_train.tasks.answer_pool import PooledGrader, function_hash, grader_function, is_function
from stat_train.tasks.answers import BuiltInGrader
from stat_train.tasks.graders import Grader, PlainGrader
from stat_train.teacher.asking import TeacherGenerator
from stat_train.teacher.contract import Teacher, exact_teacher
from stat_train.teacher.prompt_files import Prompts, read_prompts
from stat_train.teacher.second import Second, second_teacher
from stat_train.tracking.tracker import Tracker

Build = Callable[[Path], Counts]
Summary = dict[str, Any]
Asked = Literal["teacher", "audit"]
# A file of this name in the run folder asks the run to stop: a training saves its state first.
STOP = "STOP"
PLAIN_GRADERS = ("exact", "numeric", "choice")


@dataclass
class Run:
    """What every stage is given: the settings, the run folder, the way to make an artifact; a context manager."""

    settings: Settings
    command: Sequence[str]
    console: Console
    opened: ExitStack = field(default_factory=ExitStack)
    graders: dict[str, Grader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config: Config = self.settings.config
        self.prompts: Prompts = {}
        if isinstance(self.config.teacher, OpenAITeacher):
            self.prompts = read_prompts(self.config.teacher.prompts)
        for name in filter(is_function, self.config.graders()):
            grader_function(name)
        self.cache_dir = Path(self.config.cache_dir).expanduser()
        make_folder(self.cache_dir, "cache_dir")
        self.folder = RunFolder(Path(self.config.run_dir).expanduser())
        self.tracker = Tracker(self.config, self.folder.folder, self.console)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # What is open may want to know how the run ended.
        self.opened.__exit__(kind, error, at)

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
        artifact = make(self.cache_dir, name, version, inputs, identity, build)
        if any(artifact.name == each.name for each in self.folder.made):
            return artifact
        self.folder.add(artifact, links)
        state = "done before" if artifact.reused else f"{artifact.seconds:.1f} s"
        left_out = ", ".join(f"{count:,} x {reason}" for reason, count in dropped_counts(artifact.dropped()).items())
        self.console.print(f"{name:<13} {state:>11}{'  left out: ' + left_out if left_out else ''}", highlight=False)
        return artifact

    @property
    def stop_file(self) -> Path:
        """Return the file that asks the run to stop when it appears."""
        return self.folder.folder.absolute() / STOP

    def start_tracking(self) -> None:
        """Tell W&B or TensorBoard of the run from here to its end, if the settings say so."""
        self.opened.enter_context(self.tracker)

    def clear_stop(self) -> None:
        """Take away what asked an earlier run to stop, and say so: this one was started after it."""
        if self.stop_file.exists():
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
        """The budget of this run, over all its restarts."""
        return Budget(self.config.budget, self.pays_as, self.ledger)

    @property
    def pays_as(self) -> str:
        """Return what the run is called where calls are charged: the same over all its restarts."""
        return str(self.folder.folder.absolute())

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
        generator = EndpointGenerator(settings, self.ledger, self.budget, role, attempts, settings.sampling_seed)
        return self.opened.enter_context(generator)

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
