"""Read the composed configuration of the running command."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cnnlab.arguments import check_declared
from cnnlab.config.messages import dotted
from cnnlab.config.parts import own_names
from cnnlab.config.paths import CONFIG_GROUPS
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory
from cnnlab.training.options import read_budget
from cnnlab.words import did_you_mean

# Keys of `data` that a checkpoint fixes, or that do not affect the outputs of a trained network.
TRAINING_DATA_KEYS = ("image_size", "batch_size", "sampling", "mirror", "mean", "std", "workers")
# Keys that do not affect the result of a run.
NOT_IDENTIFYING = ("name", "resume", "logger", "trust", "checkpoint_every")
# Keys that may change when a run is resumed: its length, its hardware, and where its images are.
CHANGEABLE_ON_RESUME = (
    *("name", "resume", "logger", "callbacks", "trust", "checkpoint_every"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.compile", "trainer.compile_step", "trainer.tf32", "trainer.benchmark", "trainer.deterministic"),
    *("trainer.profile", "trainer.detect_anomaly", "trainer.enable_progress_bar", "trainer.num_sanity_val_steps"),
    *("data.path", "data.cache", "data.residence", "data.workers", "data.eval_batch_size"),
)
# What else ends a training, and its value beside a budget of time.
LENGTHS = {"max_epochs": None, "max_steps": -1, "max_time": None}


def settings(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as dictionaries, lists and plain values; resolved, and with absolute paths."""
    # Resolve key by key: the part `hydra` holds the run directory, whose default needs these settings.
    values = {str(key): plain(config[key]) for key in config if key != "hydra"}
    for part, key in ((values.get("data"), "path"), (values.get("data"), "exclude"), (values, "weights")):
        if isinstance(part, dict) and isinstance(part.get(key), str):
            part[key] = str(Path(part[key]).expanduser().absolute())  # a run may be resumed from another directory
    if isinstance(data := values.get("data"), dict):
        _heed_mirror(data.pop("mirror", True), values.get("augmentation"), given_keys(config))
    if values.get("budget") is not None and isinstance(trainer := values.get("trainer"), dict):
        if given := sorted({f"trainer.{key}" for key in LENGTHS} & given_keys(config)):
            raise RequestError(f"{given[0]}: the budget decides how long the training is; budget=null has none")
        trainer |= LENGTHS
        values["budget"] = read_budget(values["budget"])
    return values


def _heed_mirror(mirror: Any, augmentation: Any, given: set[str]) -> None:
    """Turn mirroring off if the data say `mirror: false`. The record holds what was done, `flip: none`."""
    if not isinstance(mirror, bool):
        raise RequestError(f"data.mirror must be true or false, got {mirror!r}")
    if mirror or not isinstance(augmentation, dict) or augmentation.get("flip") not in ("random", "alternating"):
        return
    if "augmentation.flip" in given:
        flip = augmentation["flip"]
        raise RequestError(f"augmentation.flip={flip}: these images must not be mirrored; data.mirror=true allows it")
    augmentation["flip"] = "none"


def identity(config: DictConfig) -> dict[str, Any]:
    """Return the settings that affect the result of a run. Two runs with the same identity are the same run."""
    return {key: value for key, value in settings(config).items() if key not in NOT_IDENTIFYING}


def plain(value: Any) -> Any:
    """Return a part of a configuration as dictionaries, lists and plain values, resolved."""
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def chosen_groups() -> dict[str, str | None]:
    """Return the name that is chosen in each group, such as {"model": "resnet18", "recipe": "fast", ...}.

    A class on the command line, as in `model._target_=mynet.Net`, gives its own name.
    """
    chosen = {**HydraConfig.get().runtime.choices, **own_names(command_line())}
    return {group: chosen.get(group) for group in (*CONFIG_GROUPS, "experiment")}


def model_name(choice: str, model: Mapping[str, Any] | DictConfig) -> str:
    """Return the name of a network; for networks of a library with the library's name, as `timm/convnext_atto`.

    `choice` is the choice of the group `model`, or the recorded name if a run is resumed.
    """
    return f"{choice.partition('/')[0]}/{model['name']}" if "name" in model else choice


