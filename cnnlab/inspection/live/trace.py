"""Turn a network into the list of operations that the live page computes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from cnnlab.errors import RequestError
from cnnlab.inspection.cost import MISFITS
from cnnlab.inspection.live.store import Store
from cnnlab.inspection.receptive_field_rules import Pair
from cnnlab.inspection.titles import in_words, titles

Operation = dict[str, Any]

MOST_BYTES = 30_000_000  # of a page

# Activation functions by their module, with the name that the page knows and the attribute that shapes them.
ACTIVATIONS: dict[str, tuple[str, str | None]] = {
    "ReLU": ("relu", None),
    "ReLU6": ("relu6", None),
    "Tanh": ("tanh", None),
    "ScaledTanh": ("scaled tanh", None),
    "Sigmoid": ("sigmoid", None),
    "GELU": ("gelu", None),
    "SiLU": ("silu", None),
    "Hardswish": ("hardswish", None),
    "LeakyReLU": ("leaky relu", "negative_slope"),
    "ELU": ("elu", "alpha"),
}
FUNCTIONS = {"relu": "relu", "relu_": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu", "silu": "silu"}
WHOLE = ("ScaledTanh", "RadialBasis")  # modules of cnnlab that are one operation each
NOTHING = ("Identity", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "StochasticDepth")  # after the training


class _Unknown(Exception):
    """An operation that the page cannot compute; the text names it."""


@dataclass(frozen=True)
class Program:
    """What a page needs to compute a network."""

    image_size: int  # height and width of the images in pixels
    # In the order in which they are computed; the first is the image. Each has `kind`, `name`, `shape` (of its output
    # without the batch), `inputs` (positions in the list), `words` and `title` (see `titles`), and what its kind needs.
    operations: list[Operation]
    weights: str  # 16 bits each, as base64; see `Store`
    numbers: str  # float32, as base64
    parameters: int  # of the network


def read_program(network: nn.Module, image_size: int) -> Program:
    """List the operations of a network in evaluation mode, for images (3, image_size, image_size).

    Raises:
        RequestError: if the network cannot be followed, has an operation that the page does not know, or too many
            weights.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters * 2 * 4 / 3 > MOST_BYTES:  # two bytes as base64
        raise _refusal(f"its {parameters:,} parameters need more than {MOST_BYTES // 10**6} MB")
    network = copy.deepcopy(network).cpu()
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except Exception as error:
        raise _refusal(f"it decides by the values of the image what to compute ({type(error).__name__})") from None
    store = Store()
    recorder = _Recorder(traced, store, image_size)
    try:
        with torch.no_grad():
            recorder.run(torch.zeros(1, 3, image_size, image_size))
    except (_Unknown, *MISFITS) as error:
        raise _refusal(str(error).partition("\n")[0]) from None
    named = titles(network, recorder.layers)
    for operation, (_, does), title in zip(recorder.operations[1:], recorder.layers, named, strict=True):
        operation.update(words=in_words(does), title=title)
    return Program(image_size, recorder.operations, *store.texts(), parameters)


def _refusal(reason: str) -> RequestError:
    return RequestError(f"live: the live page cannot show this network: {reason}")


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__name__ in (*WHOLE, *NOTHING) or super().is_leaf_module(m, module_qualified_name)


