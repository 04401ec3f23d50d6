"""The schema of every setting; the defaults and their meaning are in `conf/` and `data_recipes/`, in one place only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stat_train.launch_settings import STAGES, Rounds, Server, Slurm, Stage, Sweep
from stat_train.recipe_settings import DataRecipe
from stat_train.setting_types import (
    OPERATIONAL,
    BenchmarkName,
    Count,
    EnvironmentVariable,
    GraderName,
    HubName,
    Node,
    Positive,
    Seed,
    Share,
    Temperature,
    Text,
    TopP,
    Url,
)
from stat_train.task_settings import ArithmeticTask, FieldNames, TextTask
from stat_train.track_settings import Tracking
from stat_train.train_settings import Reinforcement, Strategy, Training

# Where results are put, and how far a run goes, is no difference between what two runs do.
NOT_OF_A_RUN = ("run_dir", "cache_dir", "until", "sweep", "slurm")
# The settings that name a file of questions.
QUESTION_KEYS = (
    "task.pool",
    "task.benchmark",
    "task.validation",
    "decontaminate.against",
    "rl.prompts",
    "rounds.validation",
)


class Prompt(Node):
    """How a question becomes a prompt; the same for answering, training and evaluation."""

    system: Text | None
    template: Annotated[str, Field(pattern=r"\{question\}")]
    chat_template_arguments: dict[str, Any]


class LocalStudent(Node):
    """A student with weights: a folder, a hub name, or `tiny`, the one that is shipped."""

    name: Literal["tiny", "local"]
    model: Text
    revision: Text | None
    attempts: Positive
    temperature: Temperature
    max_new_tokens: Positive
    prompt: Prompt
    batch_size: Positive
    processes: Annotated[int | None, Field(ge=1), OPERATIONAL]


class Endpoint(Node):
    """An OpenAI-compatible chat endpoint, or several that serve the same model, and how it is called.

    A model that the run serves itself has a `server` in the place of an address.
    """

    base_url: Annotated[Url | Annotated[list[Url], Field(min_length=1)] | None, OPERATIONAL]
    server: Annotated[Server | None, OPERATIONAL]
    model: Text
    revision: Text | None
    api_key_env: Annotated[EnvironmentVariable | None, OPERATIONAL]
    request_overrides: dict[str, Any]
    timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]
    connect_timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]
    max_retries: Annotated[int, Field(ge=0), OPERATIONAL]
    max_wait_seconds: Annotated[float, Field(gt=0), OPERATIONAL]
    max_concurrency: Annotated[int, Field(ge=1), OPERATIONAL]
    max_slowdown: Annotated[float | None, Field(gt=1), OPERATIONAL]
    requests_per_minute: Annotated[int | None, Field(ge=1), OPERATIONAL]
    tokens_per_minute: Annotated[int | None, Field(ge=1), OPERATIONAL]
    usd_per_million_input_tokens: Annotated[float | None, Field(ge=0), OPERATIONAL]
    usd_per_million_output_tokens: Annotated[float | None, Field(ge=0), OPERATIONAL]
    temperature: Temperature
    max_new_tokens: Positive


class EndpointStudent(Endpoint):
    """A student that is served: vLLM, SGLang or a hosted model."""

    name: Literal["endpoint", "served"]
    attempts: Positive
    prompt: Prompt

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's hash covers; who started the server is not one."""
        return super().identity() | {"name": "endpoint"}


class RecordedStudent(Node):
    """A student that is known by its recorded answers only."""

    name: Literal["recorded"]
    path: Text


class ArithmeticTeacher(Node):
    """The exact teacher of the embedded task; with `error_rate`, a diagnosis names another skill that often."""

    name: Literal["arithmetic"]
    error_rate: Share
    wrong_solution_rate: Share
    same_error_rate: Share
    sampling_seed: int


class LabelsTeacher(Node):
    """A teacher without a language model: a difficult question misses the skills that it is labelled with."""

    name: Literal["labels"]


