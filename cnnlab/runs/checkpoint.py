"""Read checkpoints, even of strangers: only tensors and plain values are loaded, and no code runs."""

import inspect
import json
import pickle
import reprlib
import struct
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from cnnlab.arguments import misfit
from cnnlab.errors import RequestError, printable
from cnnlab.instantiate import first_line, import_target
from cnnlab.limits import Pixels
from cnnlab.runs.archive import check_archive
from cnnlab.runs.plain import check_plain
from cnnlab.trust import NETWORKS, Trusted, check_trusted, find_targets

NETWORK_PREFIX = "network."  # of the names of the network's weights in the state dict of the LightningModule
# What the description of a network and its images in a checkpoint holds. Nothing of it is empty or 0.
DESCRIPTION: dict[str, Any] = {
    "classes": list[str],
    "mean": Annotated[list[float], 3, "(-1e6, 1e6)"],
    "std": Annotated[list[float], 3, "(0, 1e6)"],
    "image_size": Pixels,
    "channels": Literal[3],
    "data_fingerprint": str,
    "model": dict,
}
TEMPERATURES = (0.05, 20.0)  # least and greatest, by which logits are divided
MOST_SHARING = 4  # layers that may share their weights, on average
# Errors that torch raises for damaged pickles.
DAMAGE_ERRORS = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error)


def read_checkpoint(path: Path, key: str = "resume") -> dict[str, Any]:
    """Read a checkpoint, which a key of the command line names, to the CPU; or what `export format=safetensors` wrote.

    Raises:
        RequestError: if the file does not exist, is damaged, or holds anything that would run code when loaded.
    """
    exported = key == "checkpoint" and path.suffix == ".safetensors"
    checkpoint = _read_exported(path, key) if exported else _read_plain(path, key)
    if not isinstance(checkpoint, dict) or "cnnlab" not in checkpoint:
        raise RequestError(f"{key}: {path} was not written by cnnlab")
    if not isinstance(checkpoint.get("state_dict"), dict):
        raise RequestError(f"{key}: {path} is damaged: it holds no weights")
    _check_claims(checkpoint["state_dict"], path, key)
    return checkpoint


def read_weights(path: Path, key: str = "weights") -> tuple[dict[str, Tensor], list[str] | None]:
    """Read tensors by name from a file of any program, and the classes they were trained for, if cnnlab wrote it.

    The file is in the format of safetensors or torch. The tensors are all of it, or its `state_dict` or `model`.

    Raises:
        RequestError: as `read_checkpoint`, or if there are no tensors, or some are not finite.
    """
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise RequestError(f"{key}: {path} is damaged or not a file of safetensors ({first_line(error)})") from None
    else:
        content = _read_plain(path, key)
    classes = (
        read_description(content, path, key)["classes"] if isinstance(content, dict) and "cnnlab" in content else None
    )
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    values = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in values if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise RequestError(f"{key}: {path} holds no tensors by name")
    _check_claims(tensors, path, key)
    if wrong := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise RequestError(f"{key}: {path} is damaged or has diverged: {wrong[0]} holds values that are not finite")
    return tensors, classes