class _Recorder(fx.Interpreter):
    """Runs an image through a network and notes each operation that depends on it; all else becomes constants."""

    def __init__(self, traced: fx.GraphModule, store: Store, image_size: int):
        super().__init__(traced)
        self.store = store
        image = {"kind": "image", "name": "image", "words": "picture", "title": "Picture"}
        self.operations: list[Operation] = [image | {"shape": [3, image_size, image_size], "inputs": []}]
        self.layers: list[tuple[str, str]] = []  # module, and its class or the function, of each operation after it
        self.position: dict[fx.Node, int] = {}  # of the operation that computes a node

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node, and note it."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        result = super().run_node(n)
        inputs = [self.position[node] for node in n.all_input_nodes if node in self.position]
        if n.op == "placeholder":
            self.position[n] = 0
        elif n.op == "output":
            if len(inputs) != 1 or inputs[0] != len(self.operations) - 1:
                raise _Unknown("its last operation is not its only output")
        elif isinstance(result, Tensor) and inputs:
            if n.op == "call_module":
                module = self.fetch_attr(str(n.target))
                found = self._of_module(module)
                name = where = str(n.target)
                does = type(module).__name__
                if getattr(module, "inplace", False) and len(n.all_input_nodes[0].users) > 1:
                    raise _Unknown(f"{name} overwrites values that are used again")
            else:
                stack = n.meta.get("nn_module_stack") or {"": ""}
                does = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
                where = next(reversed(stack))
                name = f"{where} {does}".strip()
                found = self._of_function(does, n, args, kwargs, result)
            position = inputs[0]
            for operation in found:
                self.layers.append((where, operation["kind"] if operation["kind"] in ("affine", "flatten") else does))
                common = {"name": name, "inputs": [position] if len(inputs) == 1 else inputs}
                self.operations.append(common | operation)
                position = len(self.operations) - 1
            if found:
                self.operations[-1]["shape"] = list(result.shape[1:])
            if len(result) != 1 or result.ndim not in (2, 4):
                raise _Unknown(f"{name} gives an output of shape {tuple(result.shape)}")
            self.position[n] = position
        return result

    def _of_module(self, module: nn.Module) -> list[Operation]:
        """Return the operations of a module: none if it changes nothing."""
        kind, store = type(module).__name__, self.store
        if kind in NOTHING:
            return []
        if kind in ACTIVATIONS:
            function, shape = ACTIVATIONS[kind]
            if getattr(module, "approximate", "none") != "none":
                raise _Unknown("GELU with tanh")
            return [{"kind": "activation", "function": function, "alpha": getattr(module, shape) if shape else 0}]
        match module:
            case nn.Conv2d() if module.padding_mode == "zeros":
                return [self._convolution(*(getattr(module, key) for key in
                        ("weight", "bias", "stride", "padding", "dilation", "groups")))]  # fmt: skip
            case nn.Linear():
                return [self._linear(module.weight, module.bias)]
            case nn.BatchNorm2d() if module.running_mean is not None and module.running_var is not None:
                return [self._norm("batch norm", module.eps, module.weight, module.bias, module.running_mean)
                        | {"variance": store.add_numbers(module.running_var)}]  # fmt: skip
            case nn.GroupNorm():
                norm = self._norm("group norm", module.eps, module.weight, module.bias, torch.ones(module.num_channels))
                return [norm | {"groups": module.num_groups}]
            case nn.InstanceNorm2d() if not module.track_running_stats:
                norm = self._norm("group norm", module.eps, module.weight, module.bias, torch.ones(module.num_features))
                return [norm | {"groups": module.num_features}]
            case nn.MaxPool2d() if not module.return_indices:
                return [_pooling("max", module.kernel_size, module.stride, module.padding, module.dilation)]
            case nn.AvgPool2d() if module.divisor_override is None:
                pool = _pooling("mean", module.kernel_size, module.stride, module.padding)
                return [pool | {"counts_padding": module.count_include_pad}]
            case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
                return [{"kind": "adaptive pool", "take": "mean" if "Avg" in kind else "max"}]
            case nn.Flatten() if module.start_dim == 1:
                return [{"kind": "flatten"}]
            case nn.LocalResponseNorm():
                return [
                    {"kind": "response norm"} | {key: getattr(module, key) for key in ("size", "alpha", "beta", "k")}
                ]
            case _ if kind == "RadialBasis":
                return [{"kind": "radial basis", "codes": store.add_numbers(module.get_buffer("codes"))}]
        raise _Unknown(f"it has a {kind}")

    def _of_function(self, name: str, node: fx.Node, args: Any, kwargs: Any, result: Tensor) -> list[Operation]:
        """Return the operations of a function or method that is called between modules."""
        seen = [one for one in node.args if isinstance(one, fx.Node) and one in self.position]
        others = [value for one, value in zip(node.args, args, strict=True) if one not in seen]
        match name:
            case "dropout":
                return []
            case "flatten" | "reshape" | "view" if result.ndim == 2:
                return [{"kind": "flatten"}]
            case "add" | "iadd" | "add_" if len(seen) == 2 and args[0].shape == args[1].shape == result.shape:
                return [{"kind": "add"}]
            case "add" | "iadd" | "sub" if len(seen) == 1 and args[0] is not others[0]:
                return [self._affine(1, others[0] if name != "sub" else -others[0], result)]
            case "mul" | "imul" if len(seen) == 1:
                return [self._affine(others[0], 0, result)]
            case "truediv" | "div" if len(seen) == 1 and args[0] is not others[0]:
                return [self._affine(1 / others[0], 0, result)]
            case "neg":
                return [self._affine(-1, 0, result)]
            case "conv2d" if len(seen) == 1:
                values = dict(zip(("weight", "bias", "stride", "padding", "dilation", "groups"), others, strict=False))
                return [self._convolution(**values | kwargs)]
            case "avg_pool2d" if len(others) + len(kwargs) == 1:
                return [_pooling("mean", *others, **kwargs) | {"counts_padding": True}]
            case "max_pool2d":
                return [_pooling("max", *others, **kwargs)]
            case "adaptive_avg_pool2d" | "adaptive_max_pool2d":
                return [{"kind": "adaptive pool", "take": "mean" if "avg" in name else "max"}]
            case "mean" if args[0].ndim == 4 and sorted(d % 4 for d in (kwargs.get("dim") or others[0])) == [2, 3]:
                shape = [args[0].shape[1], 1, 1]
                pool = {"kind": "adaptive pool", "take": "mean", "shape": shape}
                return [pool] if result.ndim == 4 else [pool, {"kind": "flatten"}]
            case "getitem" if len(others[0]) == 4 and all(_steps(one) for one in others[0]):
                steps = [one.step or 1 for one in others[0]]
                if steps[:2] == [1, 1]:
                    return [{"kind": "take", "stride": steps[2:]}]
            case "pad" if result.ndim == 4 and len(others) == 1 and not kwargs.get("value"):
                before = [*others[0], *[0] * 6][:6:2]  # of columns, rows and channels
                return [{"kind": "pad", "before": before[::-1]}]
            case "cat" | "concat" if (others[-1] if len(args) > 1 else kwargs.get("dim", 0)) == 1:
                return [{"kind": "concatenate"}]
            case _ if name in FUNCTIONS:
                return [{"kind": "activation", "function": FUNCTIONS[name], "alpha": 0}]
        raise _Unknown(f"it has the function {name} in {_place(node)}")

    def _convolution(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Operation:
        kernel, spread = tuple(weight.shape[2:]), _pair(dilation)
        if isinstance(padding, str):
            total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, spread, strict=True)]
            if any(one % 2 for one in total):
                raise _Unknown("it has a convolution with uneven padding")
            padding = [one // 2 for one in total]
        window = {"kernel": kernel, "stride": _pair(stride), "padding": _pair(padding), "dilation": spread}
        return {"kind": "convolution", "groups": groups} | window | self._weights(weight, bias)

    def _linear(self, weight: Tensor, bias: Tensor | None) -> Operation:
        return {"kind": "linear"} | self._weights(weight, bias)

    def _weights(self, weight: Tensor, bias: Tensor | None) -> Operation:
        at = None if bias is None else self.store.add_numbers(bias)
        return {"weight": self.store.add_weights(weight), "bias": at}

    def _norm(self, kind: str, eps: float, weight: Tensor | None, bias: Tensor | None, mean: Tensor) -> Operation:
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
        places = {"mean": mean, "weight": weight, "bias": bias}
        return {"kind": kind, "eps": eps} | {key: self.store.add_numbers(value) for key, value in places.items()}

    def _affine(self, scale: Any, shift: Any, result: Tensor) -> Operation:
        """Return a product with a number per channel, plus one."""
        channels = result.shape[1]

        def values(value: Any) -> int:
            value = torch.as_tensor(value, dtype=torch.float32)
            if value.numel() not in (1, channels) or (
                value.numel() > 1 and value.flatten().shape != value.squeeze().shape
            ):
                raise _Unknown("it computes with a constant for each position")
            return self.store.add_numbers(value.flatten().expand(channels))

        return {"kind": "affine", "scale": values(scale), "shift": values(shift)}


def _place(node: fx.Node) -> str:
    return next(reversed(node.meta.get("nn_module_stack") or {"": ""})) or "its forward"


def _steps(one: Any) -> bool:
    return isinstance(one, slice) and not one.start and one.stop is None


def _pooling(take: str, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Operation:
    kernel = _pair(kernel_size)
    window = {
        "kernel": kernel,
        "stride": _pair(stride or kernel),
        "padding": _pair(padding),
        "dilation": _pair(dilation),
    }
    return {"kind": "pool", "take": take} | window


def _pair(value: Any) -> Pair:
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return int(first), int(second)
