"""Trained networks as files that are used without cnnlab: ONNX, a torch.export program, or plain weights."""

import contextlib
import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.build.network import CHANNELS, build_network
from cnnlab.errors import RequestError
from cnnlab.inference.trained import TrainedNetwork, load
from cnnlab.instantiate import first_line
from cnnlab.runs.directory import replacing, write_atomically
from cnnlab.runs.environment import versions

Format = Literal["onnx", "torch", "safetensors"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}

OPSETS = range(18, 26)  # that torch and onnxscript write; the first is what they write without a conversion
BATCH_SIZES = (1, 3, 8)  # that a file is tried with
TOLERANCE = 1e-4  # of logits; relative to their range where that is above 1
ABOUT = "cnnlab.json"  # the extra file of a .pt2 that says what its network is

Answer = Callable[[Tensor], Tensor]  # float32 (N, 3, H, W) to float32 (N, classes)


@dataclass(frozen=True)
class Deployed:
    """What was written.

    Attributes:
        files: the file, and for safetensors the JSON beside it.
        about: what the file says of itself, see `describe_file`.
        difference: the largest one between what the file and the checkpoint answer.
    """

    files: tuple[Path, ...]
    about: dict[str, Any]
    difference: float


def deploy(
    checkpoint: str | Path,
    output: Path | None = None,
    format: Format = "onnx",
    opset: int | None = None,
    normalize: bool = False,
    softmax: bool = False,
) -> Deployed:
    """Writes a trained network in float32, after checking that the file answers as the checkpoint does.

    Args:
        checkpoint: a file that cnnlab wrote, or a run directory.
        output: the file; None puts it beside the checkpoint, with its name and the format's suffix.
        format: `onnx`; `torch`, a program of `torch.export`; or `safetensors`, the weights by their names.
        opset: of ONNX, 18 to 25; None takes 18, which most runtimes read.
        normalize: True makes the graph take images in [0, 1] and normalize them itself.
        softmax: True makes the graph give probabilities instead of logits.

    Raises:
        RequestError: for an option that the format does not have, a package that it needs and that is not installed, or
            a checkpoint that cannot be loaded.
        RuntimeError: when torch cannot export the network, or the file's answers are not the checkpoint's; nothing is
            written then.
    """
    _check_options(format, opset, normalize, softmax)
    net = load(checkpoint, device="cpu", precision="32-true")
    about = describe_file(net, normalize, softmax)
    if format == "safetensors":
        content, answer = _weights(net, about)
    else:
        graph = _Graph(net, normalize, softmax)
        if format == "onnx":
            about["opset"] = opset or OPSETS[0]
        content, answer = (_onnx if format == "onnx" else _program)(graph, about)
    difference = _check_answers(net, answer, normalize, softmax)
    file = output or net.checkpoint.with_suffix(SUFFIXES[format])
    files = (file,)
    if format == "safetensors":
        files = (file, file.with_suffix(".json"))
        write_atomically(files[1], json.dumps(about, indent=2) + "\n")
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    return Deployed(files, about, difference)


def describe_file(net: TrainedNetwork, normalize: bool, softmax: bool) -> dict[str, Any]:
    """What one must know to use the file, as plain values: it is put into the file."""
    size, name = net.image_size, "probabilities" if softmax else "logits"
    values = "RGB in [0, 1]" if normalize else "RGB, normalized: (values in [0, 1] - mean) / std"
    return {
        "input": f"images: float32 (batch, {CHANNELS}, {size}, {size}), {values}",
        "output": f"{name}: float32 (batch, {len(net.classes)})",
        "classes": list(net.classes),
        "image_size": size,
        "resize": "the shorter side to image_size pixels, bilinear with antialiasing",
        "crop": "the middle, image_size x image_size",
        "mean": net.mean.tolist(),
        "std": net.std.tolist(),
        "normalize": normalize,
        "model": net.model,
        "data_fingerprint": net.data_fingerprint,
        "versions": versions(),
    }


def _check_options(format: Format, opset: int | None, normalize: bool, softmax: bool) -> None:
    if format != "onnx" and opset is not None:
        raise RequestError(f"opset is of format=onnx; format={format} has none")
    if opset is not None and opset not in OPSETS:
        raise RequestError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}")
    for key, asked in (("normalize", normalize), ("softmax", softmax)):
        if asked and format == "safetensors":
            raise RequestError(f"{key} is part of a graph; format=safetensors holds weights alone")
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                raise RequestError(f"format=onnx needs a package, {package}: pip install 'cnnlab[onnx]'")


