"""What is shipped: the wheel holds what a run needs, and works from anywhere, as a checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from stat_train import __version__
from stat_train.models.places import SHIPPED

ROOT = Path(__file__).parents[1]
# Three students of 2.5 MB each, which hardly compress.
MAX_WHEEL_BYTES = 10_000_000
STUDENT_FILES = ("model.safetensors", "tokenizer.json", "config.json")

pytestmark = pytest.mark.slow


class Installed:
    """A `stat-train` command, and the folder that its files are expected in."""

    def __init__(self, command: list[str], package: Path, path: list[Path]) -> None:
        self.command, self.package, self.path = command, package, path

    def __call__(self, cwd: Path, *arguments: str) -> str:
        """Run the command and return what it printed."""
        return output([*self.command, *arguments], cwd, self.path)


def output(command: list[str], cwd: Path, path: list[Path]) -> str:
    """Return what a command prints; nothing of this process' own paths reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel; without network when the build backend is installed."""
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        *without_network(),
        "--wheel-dir",
        str(folder),
    ]
    output(command, folder, [])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel, and nothing else, into a fresh environment that sees the dependencies of this one."""
    place = tmp_path_factory.mktemp("environment")
    python = new_environment(place)
    output([*pip_of(python), "install", "--no-deps", "--no-index", str(wheel)], place, [])
    return installed(python)


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the checkout itself, editable."""
    place = tmp_path_factory.mktemp("editable")
    python = new_environment(place)
    output([*pip_of(python), "install", "--no-deps", *without_network(), "--editable", str(ROOT)], place, [])
    return installed(python)


@pytest.fixture(scope="module")
def checkout() -> Installed:
    """Return the command of a checkout that is not installed."""
    return Installed([sys.executable, "-m", "stat_train.cli"], ROOT / "stat_train", [ROOT])


@pytest.fixture(params=["from_wheel", "editable", "checkout"])
def stat_train(request: pytest.FixtureRequest) -> Installed:
    """Return each way to have the command."""
    way: Installed = request.getfixturevalue(request.param)
    return way


def new_environment(place: Path) -> Path:
    """Make an environment that sees the packages of this one after its own, and return its interpreter."""
    venv.create(place, symlinks=True)
    (own,) = place.glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (own / "dependencies.pth").write_text("\n".join(others))
    return place / "bin" / "python"


def pip_of(python: Path) -> list[str]:
    """Return this environment's pip, working on another."""
    return [sys.executable, "-m", "pip", "--python", str(python)]


def without_network() -> list[str]:
    """Return the option that builds with what is installed here, when the build backend is."""
    return ["--no-build-isolation"] if find_spec("hatchling") and find_spec("editables") else []


def installed(python: Path) -> Installed:
    """Return the command of an environment, with the folder that it imports the package from."""
    package = output([str(python), "-c", "import stat_train; print(stat_train.__path__[0])"], python.parent, [])
    return Installed([str(python.with_name("stat-train"))], Path(package.strip()), [])


# -- the wheel --------------------------------------------------------------------------------------------------------


def names_in(wheel: Path) -> set[str]:
    """Return the names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def files_below(folder: Path, place: str) -> set[str]:
    """Return the files of a folder under the names that they have in the wheel."""
    files = (Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return {f"{place}/{file.relative_to(folder).as_posix()}" for file in files if "__pycache__" not in file.parts}


def test_the_wheel_holds_the_package_and_its_settings_and_nothing_else(wheel: Path) -> None:
    expected = files_below(ROOT / "stat_train", "stat_train") | files_below(ROOT / "conf", "stat_train/conf")
    expected |= files_below(ROOT / "launch" / "slurm", "stat_train/slurm/templates")
    assert {name for name in names_in(wheel) if not name.startswith(f"stat_train-{__version__}.dist-info/")} == expected
    assert {"stat_train/conf/config.yaml", "stat_train/evaluation/report.html.j2"} < expected
    assert "stat_train/slurm/templates/stage.sbatch.j2" in expected
    assert {path.name for path in ROOT.glob("data_recipes/*.yaml")} == {
        name.rpartition("/")[2] for name in expected if name.startswith("stat_train/conf/data_recipe/")
    }


def test_recipes_are_files_in_the_wheel_not_a_link(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if "/conf/data_recipe/" in name}
    assert {Path(name).name: text for name, text in packed.items()} == {
        path.name: path.read_bytes() for path in ROOT.glob("data_recipes/*.yaml")
    }


def test_the_wheel_brings_the_students(wheel: Path) -> None:
    expected = {f"stat_train/models/{student}/{name}" for student in SHIPPED for name in STUDENT_FILES}
    assert len(expected) == 9 and expected <= names_in(wheel)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert 0 < wheel.stat().st_size < MAX_WHEEL_BYTES


# -- the command, from an unrelated folder ----------------------------------------------------------------------------


def test_the_wheel_is_not_the_checkout(from_wheel: Installed) -> None:
    assert not from_wheel.package.is_relative_to(ROOT)


def test_an_editable_install_is_the_checkout(editable: Installed) -> None:
    assert editable.package == ROOT / "stat_train"


def test_settings_are_found_from_anywhere(stat_train: Installed, tmp_path: Path) -> None:
    printed = yaml.safe_load(stat_train(tmp_path, "--cfg", "job", "data_recipe=pool"))
    assert printed["data_recipe"] == yaml.safe_load((ROOT / "data_recipes" / "pool.yaml").read_text())
    assert list(tmp_path.iterdir()) == []


def test_help_shows_where_the_settings_are(stat_train: Installed, tmp_path: Path) -> None:
    inside = stat_train.package / "conf"
    place = inside if inside.is_dir() else ROOT / "conf"
    assert (place == inside) == (stat_train.package != ROOT / "stat_train")
    assert str(place) in stat_train(tmp_path, "--help").split()
    assert (place / "data_recipe" / "pool.yaml").is_file()


def test_the_version_is_the_packages(stat_train: Installed, tmp_path: Path) -> None:
    assert stat_train(tmp_path, "--version") == f"stat-train {__version__}\n"
