"""Export trained networks as files that are used elsewhere: ONNX, a torch.export program, weights, or for the Hub."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.build.network import CHANNELS, build_network
from cnnlab.errors import Failed, RequestError
from cnnlab.files import write_atomically
from cnnlab.inference.formats import OPSETS, SUFFIXES, Format, check_options
from cnnlab.inference.hub_folder import write_hub_folder
from cnnlab.inference.trained import TrainedNetwork, load
from cnnlab.instantiate import first_line
from cnnlab.runs.environment import versions
from cnnlab.runs.plain import to_json
from cnnlab.runs.shipped import folder_beside

# Programs that run an exported file on a black image.
EXAMPLES: dict[Format, str] = {
    "onnx": """
import numpy, onnxruntime
image = numpy.zeros((1, 3, {size}, {size}), "float32")
run = onnxruntime.InferenceSession({file}).run
print(run(None, {{"images": image}}))""",
    "torch": """
import torch
program = torch.export.load({file}).module()
print(program(torch.zeros(1, 3, {size}, {size})))""",
    "safetensors": """
from safetensors.torch import load_file
print(*load_file({file}))""",
    "hub": """
from cnnlab import load
print(load({file}).classes)""",
}

BATCH_SIZES = (1, 3, 8)  # batches that a file is checked with
TOLERANCE = 1e-4  # largest difference of logits; relative to their range if that is above 1
METADATA_FILE = "cnnlab.json"  # extra file of a .pt2 that describes its network

RunFile = Callable[[Tensor], Tensor]  # float32 (N, 3, H, W) to float32 (N, classes)


@dataclass(frozen=True)
class Export:
    """Hold what was written."""

    files: tuple[Path, ...]  # the file, and for safetensors the JSON file beside it; for the Hub all of the folder
    metadata: dict[str, Any]  # description inside the file, see `describe_file`
    difference: float  # largest absolute difference between the outputs of the file and the checkpoint
    example: str  # a Python program that uses the file


def export_network(
    checkpoint: str | Path,
    output: Path | None = None,
    format: Format = "onnx",
    opset: int | None = None,
    normalize: bool = False,
    softmax: bool = False,
    trust: str | list[str] | None = None,
    calibrated: bool = False,
) -> Export:
    """Write a trained network in float32, after checking that the file's outputs are those of the checkpoint.

    Args:
        checkpoint: a file that cnnlab wrote, or a run directory.
        output: file to write, or folder for `hub`; None for the checkpoint's path with the format's suffix, or `hub`
            beside it.
        format: `onnx`; `torch`, a program of `torch.export`; `safetensors`, the weights by their names; or `hub`, these
            in a folder as the Hugging Face Hub takes it, with a model card.
        opset: ONNX version, 18 to 25; None for 18, which most runtimes read.
        normalize: whether the graph takes images in [0, 1] and normalizes them itself.
        softmax: whether the graph returns probabilities instead of logits.
        trust: modules, or full names of networks, that the checkpoint may name too.
        calibrated: whether the logits are divided by the checkpoint's temperature; see `load`.

    Raises:
        RequestError: for an option that the format does not have, a missing package, or a checkpoint that cannot be
            loaded.
        RuntimeError: if torch cannot export the network, or the outputs differ; nothing is written then.
    """
    check_options(format, opset, normalize, softmax, calibrated)
    net = load(checkpoint, "cpu", "32-true", trust, calibrated)
    metadata = describe_file(net, normalize, softmax)
    if format == "onnx":
        metadata["opset"] = opset or OPSETS[0]
    with _exporting(), torch.no_grad():
        if format in ("safetensors", "hub"):
            content, run_file = _weights(net, metadata)
        else:
            content, run_file = (_onnx if format == "onnx" else _program)(_Graph(net, normalize, softmax), metadata)
        difference = _check_outputs(net, run_file, normalize, softmax)
    if format == "hub":
        folder = output or folder_beside(net.checkpoint) / "hub"
        files = write_hub_folder(folder, content, metadata, net)
    else:
        file = output or folder_beside(net.checkpoint) / f"{net.checkpoint.stem}{SUFFIXES[format]}"
        files = (file,)
        write_atomically(file, content)
    if format == "safetensors":
        files = (*files, files[0].with_suffix(".json"))
        write_atomically(files[1], to_json(metadata) + "\n")
    example = EXAMPLES[format].format(file=to_json(str(files[0])), size=net.image_size)
    return Export(files, metadata, difference, example)


def describe_file(net: TrainedNetwork, normalize: bool, softmax: bool) -> dict[str, Any]:
    """Return what one must know to use the file, as plain values, to be stored in it."""
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
        "temperature": net.temperature,
        "model": net.model,
        "data_fingerprint": net.data_fingerprint,
        "versions": versions(),
    }


class _Graph(nn.Module):
    """Wrap the network with the normalization and softmax that become part of the file."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: TrainedNetwork, normalize: bool, softmax: bool):
        super().__init__()
        self.network = copy.deepcopy(net.network).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.normalize, self.softmax, self.temperature = normalize, softmax, net.temperature
        self.register_buffer("mean", net.mean[:, None, None])
        self.register_buffer("std", net.std[:, None, None])
        self.image_size = net.image_size
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits or probabilities (N, classes)."""
        if self.normalize:
            images = (images - self.mean) / self.std
        logits = self.network(images)
        if self.temperature != 1:
            logits = logits / self.temperature
        return logits.softmax(dim=1) if self.softmax else logits

    def example(self) -> dict[str, Any]:
        """Return arguments for torch's exporters: two images, as an example of a batch of any size."""
        images = torch.zeros(2, CHANNELS, self.image_size, self.image_size)
        return {"args": (images,), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}


