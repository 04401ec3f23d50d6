"""What the code and its settings files look like, read from their text: nothing here runs the method."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from stat_train.compose import choices, config_dir, leaves, read_settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "stat_train"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each may import what stands before it, and what stands beside it.
ORDER = (
    {"records", "errors", "ending", "intervals", "counts", "progress", "gpus", "batches"},
    {
        "setting_types",
        "recipe_settings",
        "task_settings",
        "train_settings",
        "track_settings",
        "config",
        "packages",
        "train_contradictions",
        "evaluation_contradictions",
        "contradictions",
        "store",
        "sbatch",
        "run_state",
        "run_folder",
        "launch_settings",
        "experiment_settings",
    }
    | {"chunks", "compose", "device_seconds"},
    {"tasks", "models"},
    {"teacher"},
    {"diagnosis", "curation"},
    {"training", "evaluation", "tracking", "claims"},
    {
        "run",
        "benchmarks",
        "costs",
        "labelling",
        "student",
        "scoring",
        "difficult_parts",
        "prompting",
        "curating",
        "tuning",
        "reinforcing",
        "measuring",
        "evaluating",
        "reporting",
        "pipeline",
        "rounds",
    }
    | {"stage", "doctor", "plan", "trace", "sweeping", "status", "prefetch", "slurm"},
    {"cli", "help_texts"},
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
HEAVY = {"torch", "transformers", "trl", "deepspeed", "accelerate", "peft", "tokenizers", "datasets", "scipy"}
HEAVY |= {"krippendorff", "lm_eval", "matplotlib"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 8
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Import(NamedTuple):
    """One imported module; `at_start` when importing the file imports it too."""

    module: str
    at_start: bool


def imports(tree: ast.AST, at_start: bool = True) -> Iterator[Import]:
    """Yield every import of a file: also those inside functions, and those for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield Import(node.module or "", at_start)
            yield from (Import(f"{node.module}.{alias.name}", at_start) for alias in node.names)
        else:
            late = isinstance(node, FunctionNode) or (
                isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            )
            yield from imports(node, at_start and not late)


def room_of(module: str) -> str | None:
    """Return which part of the package a module name belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "stat_train" and len(parts) > 1 and parts[1] in RANK else None


def room_imports() -> set[tuple[str, str]]:
    """Return which part of the package imports which other."""
    pairs = set()
    for path in FILES:
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        pairs |= {(room, other) for found in imports(parsed(path)) if (other := room_of(found.module))}
    return {(room, other) for room, other in pairs if room and room != other}


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


# -- imports ----------------------------------------------------------------------------------------------------------


def test_every_file_of_the_package_has_its_place_in_the_order() -> None:
    placed = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert placed == set(RANK)


def test_imports_point_one_way() -> None:
    pairs = room_imports()
    assert len(pairs) > len(RANK), "imports were not found, so nothing was proved"
    assert [pair for pair in sorted(pairs) if RANK[pair[1]] > RANK[pair[0]]] == []


def test_parts_that_stand_side_by_side_do_not_import_each_other_in_turn() -> None:
    pairs = room_imports()
    assert [pair for pair in sorted(pairs) if pair[::-1] in pairs] == []


def test_diagnosis_and_curation_meet_in_the_records_only() -> None:
    assert room_imports() & {("diagnosis", "curation"), ("curation", "diagnosis")} == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch", Import("torch", True)),
        ("def f():\n    from trl import SFTTrainer", Import("trl", False)),
        ("try:\n    import scipy\nexcept ImportError:\n    pass", Import("scipy", True)),
        ("if TYPE_CHECKING:\n    from datasets import Dataset", Import("datasets", False)),
        ("class C:\n    import peft", Import("peft", True)),
    ],
)
def test_the_import_reader_tells_early_from_late(text: str, expected: Import) -> None:
    assert next(imports(ast.parse(text))) == expected


def test_model_libraries_are_imported_at_start_only_where_weights_are_at_work() -> None:
    early = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for found in imports(parsed(path))
        if found.at_start and found.module.split(".")[0] in HEAVY
    }
    assert "models/transformers.py" in early
    expected = {"models/transformers.py", "diagnosis/reward_models.py"}
    assert {path for path in early if not path.startswith("training/")} == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--cfg", "job"],
        ["--version"],
        *([verb, "--help"] for verb in ("compare", "profiles", "plan", "doctor", "trace", "status", "prefetch")),
        *([verb, "--help"] for verb in ("compare", "profiles", "plan", "doctor", "trace", "launch")),
    ],
    ids=" ".join,
)
def test_a_command_without_a_model_imports_no_model_library(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "from stat_train.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "print()\nprint(json.dumps([code, sorted(sys.modules)]))"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert (code, "stat_train.cli" in modules) == (0, True)
    assert HEAVY & set(modules) == set()


# -- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, FunctionNode)]
    long = {
        node.name: lines
        for node in functions
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    wide = {node.name: count for node in functions if (count := parameters(node)) > MAX_PARAMETERS}
    assert (long, wide) == ({}, {})


def parameters(function: FunctionNode) -> int:
    """Return how many parameters a caller may fill, `*args` and `**kwargs` counted as one each."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return sum(argument is not None and argument.arg not in ("self", "cls") for argument in every)