class _Graph(nn.Module):
    """The network with what the file does before and after it."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: TrainedNetwork, normalize: bool, softmax: bool):
        super().__init__()
        self.network = copy.deepcopy(net.network).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.normalize, self.softmax = normalize, softmax
        self.register_buffer("mean", net.mean[:, None, None])
        self.register_buffer("std", net.std[:, None, None])
        self.image_size = net.image_size
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        if self.normalize:
            images = (images - self.mean) / self.std
        logits = self.network(images)
        return logits.softmax(dim=1) if self.softmax else logits

    def example(self) -> dict[str, Any]:
        """Arguments of torch's exporters: two images stand for a batch of any size."""
        images = torch.zeros(2, CHANNELS, self.image_size, self.image_size)
        return {"args": (images,), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}


def _onnx(graph: _Graph, about: dict[str, Any]) -> tuple[bytes, Answer]:
    import onnx
    import onnxruntime

    output = about["output"].partition(":")[0]
    with _exporting(), torch.no_grad():
        exported = torch.onnx.export(
            graph,
            **graph.example(),
            input_names=["images"],
            output_names=[output],
            opset_version=about["opset"],
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    if (written := {entry.domain: entry.version for entry in model.opset_import}[""]) != about["opset"]:
        raise RequestError(f"opset: this network cannot be written in {about['opset']}, but in {written}")
    onnx.helper.set_model_props(model, _texts(about))
    for node in model.graph.node:
        del node.metadata_props[:]  # where in our source it comes from, with paths of this machine
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run([output], {"images": images.numpy()})[0])


def _program(graph: _Graph, about: dict[str, Any]) -> tuple[bytes, Answer]:
    buffer = io.BytesIO()
    with _exporting(), torch.no_grad():
        program = torch.export.export(graph, **graph.example())
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about, indent=2)})
        buffer.seek(0)
        return buffer.getvalue(), torch.export.load(buffer).module()


def _weights(net: TrainedNetwork, about: dict[str, Any]) -> tuple[bytes, Answer]:
    import safetensors.torch

    # Copies: weights that two layers share are written for each of them.
    weights = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in net.network.state_dict().items()
    }
    content = safetensors.torch.save(weights, _texts(about))
    network = build_network(net.model, len(net.classes), net.image_size)
    restored = network.state_dict()  # has the versions of its modules, which some want to know and the file does not
    restored.update(safetensors.torch.load(content))
    network.load_state_dict(restored)
    return content, network.eval()


def _texts(about: dict[str, Any]) -> dict[str, str]:
    """The metadata of formats that take texts alone: lists, numbers and the like are JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}


def _check_answers(net: TrainedNetwork, answer: Answer, normalize: bool, softmax: bool) -> float:
    """The largest difference from what the checkpoint answers, over batches of several sizes."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for count in BATCH_SIZES:
        # Coloured squares: noise averages out in deep layers, and all images would look alike to the network.
        squares = nn.functional.interpolate(torch.rand(count, CHANNELS, 4, 4, generator=generator), net.image_size)
        pixels = (squares * 255).round().to(torch.uint8)
        expected = net.logits(pixels.permute(0, 2, 3, 1).contiguous())
        scale = (expected.amax(dim=1) - expected.amin(dim=1)).max().clamp(min=1)
        images = pixels / 255
        if not normalize:
            images = (images - net.mean[:, None, None]) / net.std[:, None, None]
        if softmax:
            expected, scale = expected.softmax(dim=1), torch.ones(())
        with torch.no_grad():
            given = answer(images)
        difference = (given - expected).abs().max()
        if not difference <= TOLERANCE * scale:  # also where it is not a number
            raise RuntimeError(
                f"the file answers otherwise than the checkpoint, by up to {difference:.2g} in a batch of {count}; "
                "it was not written"
            )
        differences.append(float(difference))
    return max(differences)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Keeps torch's exporters from telling about their steps, and says in a line what they cannot do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch has one for every obstacle
        raise RuntimeError(f"torch cannot export this network ({first_line(error)}); nothing was written") from error
    finally:
        logging.disable(before)
