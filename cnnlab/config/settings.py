"""Read the composed configuration of the running command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cnnlab.config.paths import CONFIG_GROUPS
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory

# Keys of data that a checkpoint has decided, or that change nothing of what a trained network answers.
TRAINING_DATA_KEYS = ("image_size", "batch_size", "mean", "std", "workers")
# What does not decide how a run comes out.
NOT_IDENTIFYING = ("name", "resume", "logger")
# What a run that goes on may be told anew: how long and on what it runs, and where its images are.
CHANGEABLE_ON_RESUME = (
    *("name", "resume", "logger", "callbacks"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.compile", "trainer.tf32", "trainer.benchmark", "trainer.deterministic"),
    *("trainer.profile", "trainer.detect_anomaly", "trainer.enable_progress_bar", "trainer.num_sanity_val_steps"),
    *("data.path", "data.cache", "data.residence", "data.workers", "data.eval_batch_size"),
)


def settings(config: DictConfig) -> dict[str, Any]:
    """A configuration as dictionaries, lists and plain values, with everything resolved and `data.path` absolute."""
    # One by one: to resolve Hydra's own part would ask for the run directory, which asks for this.
    values = {str(key): plain(config[key]) for key in config if key != "hydra"}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        data["path"] = str(Path(data["path"]).expanduser().absolute())  # a run may be resumed from elsewhere
    return values


def identity(config: DictConfig) -> dict[str, Any]:
    """What of a configuration decides how a run comes out; two runs with the same identity are the same run."""
    return {key: value for key, value in settings(config).items() if key not in NOT_IDENTIFYING}


def plain(value: Any) -> Any:
    """Return a part of a configuration as dictionaries, lists and plain values, resolved."""
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def chosen_groups() -> dict[str, str | None]:
    """The name chosen in each group, such as {"model": "resnet18", "recipe": "fast", ...}."""
    chosen = HydraConfig.get().runtime.choices
    return {group: chosen.get(group) for group in (*CONFIG_GROUPS, "experiment")}


def model_name(choice: str, model: Mapping[str, Any] | DictConfig) -> str:
    """The choice; where it stands for a whole library, the network's own name with it: `timm/convnext_atto`.

    Args:
        choice: of the group `model`, or what this gave for it earlier, in the record of a run that is resumed.
        model: its configuration.
    """
    return f"{choice.partition('/')[0]}/{model['name']}" if "name" in model else choice


def output_directory() -> Path:
    """The run directory that Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)


def command_line() -> list[str]:
    """The key=value arguments of this job."""
    return list(HydraConfig.get().overrides.task)


def command_line_keys() -> set[str]:
    """The keys that this job's command line gives values to."""
    return {argument.lstrip("+~").partition("=")[0] for argument in command_line()}


def resumed_config(config: DictConfig, recorded: Path) -> DictConfig:
    """The configuration of a run that is resumed: the recorded one, changed by this command line's own values.

    Where `trainer.max_epochs` or `max_steps` is another one, `lengthened` keeps those that the run had before: its
    schedule was not that of a run which was so long from the beginning, and it is not averaged with one.

    Args:
        config: as composed from this command line.
        recorded: the `config.yaml` of the run.

    Raises:
        RequestError: where the command line changes what the run has been trained with, such as its recipe or seed.
    """
    merged = OmegaConf.load(recorded)
    assert isinstance(merged, DictConfig)
    epochs, steps = (OmegaConf.select(merged, f"trainer.max_{length}") for length in ("epochs", "steps"))
    for override in command_line():
        key, _, _ = override.lstrip("+~").partition("=")
        if key == "trainer":  # the group comes with the epochs and the clipping of this command line's recipe
            raise RequestError(f"{override}: a resumed run takes single keys, such as trainer.accelerator=cpu")
        changed = key in CONFIG_GROUPS or OmegaConf.select(merged, key) != OmegaConf.select(config, key)
        if changed and not any(f"{key}.".startswith(f"{free}.") for free in CHANGEABLE_ON_RESUME):
            raise RequestError(f"{override}: a resumed run keeps its own {key}; leave it out, or start a new run")
        if override.startswith("~"):
            parent, _, leaf = key.rpartition(".")
            OmegaConf.select(merged, parent).pop(leaf, None) if parent else merged.pop(leaf, None)
        else:
            OmegaConf.update(merged, key, OmegaConf.select(config, key), merge=False, force_add=True)
    if OmegaConf.select(merged, "trainer.max_epochs") != epochs:
        merged.lengthened = [*merged.get("lengthened", []), epochs]
    elif OmegaConf.select(merged, "trainer.max_steps") != steps:
        merged.lengthened = [*merged.get("lengthened", []), f"{steps} steps"]
    return merged


def data_settings(config: DictConfig, run: RunDirectory | None) -> dict[str, Any]:
    """The data that a trained network is shown: those of its run, changed by this command line's own values.

    Where the command line chooses `data=NAME`, or the run is not known, they are those of the command line alone. From
    a record nothing but plain values is taken, for it may be a stranger's: it cannot choose what is called with them.

    Args:
        config: as composed from this command line.
        run: the run that trained the network, where there is one.

    Returns:
        The keys of `data` less those that the checkpoint decides, or that are about training alone.

    Raises:
        RequestError: when the command line gives one of those.
    """
    own = settings(config)["data"]
    given = command_line_keys()
    for key in TRAINING_DATA_KEYS:
        if f"data.{key}" in given:
            near = "; data.eval_batch_size is how many images are computed at a time" if key == "batch_size" else ""
            raise RequestError(f"data.{key} is of the training, and nothing to choose here{near}")
    recorded = (run.read_config() or {}).get("data") if run else None
    if isinstance(recorded, dict) and "data" not in given:
        kept = [key for key, value in recorded.items() if key in own and not isinstance(value, dict)]
        own |= {key: recorded[key] for key in kept if f"data.{key}" not in given}
    return {key: value for key, value in own.items() if key not in (*TRAINING_DATA_KEYS, "_target_")}
