"""Which packages a run needs that are absent here; settings that need them are no less right for another machine."""

from __future__ import annotations

from importlib.util import find_spec

from stat_train.config import Config
from stat_train.errors import ConfigError
from stat_train.recipe_settings import EmbedSelRecipe, EmbedSynRecipe
from stat_train.train_settings import GrpoTraining, SftTraining

# The package that computes attention so.
FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}


def require_packages_of(*runs: Config) -> None:
    """Raise ConfigError with every package that these runs need and this machine has not."""
    if problems := [problem for config in runs for problem in absent_packages(config)]:
        raise ConfigError(list(dict.fromkeys(problems)))


def absent_packages(config: Config) -> list[str]:
    """Return a line for each setting that needs a package which is absent here, with what installs it."""
    recipe, harness = config.data_recipe, config.evaluate.harness
    problems = []
    encodes = isinstance(recipe, EmbedSelRecipe | EmbedSynRecipe) and config.reaches("curate")
    embedder = getattr(recipe, "embedder", "tfidf")
    if encodes and embedder != "tfidf" and find_spec("sentence_transformers") is None:
        given = f"data_recipe.embedder = {embedder}"
        problems.append(f"{given}: needs sentence-transformers; pip install 'stat-train[embed]', or use tfidf")
    problems += _of_trainings(config)
    if harness and config.reaches("evaluate") and find_spec("lm_eval") is None:
        given = f"evaluate.harness = [{', '.join(harness)}]"
        problems.append(f"{given}: needs lm-evaluation-harness; pip install 'stat-train[harness]'")
    if config.track.name == "tensorboard" and find_spec("tensorboard") is None:
        problems.append(
            "track = tensorboard: needs tensorboard; pip install 'stat-train[tensorboard]', or use track=none"
        )
    return problems


def _of_trainings(config: Config) -> list[str]:
    trainings = [config.train if config.reaches("train") else None, config.rl if config.reaches("rl") else None]
    found = [each for each in trainings if isinstance(each, SftTraining | GrpoTraining)]
    return [problem for settings in found for problem in absent_for_training(settings)]


def absent_for_training(settings: SftTraining | GrpoTraining) -> list[str]:
    """Return a line for each setting of a training that needs a package which is absent here."""
    return [
        f"{given}: needs {package}, which is not installed; pip install 'stat-train[{extra}]'"
        for given, (package, extra) in packages_of_training(settings).items()
        if find_spec(package) is None
    ]


def packages_of_training(settings: SftTraining | GrpoTraining) -> dict[str, tuple[str, str]]:
    """Return the packages that a training asks for by name, each with the extra that installs it, by setting."""
    group = "train" if isinstance(settings, SftTraining) else "rl"
    wanted = {}
    if settings.attention in FLASH:
        wanted[f"{group}.attention = {settings.attention}"] = (FLASH[settings.attention], "gpu")
    if settings.liger:
        wanted[f"{group}.liger = true"] = ("liger_kernel", "gpu")
    if isinstance(settings, SftTraining):
        if settings.load_in_4bit:
            wanted["train.load_in_4bit = true"] = ("bitsandbytes", "qlora")
        if settings.optimizer == "paged_adamw_8bit":
            wanted["train.optimizer = paged_adamw_8bit"] = ("bitsandbytes", "qlora")
    elif settings.engine == "vllm":
        wanted["rl.engine = vllm"] = ("vllm", "vllm")
    return wanted