def _onnx(graph: _Graph, metadata: dict[str, Any]) -> tuple[bytes, RunFile]:
    import onnx
    import onnxruntime

    output = metadata["output"].partition(":")[0]
    exported = torch.onnx.export(
        graph,
        **graph.example(),
        input_names=["images"],
        output_names=[output],
        opset_version=metadata["opset"],
        dynamo=True,
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    if (written := {entry.domain: entry.version for entry in model.opset_import}[""]) != metadata["opset"]:
        raise RequestError(f"opset: this network can be written in {written}, not in {metadata['opset']}")
    onnx.helper.set_model_props(model, _texts(metadata))
    for node in model.graph.node:
        del node.metadata_props[:]  # source locations, which contain paths of this machine
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run([output], {"images": images.numpy()})[0])


def _program(graph: _Graph, metadata: dict[str, Any]) -> tuple[bytes, RunFile]:
    buffer = io.BytesIO()
    program = torch.export.export(graph, **graph.example())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    torch.export.save(program, buffer, extra_files={METADATA_FILE: to_json(metadata)})
    buffer.seek(0)
    return buffer.getvalue(), torch.export.load(buffer).module()


def _weights(net: TrainedNetwork, metadata: dict[str, Any]) -> tuple[bytes, RunFile]:
    import safetensors.torch

    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    weights = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in net.network.state_dict().items()
    }
    content = safetensors.torch.save(weights, _texts(metadata))
    network = build_network(net.model, len(net.classes), net.image_size)
    restored = network.state_dict()  # keeps the version of each module, which the file does not have and some need
    restored.update(safetensors.torch.load(content))
    network.load_state_dict(restored)
    return content, network.eval()


def _texts(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the metadata for formats that only take texts, with other values as JSON."""
    return {key: value if isinstance(value, str) else to_json(value, indent=None) for key, value in metadata.items()}


def _check_outputs(net: TrainedNetwork, run_file: RunFile, normalize: bool, softmax: bool) -> float:
    """Return the largest difference from the checkpoint's outputs, over batches of several sizes."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for count in BATCH_SIZES:
        # Coloured squares, because noise averages out in deep layers, and then all outputs are alike.
        squares = nn.functional.interpolate(torch.rand(count, CHANNELS, 4, 4, generator=generator), net.image_size)
        pixels = (squares * 255).round().to(torch.uint8)
        expected = net.logits(pixels.permute(0, 2, 3, 1).contiguous())
        scale = (expected.amax(dim=1) - expected.amin(dim=1)).max().clamp(min=1)
        images = pixels / 255
        if not normalize:
            images = (images - net.mean[:, None, None]) / net.std[:, None, None]
        if softmax:
            expected, scale = expected.softmax(dim=1), torch.ones(())
        difference = (run_file(images) - expected).abs().max()
        if not difference <= TOLERANCE * scale:  # also if it is not a number
            raise Failed(
                f"the file's outputs differ from the checkpoint's by up to {difference:.2g} in a batch of {count}; "
                "nothing was written"
            )
        differences.append(float(difference))
    return max(differences)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Silence the progress of torch's exporters, and explain errors, those of a file's first use too, in a line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        # torch prints the code of a network that it cannot export.
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (RequestError, Failed):
        raise
    except Exception as error:  # torch raises many types
        reason = first_line(error.__cause__ or error)
        raise Failed(f"torch cannot export this network ({reason}); nothing was written") from error
    finally:
        logging.disable(before)
