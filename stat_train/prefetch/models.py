"""The models of a run: which they are, and their files from the hub, each in one format only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from httpx2 import HTTPError

from stat_train.config import Config, Endpoint, LocalStudent
from stat_train.doctor.machine import loads_reward_model, loads_weights
from stat_train.doctor.student import adapter_base, what_is_wrong, why_not
from stat_train.models.places import model_place
from stat_train.prefetch.item import Item, State
from stat_train.recipe_settings import EmbedSelRecipe, EmbedSynRecipe
from stat_train.train_settings import ExternalTraining

SAFE = "*.safetensors"
# The same weights for other libraries, and for training that nobody goes on with.
OTHER_FORMATS = ["*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel", "*.ckpt", "onnx/*"]
OTHER_FORMATS += ["openvino/*", "coreml/*", "original/*", "optimizer.*", "training_args.bin"]
# Left out where there are the same weights as safetensors.
PICKLED = ["*.bin", "*.pt", "*.pth"]
SENTENCE_TRANSFORMERS = "sentence-transformers/"


class Model(NamedTuple):
    """A model that the run loads, and the setting that names it."""

    key: str
    name: str
    revision: str | None


def models_of(config: Config) -> Iterator[Model]:
    """Yield the models that the run loads on its machines, as far as it goes."""
    student, train, recipe = config.student, config.train, config.data_recipe
    if isinstance(student, LocalStudent) and loads_weights(config):
        yield Model("student.model", student.model, student.revision)
    if (scorer := config.reward_model()) and loads_reward_model(config):
        yield Model("difficulty.prm.model", scorer.model, scorer.revision)
    if isinstance(recipe, EmbedSelRecipe | EmbedSynRecipe) and recipe.embedder != "tfidf" and config.reaches("curate"):
        # Its library looks for a name without an owner among its own.
        own = "" if "/" in recipe.embedder else SENTENCE_TRANSFORMERS
        yield Model("data_recipe.embedder", own + recipe.embedder, None)
    if isinstance(train, ExternalTraining) and config.reaches("train"):
        yield Model("train.checkpoint", train.checkpoint, None)
    for role, endpoint in (("teacher", config.teacher), ("student", config.student)):
        if isinstance(endpoint, Endpoint) and endpoint.server:
            own_weights = endpoint.server.model
            key = f"{role}.server.model" if own_weights else f"{role}.model"
            yield Model(key, own_weights or endpoint.model, None if own_weights else endpoint.revision)


def fetch(model: Model) -> Iterator[Item]:
    """Fetch a model from the hub unless it is here, and the one that it is an adapter of; yield what came of it."""
    place = Path(model_place(model.name)).expanduser()
    made = _here(model, place) if place.is_dir() else _from_hub(model)
    yield made
    base = adapter_base(Path(made.where)) if made.state != "failed" else None
    if base:
        yield from fetch(Model(f"{model.key} (its base)", base, None))


def _here(model: Model, place: Path) -> Item:
    return Item(model.key, model.name, "model", "local", str(place), _bytes(path for path in place.rglob("*")))


def _from_hub(model: Model) -> Item:
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, revision = model.name, model.revision
    try:
        info = HfApi().model_info(name, revision=revision)
        wanted = wanted_files([file.rfilename for file in info.siblings or []])
        known = [try_to_load_from_cache(name, file, revision=info.sha) for file in wanted]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except HFValidationError:
        return Item(model.key, name, "model", "failed", why="neither a folder nor a hub name")
    except (OSError, HTTPError) as error:
        return _without_the_hub(model, error)
    state: State = "here" if all(isinstance(path, str) for path in known) else "fetched"
    return Item(model.key, name, "model", state, str(folder), _bytes(folder / file for file in wanted))


def _without_the_hub(model: Model, error: OSError | HTTPError) -> Item:
    """Return what is here of a model when the hub does not give it: all that is needed, or not."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    if isinstance(cached, str) and not what_is_wrong(Path(cached).parent):
        folder = Path(cached).parent
        return Item(model.key, model.name, "model", "here", str(folder), _bytes(folder.iterdir()))
    why, remedy = why_not(error, model.key, model.name, model.revision)
    return Item(model.key, model.name, "model", "failed", why=f"{why.removeprefix(f'{model.name}: ')}; {remedy}")


def wanted_files(names: Sequence[str]) -> list[str]:
    """Return which files of a repository a run needs: the weights in one format, and everything small beside them."""
    safe = any(fnmatch(name, SAFE) and "/" not in name for name in names)
    unwanted = OTHER_FORMATS + (PICKLED if safe else [])
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in unwanted)]


def _bytes(files: Iterator[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.is_file())