class OpenAITeacher(Endpoint):
    """A language model behind an endpoint; a reply that cannot be used is asked for `max_attempts` times in all."""

    name: Literal["openai", "served"]
    prompts: Annotated[Text | None, OPERATIONAL]  # what the files say is identity, not where they are
    writing_temperature: Temperature
    discovery_questions: Positive
    skills_per_subject: Positive
    sampling_seed: int
    max_attempts: Positive
    retry_bad: bool

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's hash covers; who started the server is not one."""
        return super().identity() | {"name": "openai"}


class Audit(Node):
    """Diagnoses that are asked again, of the same teacher or of a second model; what is None is the teacher's own."""

    sample: Count
    model: Text | None
    revision: Text | None
    base_url: Annotated[Url | Annotated[list[Url], Field(min_length=1)] | None, OPERATIONAL]
    api_key_env: Annotated[EnvironmentVariable | None, OPERATIONAL]
    usd_per_million_input_tokens: Annotated[float | None, Field(ge=0), OPERATIONAL]
    usd_per_million_output_tokens: Annotated[float | None, Field(ge=0), OPERATIONAL]


class GoldDifficulty(Node):
    """Difficult when the answer is graded wrong."""

    name: Literal["gold"]
    attempts: Literal["first", "any", "majority"]


class RewardModel(Node):
    """A process reward model: which one, and how it is shown an answer."""

    model: Text
    revision: Text | None
    trust_remote_code: bool
    system: Text | None
    separator: Text | None
    batch_size: Positive
    processes: Annotated[int | None, Field(ge=1), OPERATIONAL]


class StepRewardDifficulty(Node):
    """Difficult by the step rewards of the answer (method stage 1)."""

    name: Literal["step_rewards"]
    attempts: Literal["first", "any", "majority"]
    step_rewarder: Literal["checker", "prm", "token_prm"]
    checker_error_rate: Share
    checker_spread: Share
    tau1: Share
    tau2: Share
    prm: RewardModel | None

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's hash covers; an exact checker is known as it was before it could err."""
        exact = [name for name in ("checker_error_rate", "checker_spread") if not getattr(self, name)]
        return {name: value for name, value in super().identity().items() if name not in exact}


class ConsistencyDifficulty(Node):
    """Difficult when the commonest final answer of several samples is too rare."""

    name: Literal["consistency"]
    samples: Annotated[int, Field(ge=2)]
    temperature: Temperature
    min_agreement: Positive


class LengthDifficulty(Node):
    """Difficult when the answers are long: `min_words` words or more on average."""

    name: Literal["length"]
    samples: Positive
    temperature: Temperature
    min_words: Positive


class BudgetCaps(Node):
    """What a run may spend on calls, over all its restarts; None for no cap."""

    max_usd: Annotated[float | None, Field(ge=0), OPERATIONAL]
    max_calls: Annotated[int | None, Field(ge=0), OPERATIONAL]
    max_tokens: Annotated[int | None, Field(ge=0), OPERATIONAL]


class PlanAssumptions(Node):
    """What `stat-train plan` takes for granted where it cannot know yet."""

    difficult_share: Annotated[Share, OPERATIONAL]
    skills_per_question: Annotated[float, Field(gt=0), OPERATIONAL]
    answer_tokens: Annotated[int, Field(ge=1), OPERATIONAL]
    label_tokens: Annotated[int, Field(ge=1), OPERATIONAL]
    diagnosis_tokens: Annotated[int, Field(ge=1), OPERATIONAL]
    rewrite_tokens: Annotated[int, Field(ge=1), OPERATIONAL]
    question_tokens: Annotated[int, Field(ge=1), OPERATIONAL]
    kept_share: Annotated[float, Field(gt=0, le=1), OPERATIONAL]
    output_tokens_per_second: Annotated[float, Field(gt=0), OPERATIONAL]
    pool_questions: Annotated[Positive | None, OPERATIONAL]
    validation_questions: Annotated[Positive | None, OPERATIONAL]
    benchmark_questions: Annotated[Positive | dict[BenchmarkName, Positive] | None, OPERATIONAL]
    pool_question_tokens: Annotated[Positive, OPERATIONAL]
    pool_solution_tokens: Annotated[Positive, OPERATIONAL]
    subjects: Annotated[Positive, OPERATIONAL]


class Decontamination(Node):
    """Which questions must not be trained on beside the run's own, and what becomes of pool rows that are near one."""

    against: list[Text]
    template_twins: Literal["drop", "flag"]