def _read_exported(path: Path, key: str) -> dict[str, Any]:
    """Read a file of safetensors that `cnnlab export` wrote, as a checkpoint in float32."""
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
        about = {name: json.loads(texts[name]) for name in ("classes", "mean", "std", "image_size", "model")}
    except KeyError:
        raise RequestError(f"{key}: {path} was not written by cnnlab: it does not describe its network") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{key}: {path} is damaged or not a file of safetensors ({first_line(error)})") from None
    about |= {"channels": 3, "data_fingerprint": texts.get("data_fingerprint")}
    weights = {
        NETWORK_PREFIX + name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    return {"cnnlab": about, "state_dict": weights}


def _read_plain(path: Path, key: str) -> Any:
    """Read a file of torch that holds only tensors and plain values."""
    if not path.is_file():
        raise RequestError(f"{key}: there is no checkpoint {path}")
    check_archive(path, key)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles, which are read, or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RequestError(f"{key}: {path} is not a checkpoint of tensors and plain values; it is not loaded") from None
    except DAMAGE_ERRORS as error:
        raise RequestError(f"{key}: {path} is damaged or not a checkpoint ({first_line(error)})") from None


def _check_claims(weights: dict[str, Any], path: Path, key: str) -> None:
    """Refuse weights that are sparse, quantized or without values, or take far more memory than their file."""
    tensors = [value for value in weights.values() if isinstance(value, Tensor)]
    if any(value.layout != torch.strided or value.is_quantized or value.is_meta for value in tensors):
        raise RequestError(f"{key}: {path} is not loaded: it holds sparse or quantized weights, or none at all")
    if sum(value.numel() * value.element_size() for value in tensors) > MOST_SHARING * path.stat().st_size:
        raise RequestError(f"{key}: {path} is not loaded: its weights claim to be larger than the file")


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the network's state dict, averaged if the recipe averages weights, with the versions of its modules."""
    state, start = checkpoint["state_dict"], len(NETWORK_PREFIX)
    weights = {name[start:]: state[name] for name in state if isinstance(name, str) and name.startswith(NETWORK_PREFIX)}
    if not (metadata := getattr(state, "_metadata", None)):
        return weights
    weights = OrderedDict(weights)  # plain dictionaries have no attributes
    versions = {name[start:]: value for name, value in metadata.items() if f"{name}.".startswith(NETWORK_PREFIX)}
    weights._metadata = versions  # pyright: ignore[reportAttributeAccessIssue]
    return weights


def network_description(checkpoint: dict[str, Any], path: Path, trust: Trusted = None) -> dict[str, Any]:
    """Read the description of a network and its images in a checkpoint: the keys of `DESCRIPTION`.

    The checkpoint may be a stranger's. Building `model` calls nothing but a network, and reads no other weights.
    `trust` names what `model` may name beside cnnlab's networks; see `cnnlab.trust`.

    Raises:
        RequestError: if a key is missing or impossible, or `model` names anything but a network.
    """
    about = read_description(checkpoint, path)
    return about | {"model": _safe_model(about["model"], path, trust)}


def read_description(checkpoint: dict[str, Any], path: Path, key: str = "checkpoint") -> dict[str, Any]:
    """Read the description, as `network_description`, without checking what `model` names: nothing is built from it.

    Raises:
        RequestError: if a key is missing or impossible.
    """
    about = checkpoint["cnnlab"]
    for name, kind in DESCRIPTION.items():
        value = about.get(name) if isinstance(about, dict) else None
        if misfit(value, kind) or not value:
            raise RequestError(f"{key}: {path} is damaged: its {name} cannot be {reprlib.repr(value)}")
    temperature = about.get("temperature")  # only there if `evaluate calibrate=save` has written it
    if temperature is not None and misfit(temperature, Annotated[float, "[{}, {}]".format(*TEMPERATURES)]):
        raise RequestError(f"{key}: {path} is damaged: its temperature cannot be {reprlib.repr(temperature)}")
    return {name: about[name] for name in DESCRIPTION} | {"temperature": temperature}


def _safe_model(model: dict[str, Any], path: Path, trust: Trusted) -> dict[str, Any]:
    """Return the configuration of a network if it is harmless; a stranger's could name `os.system`."""
    target = model.get("_target_")
    options = {key: value for key, value in model.items() if key != "_target_"}
    try:
        check_plain(options, depth=4)
        harmless = not list(find_targets(options))
    except ValueError:
        harmless = False
    if not harmless:
        raise RequestError(f"checkpoint: {path} is not loaded: {reprlib.repr(model)} is not a network")
    check_trusted([target], NETWORKS, trust, path, "checkpoint")
    made = import_target(target, "checkpoint: model")
    if inspect.isclass(made) and not issubclass(made, nn.Module):
        raise RequestError(f"checkpoint: {path} is not loaded: {target} is not a network")
    return without_other_weights(model)


def without_other_weights(model: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a network, changed so that no weights are downloaded, or read from another file."""
    return model | {key: value for key, value in {"pretrained": False, "checkpoint_path": None}.items() if key in model}


def check_weights_match(checkpoint: dict[str, Any], network: nn.Module, path: Path, key: str = "resume") -> None:
    """Check that the weights of a checkpoint have the names and shapes of those of a network.

    Raises:
        RequestError: if they differ; it names the first weight that does.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {
        name: tuple(value.shape) if isinstance(value, Tensor) else "no tensor"
        for name, value in network_weights(checkpoint).items()
    }
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise RequestError(
                f"{key}: {path} holds another network: {name} is {found.get(name, 'missing')} there, "
                f"{expected.get(name, 'missing')} in this one"
            )


def check_images(about: dict[str, Any], classes: Sequence[str], fingerprint: str, path: Path) -> None:
    """Check that a checkpoint with a description was trained on images with these classes and this fingerprint.

    With others, training images could be used for testing.

    Raises:
        RequestError: if classes or fingerprint differ.
    """
    if list(classes) != about["classes"]:
        names = printable(", ".join(about["classes"][:4]))
        raise RequestError(f"resume: {path} was trained on other classes ({names}, ...)")
    if same_images(fingerprint, about["data_fingerprint"]) is False:
        raise RequestError(
            f"resume: {path} was trained on other images (fingerprint {about['data_fingerprint']}) than data.* names "
            f"now (fingerprint {fingerprint})"
        )


def same_images(fingerprint: str, trained_on: str) -> bool | None:
    """Tell whether two fingerprints are of the same data; None if one is of pixels and the other of files."""
    comparable = fingerprint.startswith("files-") == trained_on.startswith("files-")
    return fingerprint == trained_on if comparable else None