def output_directory() -> Path:
    """Return the run directory that Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)


def command_line() -> list[str]:
    """Return the key=value arguments of this job."""
    return list(HydraConfig.get().overrides.task)


def command_line_keys() -> set[str]:
    """Return the keys in the command line of this job."""
    return _keys(command_line())


def given_keys(config: DictConfig) -> set[str]:
    """Return the keys in the command line of the job that a configuration is of, which may not have begun."""
    if "hydra" in config:
        return _keys(config.hydra.overrides.task)
    return command_line_keys() if HydraConfig.initialized() else set()


def _keys(arguments: Iterable[str]) -> set[str]:
    return {argument.lstrip("+~").partition("=")[0] for argument in arguments}


def resumed_config(config: DictConfig, recorded: RunDirectory) -> DictConfig:
    """Return the configuration of a resumed run: the recorded one, with the values of this command line.

    If `trainer.max_epochs` or `max_steps` changes, `lengthened` lists the former values. Such a run followed another
    schedule than a run planned at that length, so the two are never averaged.

    Raises:
        RequestError: if the command line changes how the run is trained, such as its recipe or seed, or the record
            could read variables of the environment.
    """
    merged = OmegaConf.create(recorded.read_config() or {})
    if "${" in recorded.config_file.read_text(encoding="utf-8", errors="replace"):  # a run records values
        raise RequestError(f"resume: {recorded.path} is not loaded: its config.yaml holds an interpolation, ${{...}}")
    epochs, steps = (OmegaConf.select(merged, f"trainer.max_{length}") for length in ("epochs", "steps"))
    for override in command_line():
        key, _, _ = override.lstrip("+~").partition("=")
        if key == "trainer":  # the group would bring values of this command line's recipe, such as the number of epochs
            raise RequestError(f"{override}: a resumed run takes single keys, such as trainer.accelerator=cpu")
        is_free = any(f"{key}.".startswith(f"{free}.") for free in CHANGEABLE_ON_RESUME)
        is_group, known = key in (*CONFIG_GROUPS, "experiment"), list(dotted(merged))
        if not is_group and not is_free and key not in known:
            raise RequestError(f"{key} is not a key of this run{did_you_mean(key, known)}")
        changed = is_group or OmegaConf.select(merged, key) != OmegaConf.select(config, key)
        if changed and not is_free:
            raise RequestError(f"{override}: a resumed run keeps its own {key}; leave it out, or start a new run")
        if override.startswith("~"):
            parent, _, leaf = key.rpartition(".")
            if parent.partition(".")[0] not in ("callbacks", "logger"):
                raise RequestError(f"{override}: a resumed run needs its {key}; give it another value")
            if isinstance(node := OmegaConf.select(merged, parent), DictConfig):
                node.pop(leaf, None)
        else:
            OmegaConf.update(merged, key, OmegaConf.select(config, key), merge=False, force_add=True)
    if not _may_be_kept("cache", OmegaConf.select(merged, "data.cache")):
        merged.data.cache = config.data.cache
    if OmegaConf.select(merged, "trainer.max_epochs") != epochs:
        merged.lengthened = [*merged.get("lengthened", []), epochs]
    elif OmegaConf.select(merged, "trainer.max_steps") != steps:
        merged.lengthened = [*merged.get("lengthened", []), f"{steps} steps"]
    return merged


def data_settings(config: DictConfig, run: RunDirectory | None) -> dict[str, Any]:
    """Return the data settings for a trained network: those of its run, with the values of this command line.

    Keys that the checkpoint fixes, or that only affect training, are left out. If the command line chooses
    `data=NAME`, or the run is unknown, only the command line counts. A record may come from a stranger, so plain
    values are taken from it, but never the name of a function.

    Raises:
        RequestError: if the command line gives one of these, or the record is damaged.
    """
    own = settings(config)["data"]
    given = command_line_keys()
    for key in TRAINING_DATA_KEYS:
        if f"data.{key}" in given:
            near = "; data.eval_batch_size sets the images per batch" if key == "batch_size" else ""
            raise RequestError(f"data.{key} is fixed by the training{near}")
    if run and run.config_file.exists() and "data" not in given:
        recorded = (run.read_config() or {}).get("data")
        if not isinstance(recorded, dict):
            raise RequestError(f"checkpoint: {run.config_file} is damaged; data=NAME says which images")
        for key, value in recorded.items():
            if key in own and f"data.{key}" not in given and _may_be_kept(key, value):
                own[key] = value
    kept = {key: value for key, value in own.items() if key not in (*TRAINING_DATA_KEYS, "_target_")}
    check_declared("cnnlab.data.datamodule.ImageDataModule", kept, "data")
    return kept


def _may_be_kept(key: str, value: Any) -> bool:
    """Check that a recorded value of `data` names no function, and makes no folder elsewhere."""
    if key == "cache":
        return value is None or Path(str(value)).is_dir()
    return key == "splits" or not isinstance(value, dict)
