"""Check the names, types and values of arguments against the declaration of the function or class that takes them."""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cnnlab.declarations import Declaration, declaration_of, names_beside, read_declaration
from cnnlab.errors import RequestError
from cnnlab.limits import limits_of, outside
from cnnlab.words import did_you_mean, nearest

MODULES = {"optimizer": "torch.optim", "loss": "torch.nn", "callbacks": "lightning.pytorch.callbacks"}
MODULES |= {"schedule": "torch.optim.lr_scheduler", "logger": "lightning.pytorch.loggers"}
UNTYPED = ("self", "params", "args", "kwargs")  # parameters that no key sets


def check_node(config: Mapping[str, Any], key: str, filled_in: Sequence[str] = ()) -> None:
    """Check names, types and values of a configuration with a `_target_`, and of those inside, without importing it.

    What the source of the target does not tell is left to `build`. Arguments that are `filled_in` cannot be given.

    Raises:
        RequestError: if the target is not in its module, or an argument is wrong; names it, with `key` before it.
    """
    target = config["_target_"]
    if not isinstance(target, str):
        raise RequestError(f"{key}._target_ must be the name of a class or function, got {target!r}")
    if (known := names_beside(target)) is not None:
        usual = [f"{MODULES.get(key.partition('.')[0])}.{target}"] if "." not in target else []
        near = did_you_mean(target, known) if nearest(target, known) else ""
        near = f"; did you mean {usual[0]}?" if usual and read_declaration(usual[0]) else near
        raise RequestError(f"{key}._target_: {target!r} cannot be imported{near}")
    values = {}
    for name, value in config.items():
        if name in filled_in:
            raise RequestError(f"{key}.{name} is not a key: it is filled in")
        inner = [part for part in (value if isinstance(value, list) else [value]) if _is_node(part)]
        for part in inner:
            check_node(part, f"{key}.{name}", filled_in)
        if not inner and name not in ("_target_", "_partial_"):
            values[name] = value
    if declaration := read_declaration(target):
        names = tuple(name for name in declaration.names if name not in filled_in)
        unknown = [] if declaration.open_ended else [name for name in values if name not in names]
        if unknown and not nearest(unknown[0], names):  # the recipe may set it for another class
            name, listed = f"{key}.{unknown[0]}", did_you_mean(unknown[0], (n for n in names if n not in UNTYPED))
            raise RequestError(f"{name} is not a key of {target}{listed}; if a file sets it, ~{name} leaves it out")
        check_arguments(dataclasses.replace(declaration, names=names), values, key, limits_of(target))


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def check_arguments(
    target: Callable[..., Any] | Declaration,
    arguments: Mapping[str, Any],
    key: str = "",
    limits: Mapping[str, str] | None = None,
) -> None:
    """Check the names, types and values of some or all arguments of a function or class against its declaration.

    `limits` holds intervals by name, beside those that are declared.

    Raises:
        RequestError: if one is wrong; names it, with `key` before it, and the nearest valid one.
    """
    declared = target if isinstance(target, Declaration) else declaration_of(target)
    prefix = f"{key}." if key else ""
    for name, value in arguments.items():
        if name not in declared.names and not declared.open_ended:
            known = [p for p in declared.names if p not in UNTYPED]
            raise RequestError(f"{prefix}{name} is not a key{did_you_mean(name, known, prefix)}")
        hint = declared.hint(name)
        wanted = misfit(value, Annotated[hint, limits[name]] if limits and name in limits else hint)
        if wanted is not None:
            literals = [str(choice) for choice in _literals(hint)]
            near = did_you_mean(str(value), literals) if nearest(str(value), literals) else ""
            raise RequestError(f"{prefix}{name} must be {wanted}, got {value!r}{near}")


def check_declared(target: str, values: Mapping[str, Any], key: str = "") -> None:
    """Check values against the declaration of the function or class with a dotted name, without importing it.

    The values are all keys of a command, of which some belong to somebody else. With a key, they are those below it,
    and there must be an argument for each. Errors are as in `check_arguments`.
    """
    if declared := read_declaration(target):
        check_arguments(declared, {name: value for name, value in values.items() if key or name in declared.names}, key)


def misfit(value: Any, annotation: Any) -> str | None:
    """Return what a value must be if it does not have the annotated type, or lies outside of the interval; else None.

    An interval is a text beside the type, such as `Annotated[float, "[0, 1)"]`, the length of a list a number.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if not fits(value, args[0]):
            return misfit(value, args[0])
        for part in args[1:]:
            if isinstance(part, int) and len(value) != part:
                return f"a list of {part}"
            if isinstance(part, str) and (text := outside(value, part)):
                return text
        return None
    if origin in (Union, types.UnionType):
        args = _plain_members(args)
        found = {member: misfit(value, member) for member in args}
        if None in found.values():
            return None
        of_its_type = [str(text) for member, text in found.items() if fits(value, member)]
        return " or ".join(of_its_type or dict.fromkeys(map(_describe, args)))
    return None if fits(value, annotation) else _describe(annotation)


def fits(value: Any, annotation: Any) -> bool:
    """Return True if a value has an annotated type; annotations that do not describe plain values accept any."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, args[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in _plain_members(args))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in args)
    if origin is tuple and len(args) > 1 and args[-1] is not Ellipsis:
        return isinstance(value, list | tuple) and len(value) == len(args) and all(map(fits, value, args))
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(fits(v, args[0] if args else Any) for v in value)
    if origin is dict:
        return isinstance(value, dict)
    if origin is not None or annotation is Any or not isinstance(annotation, type):
        return True
    if _is_tensor(annotation) and isinstance(value, list):
        return bool(value) and fits(value, list[float])
    if annotation in (int, float):
        accepted = int if annotation is int else int | float
        return isinstance(value, accepted) and not isinstance(value, bool)
    if annotation is Path:
        return isinstance(value, str | Path)
    return isinstance(value, annotation)


def takes_lists(annotation: Any) -> bool:
    """Return whether lists of numbers stand for tensors here; where a number will do, they do not."""
    members = (annotation, *get_args(annotation))
    return any(map(_is_tensor, members)) and float not in members


def _plain_members(members: Sequence[Any]) -> list[Any]:
    """Return the members of a union, without tensors where a number will do."""
    return [member for member in members if not (_is_tensor(member) and float in members)]


def _is_tensor(annotation: Any) -> bool:
    return getattr(annotation, "__name__", "") == "Tensor" and annotation.__module__ == "torch"


def _describe(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _describe(get_args(annotation)[0])
    if literals := _literals(annotation):
        return "one of " + ", ".join(dict.fromkeys(str(choice) for choice in literals))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(member) for member in get_args(annotation)))
    if origin is tuple and len(args := get_args(annotation)) > 1 and args[-1] is not Ellipsis:
        return f"a list of {len(args)}"
    if origin in (list, tuple, Sequence):
        is_nested = get_origin(next(iter(get_args(annotation)), None)) in (list, tuple, Sequence)
        return "a list of lists" if is_nested else "a list"
    if _is_tensor(annotation):
        return "a list of numbers"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    words |= {dict: "keys and values", types.NoneType: "null"}
    return words.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for member in get_args(annotation) for choice in _literals(member)]