def test_parameters_are_counted() -> None:
    function = ast.parse("def f(self, a, /, b, *args, c, **kwargs): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert parameters(function) == 5


# -- settings files ---------------------------------------------------------------------------------------------------

CHOICES = [(group, choice) for group, names in choices().items() for choice in names]
SETTINGS_FILES = sorted(
    {path.resolve() for path in config_dir().glob("**/*.yaml")} | set(ROOT.glob("data_recipes/*.yaml"))
)
# What a choice needs beside it: other choices that it goes with, and its required settings.
COMPANIONS = {
    ("task", "jsonl"): ["task.pool={file}", "task.benchmark={file}", "teacher=labels", "difficulty=gold"],
    ("task", "math"): ["teacher=labels", "difficulty=gold"],
    ("task", "gsm8k"): ["teacher=labels", "difficulty=gold"],
    ("student", "local"): ["student.model={folder}"],
    ("student", "recorded"): ["student.path={file}", "until=curate"],
    ("student", "endpoint"): ["student.base_url=http://localhost:8000/v1", "student.model=m", "until=curate"],
    ("difficulty", "length"): ["student.max_new_tokens=2048"],
    ("teacher", "openai"): ["teacher.model=m"],
    ("teacher", "served"): ["teacher.model=m"],
    ("student", "served"): ["student.model=m", "until=curate"],
    ("train", "external"): ["train.checkpoint={folder}"],
}
# Choices that are another one's settings in another form.
NAMES = {("difficulty", "prm"): "step_rewards", ("difficulty", "token_prm"): "step_rewards"}


# Of benchmarks several can be chosen, each under its own name: see test_benchmarks.py. Experiments have a test of their
# own, test_experiments.py.
ONE_OF_A_GROUP = [pair for pair in CHOICES if pair[0] not in ("benchmark", "experiment")]


@pytest.mark.parametrize(("group", "choice"), ONE_OF_A_GROUP, ids=lambda part: str(part))
def test_every_choice_is_valid(group: str, choice: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "1", "question": "1+1", "answer": "2"}\n')
    beside = [text.format(file=file, folder=tmp_path) for text in COMPANIONS.get((group, choice), [])]
    config = read_settings([f"{group}={choice}", *beside]).config
    chosen = getattr(config, group)
    assert getattr(chosen, "name", choice) == NAMES.get((group, choice), choice)
    own = yaml.safe_load((config_dir() / group / f"{choice}.yaml").read_text())
    given = dict(text.partition("=")[::2] for text in beside)
    expected = {f"{group}.{key}": value for key, value in leaves(own) if not key.startswith("defaults")}
    actual = {f"{group}.{key}": value for key, value in leaves(chosen.model_dump())}
    assert {key: actual[key] for key in expected} == expected | {key: given[key] for key in given if key in expected}


def test_the_folder_of_recipes_is_the_group_of_recipes() -> None:
    assert {path.stem for path in (ROOT / "data_recipes").glob("*.yaml")} == set(choices()["data_recipe"])


@pytest.mark.parametrize("path", SETTINGS_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_settings_file_says_what_it_is_and_how_to_use_it(path: Path) -> None:
    # Hydra reads where an experiment's settings belong from the first line.
    lines = path.read_text(encoding="utf-8").removeprefix("# @package _global_\n").splitlines()
    opening = lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))]
    assert opening and re.match(r"# [A-Z]\S* \S", opening[0]), "the first line says what the file is"
    assert "Command:" not in opening[0]
    command = re.search(r"Command: stat-train(.*?)(?: {2,}Cost:|$)", "\n".join(opening), re.MULTILINE)
    assert command and re.search(r"Cost: \S", "\n".join(opening)), "Command: and Cost: follow"
    if "data_recipes" in path.parts:
        group, choice = "data_recipe", path.stem
    else:
        place = path.relative_to(config_dir().resolve()).with_suffix("").as_posix()
        group, _, choice = place.partition("/")
    if group not in ("config", "audit", "evaluate", "budget", "plan", "decontaminate", "slurm"):
        ways = {f"{group}={choice}", f"{group}=[{choice}]"}
        # One of your own has a name of yours.
        ways |= {"benchmark.mine.path=mine.jsonl"} if path.match("benchmark/jsonl.yaml") else set()
        assert ways & set(command[1].split())