class Evaluation(Node):
    """How a checkpoint answers the benchmarks of the task, and what is measured there."""

    prompting: Literal["plain", "adaptmi"]
    exemplars: Positive
    samples: Positive
    pass_at: Annotated[int, Field(ge=1)] | None
    temperature: Temperature
    log_probabilities: bool
    harness: list[Text]
    harness_tasks: Text | None
    harness_limit: Positive | None
    top_p: TopP
    batch_size: Annotated[int | None, Field(ge=1), OPERATIONAL]


class BenchmarkSettings(Node):
    """A benchmark beside the task's own: where its questions are, and how they are answered, graded and scored."""

    path: Text | None
    fields: FieldNames
    max_bad_rows: Count
    grader: GraderName | None
    samples: Positive
    pass_at: Annotated[int, Field(ge=1)] | None
    temperature: Temperature
    top_p: TopP
    max_new_tokens: Annotated[int, Field(ge=1)] | None
    only_difficult: bool


Task = Annotated[ArithmeticTask | TextTask, Field(discriminator="name")]
Student = Annotated[LocalStudent | EndpointStudent | RecordedStudent, Field(discriminator="name")]
Teacher = Annotated[ArithmeticTeacher | LabelsTeacher | OpenAITeacher, Field(discriminator="name")]
Difficulty = Annotated[
    GoldDifficulty | StepRewardDifficulty | ConsistencyDifficulty | LengthDifficulty, Field(discriminator="name")
]


class Config(Node):
    """All settings of a run."""

    run_dir: Text
    cache_dir: Text
    seed: Seed
    until: Stage
    rounds: Annotated[Rounds, OPERATIONAL]
    task: Task
    student: Student
    teacher: Teacher
    audit: Audit
    difficulty: Difficulty
    data_recipe: DataRecipe
    decontaminate: Decontamination
    push_to_hub: Annotated[HubName | None, OPERATIONAL]
    train: Training
    rl: Reinforcement
    deepspeed: Annotated[Strategy, OPERATIONAL]
    budget: BudgetCaps
    track: Annotated[Tracking, OPERATIONAL]
    sweep: Annotated[Sweep, OPERATIONAL]
    slurm: Annotated[Slurm, OPERATIONAL]
    plan: PlanAssumptions
    evaluate: Evaluation
    benchmark: dict[BenchmarkName, BenchmarkSettings]

    def reaches(self, stage: str) -> bool:
        """Tell whether the run goes as far as `stage`."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    def reward_model(self) -> RewardModel | None:
        """Return the model that scores the steps of answers, where one does."""
        return self.difficulty.prm if isinstance(self.difficulty, StepRewardDifficulty) else None

    def task_benchmarks(self) -> list[str]:
        """Return the names of the task's own benchmarks, the one that the run is judged by first."""
        return list(self.task.benchmarks) if isinstance(self.task, ArithmeticTask) else [self.task.name]

    def graders(self) -> list[str]:
        """Return the graders that tell whether answers are right, the task's first."""
        chosen = [each.grader for each in self.benchmark.values() if each.grader]
        return list(dict.fromkeys([self.task.grader, *chosen]))


def is_local(place: str) -> bool:
    """Tell a file's path from a hub name: a path has a data file's ending, or says where it starts."""
    return place.startswith((".", "/", "~")) or place.endswith((".jsonl", ".json", ".parquet"))


def local_path(place: str) -> Path:
    """Return the path of a file or folder; `FOLDER:CONFIG@REVISION` is a local folder laid out as on the hub."""
    path, folder = Path(place).expanduser(), Path(re.split("[:@]", place)[0]).expanduser()
    return folder if folder.is_dir() and folder != Path() and not path.exists() else path


def absent_file(key: str, place: str, remedy: str = "") -> str | None:
    """Return the problem when `place` names a local file that is not there."""
    is_questions = key in QUESTION_KEYS or key.startswith("benchmark.")
    path = local_path(place) if is_questions else Path(place).expanduser()
    if path.exists() or not (is_local(place) or key in ("student.path", "task.skills")):
        return None
    return f"{key} = {place}: no such file (looked in {path.absolute().parent}){remedy}"
