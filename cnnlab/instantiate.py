"""Make objects from configurations, and name the wrong key if that fails.

A configuration with a `_target_` holds the name of a function and its arguments. Hydra's own `instantiate` reports a
wrong argument with a traceback. Here, names and types are checked against the function's signature first.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cnnlab.arguments import check_arguments, fits, takes_lists
from cnnlab.declarations import declaration_of
from cnnlab.errors import RequestError
from cnnlab.limits import limits_of

T = TypeVar("T")


def build(config: Mapping[str, Any], key: str, **extra: Any) -> Any:
    """Call the `_target_` of a configuration with its other keys, and `extra`, as arguments.

    With `_partial_: true`, return a function that takes more arguments later. Messages call this part `key`.

    Raises:
        RequestError: if the target cannot be imported, an argument is missing or has a wrong name or type, or the
            target raises a ValueError.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise RequestError(f"{key} must have a _target_: the name of a class or function")
    arguments = {
        name: _build_inner(value, f"{key}.{name}")
        for name, value in config.items()
        if name not in ("_target_", "_partial_")
    }
    target = import_target(config["_target_"], key)
    arguments |= _tensors(target, arguments)
    check_arguments(target, arguments, key, limits_of(config["_target_"]))
    check_arguments(target, extra)
    if config.get("_partial_"):
        return functools.partial(target, **arguments, **extra)
    try:
        inspect.signature(target).bind(**arguments, **extra)
    except TypeError as error:
        hint = "" if inspect.isclass(target) else "; a function that gets it later needs _partial_: true"
        raise RequestError(f"{key}: {error}{hint}") from None
    is_of_library = str(config["_target_"]).startswith(("torch.", "torchvision.", "timm.", "lightning."))
    with explained(key, arguments, Exception if is_of_library else ValueError):
        return target(**arguments, **extra)


def _build_inner(value: Any, key: str) -> Any:
    """Build what is in an argument: a configuration with a `_target_`, or a list of them."""
    if isinstance(value, list):
        return [_build_inner(item, f"{key}[{place}]") for place, item in enumerate(value)]
    return build(value, key) if isinstance(value, Mapping) and "_target_" in value else value


def _tensors(target: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments as tensors that are lists of numbers for a parameter that takes tensors.

    Without an annotation, these are the weights of a loss.
    """
    declared, found = declaration_of(target), {}
    for name, value in arguments.items():
        hint = declared.hint(name)
        wanted = takes_lists(hint) or (hint is Any and name in ("weight", "pos_weight"))
        if wanted and isinstance(value, list) and value and fits(value, list[float]):
            import torch

            found[name] = torch.tensor(value, dtype=torch.float32)
    return found


def import_target(target: Any, key: str) -> Callable[..., Any]:
    """Import the class or function with a dotted name such as `torch.optim.SGD`."""
    try:
        found = _resolve(target)
    except Exception as error:  # a module may raise anything while it is imported
        raise RequestError(f"{key}._target_: {target!r} cannot be imported ({first_line(error)})") from None
    if not callable(found):
        raise RequestError(f"{key}._target_: {target!r} is neither a class nor a function")
    return found


def _resolve(name: str) -> Any:
    try:
        found = pkgutil.resolve_name(name)
    except ModuleNotFoundError as error:
        if str(Path.cwd()) in sys.path or error.name != re.split("[.:]", name)[0]:
            raise
        sys.path.append(str(Path.cwd()))  # the user's own module
        importlib.invalidate_caches()
        found = pkgutil.resolve_name(name)
    if isinstance(found, types.ModuleType):  # a function may have the name of its module: torchvision.models.googlenet
        parent, _, last = name.rpartition(".")
        found = getattr(sys.modules.get(parent), last, found)
    return found


@contextlib.contextmanager
def explained(
    key: str, arguments: Mapping[str, Any] | None = None, errors: type[Exception] = ValueError
) -> Iterator[None]:
    """Turn an error of the part that works inside the block into a RequestError that names its key.

    The message is searched for the name, or else the value, of one of the part's arguments. `errors` is Exception if a
    library or the user's own code works inside the block.
    """
    try:
        yield
    except (RequestError, ImportError):
        raise
    except errors as error:
        message, arguments = describe_error(error), arguments or {}
        if any(message.startswith((f"{name} ", f"{name}: ", f"{name}.", f"{name}=")) for name in arguments):
            raise RequestError(dotted(key, message)) from None
        by_name = [name for name in arguments if re.search(rf"\b{name}\b", message)]
        by_value = [name for name, value in arguments.items() if _quotes(message, value)]
        named = dotted(key, *(by_name or by_value)[:1])
        raise RequestError(f"{named}: {message}" if named else message) from None


def read_options(options: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Read keys of a command into a dataclass that has a field for each, and check their types and values.

    The values are all keys of the command, of which some belong to somebody else. With a prefix, they are the keys
    below it, and each must have a field. The `__post_init__` of the dataclass may refuse a value with a ValueError
    whose message starts with the field's name.

    Raises:
        RequestError: for a wrong name, type or value, and for a missing key whose field has no default.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}  # pyright: ignore[reportArgumentType]
    given = {name: value for name, value in values.items() if prefix or name in fields}
    check_arguments(options, given, prefix)
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise RequestError(f"{dotted(prefix, name)} must be given")
    with explained(prefix, dict.fromkeys(fields) | given):
        return options(**given)


def dotted(*names: str) -> str:
    """Join the names of keys with dots, without the empty ones: `trainer.precision`."""
    return ".".join(name for name in names if name)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    quoted = isinstance(error, KeyError) and error.args  # str() would show a KeyError's message in quotes
    text = str(error.args[0] if quoted else error)
    return text.splitlines()[0] if text.strip() else type(error).__name__


def describe_error(error: Exception) -> str:
    """Return the first line of an error's message, and its type and place in the user's code if it is no ValueError."""
    if isinstance(error, ValueError):
        return first_line(error)
    shipped = (str(Path(__file__).parent), sys.prefix, sys.base_prefix, "<")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(shipped)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = first_line(error)
    kind = type(error).__name__
    return f"{text if text == kind or isinstance(error, RuntimeError) else f'{kind}: {text}'}{place}"


def _quotes(message: str, value: Any) -> bool:
    """Return whether a message names this number."""
    is_number = type(value) in (int, float)
    return is_number and re.search(rf"(?<![\w.-]){re.escape(str(value))}(?!\w|\.\w)", message) is not None