def test_every_settings_file_was_found() -> None:
    assert len(SETTINGS_FILES) == len(CHOICES) + 1


# -- the README -------------------------------------------------------------------------------------------------------


def test_the_file_tree_of_the_readme_is_the_disks() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md yet")
    section = re.search(r"^#+ Layout\n(.*?)(?=^#+ |\Z)", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    block = section and re.search(r"^```text\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert block, "expected a ```text block under a heading Layout"
    named = tree_paths(block[1])
    assert named, "the tree names no file"
    assert [path for path in named if not (ROOT / path).exists()] == []
    # A folder whose inside is shown is shown whole.
    for folder in {str(Path(path).parent) for path in named}:
        shown = {Path(path).name for path in named if str(Path(path).parent) == folder}
        assert shown == tracked_names(folder), f"in {folder}"


def tree_paths(block: str) -> list[str]:
    """Return the paths of a tree of indented lines, `NAME[, NAME ...]  what it is`; a folder's name ends in `/`."""
    paths, folders = [], list[tuple[int, str]]()
    for line in filter(str.strip, block.splitlines()):
        drawn = re.match(r"[\s│├└─|`+-]*", line)
        indent = len(drawn[0]) if drawn else 0
        names = re.split(r" {2,}|\s+#", line[indent:])[0].replace(",", " ").split()
        while folders and folders[-1][0] >= indent:
            folders.pop()
        inside = folders[-1][1] if folders else ""
        paths += [inside + name.rstrip("/") for name in names]
        if names[-1].endswith("/"):
            folders.append((indent, inside + names[-1]))
    return paths


def tracked_names(folder: str) -> set[str]:
    """Return what git knows in a folder, less hidden files and package markers."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {Path(path).relative_to(folder).parts[0] for path in listed if (ROOT / path).exists()}
    return {name for name in names if not name.startswith(".") and name != "__init__.py"}


def test_a_tree_is_read() -> None:
    tree = "a.txt, b.txt  two\nconf/    settings\n  task/ student/   groups\n  x/\n    c.py\nend.txt\n"
    conf = ["conf", "conf/task", "conf/student", "conf/x", "conf/x/c.py"]
    assert tree_paths(tree) == ["a.txt", "b.txt", *conf, "end.txt"]
    assert tree_paths("├── pkg/\n│   └── a.py  # one\n└── b.py\n") == ["pkg", "pkg/a.py", "b.py"]
