"""Define the formats of exported files. Nothing here needs torch."""

import importlib.util
from typing import Literal

from cnnlab.errors import RequestError

Format = Literal["onnx", "torch", "safetensors", "hub"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
OPSETS = range(18, 26)  # versions that torch and onnxscript write; the first needs no conversion


def check_options(format: Format, opset: int | None, normalize: bool, softmax: bool, calibrated: bool = False) -> None:
    """Raise a RequestError for an option that the format does not have, and for a package that it needs."""
    if format != "onnx" and opset is not None:
        raise RequestError(f"opset is for format=onnx only, got format={format}")
    if opset is not None and opset not in OPSETS:
        raise RequestError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}")
    for key, chosen in (("normalize", normalize), ("softmax", softmax), ("calibrated", calibrated)):
        if chosen and format in ("safetensors", "hub"):
            raise RequestError(f"{key} needs format=onnx or format=torch; a safetensors file holds only weights")
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                raise RequestError(f"format=onnx needs the package {package}: pip install 'cnnlab[onnx]'")
