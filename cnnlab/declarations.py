"""Read how functions and classes are declared in their source files, without importing them.

A wrong name or type in a request is answered at once in this way; to import torch and Lightning takes seconds.
"""

import ast
import functools
import importlib.machinery
import importlib.util
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPTH = 8  # imports and base classes that are followed
SIMPLE = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.BitOr, ast.Constant, ast.Tuple, ast.List, ast.Load)
FORMS = ("Any", "Annotated", "Literal", "Optional", "Union", "Sequence", "Iterable", "Mapping", "Callable")
TYPES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict)} | {
    "Path": Path,
    "typing": typing,
    "Tensor": type("Tensor", (), {"__module__": "torch"}),
}


@dataclass(frozen=True)
class Declaration:
    """Hold the parameters of a function, or of a class when it is made."""

    names: tuple[str, ...]
    open_ended: bool  # whether it takes arguments of any name
    hint: Callable[[str], Any]  # returns the annotation of a parameter; `Any` if it has none or it is not understood


def declaration_of(target: Callable[..., Any]) -> Declaration:
    """Return the declaration of a function or class that is imported."""
    parameters = inspect.signature(target).parameters
    try:
        made_by = target.__init__ if inspect.isclass(target) else target
        hints = typing.get_type_hints(made_by, include_extras=True)
    except Exception:  # annotations that cannot be evaluated are not checked
        hints = {}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return Declaration(tuple(parameters), open_ended, lambda name: hints.get(name, Any))


def read_declaration(target: str) -> Declaration | None:
    """Return the declaration of the function or class with a dotted name, or None if it cannot be found in a source.

    Nothing of it is run: only types are taken from annotations.
    """
    module, _, name = target.replace(":", ".").rpartition(".")
    found = _find(module, name)
    return _declare(*found) if found else None


def defining_module(target: str) -> str | None:
    """Return the module that defines the function or class with a dotted name, or None if no source tells."""
    module, _, name = target.replace(":", ".").rpartition(".")
    found = _find(module, name) if module else None
    return found[0] if found and not isinstance(found[1], ast.Assign) else None


def names_beside(target: str) -> list[str] | None:
    """Return the full names in the module of a dotted name that the module lacks; None if it may have this name."""
    module, _, name = target.replace(":", ".").rpartition(".")
    tree = _parse(_file(module))
    if tree is None:
        return None if _spec(target.partition(".")[0]) else []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
    if names & {name, "*", "__getattr__", "globals"} or _file(f"{module}.{name}"):
        return None
    return [f"{module}.{known}" for known in names]


def _declare(module: str, node: ast.stmt, depth: int = DEPTH) -> Declaration | None:
    hints: dict[str, ast.expr | None]
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        hints = {a.arg: a.annotation for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        hints.pop("self", None)
    elif not isinstance(node, ast.ClassDef):
        return None
    elif any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        hints = {ast.unparse(f.target): f.annotation for f in fields if "init=False" not in ast.unparse(f)}
    else:
        makers = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if makers:
            return _declare(module, makers[-1])
        base = node.bases[0] if node.bases else None
        inherited = _find(module, base.id, depth - 1) if isinstance(base, ast.Name) and depth else None
        return _declare(*inherited, depth - 1) if inherited else None
    open_ended = isinstance(node, ast.FunctionDef) and node.args.kwarg is not None
    return Declaration(tuple(hints), open_ended, lambda name: _evaluate(module, hints.get(name)))


def _find(module: str, name: str, depth: int = DEPTH) -> tuple[str, ast.stmt] | None:
    """Return where a name of a module is defined, and the statement that defines it; follow imports."""
    if depth == 0 or (tree := _parse(_file(module))) is None:
        return None
    for node in reversed(list(_statements(tree.body))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name) or alias.name == "*":
                    wanted = name if alias.name == "*" else alias.name
                    if found := _find(_source(module, node), wanted, depth - 1):
                        return found
    return None


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, also those under conditions."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


def _source(module: str, node: ast.ImportFrom) -> str:
    """Return the full name of the module that a statement imports from."""
    if not node.level:
        return node.module or ""
    file = _file(module)
    steps = node.level - (file is not None and file.name == "__init__.py")
    parent = module.split(".")[: -steps or None]
    return ".".join([*parent, *([node.module] if node.module else [])])


@functools.cache
def _parse(file: Path | None) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes()) if file else None
    except (OSError, SyntaxError, ValueError):
        return None


def _spec(first: str) -> importlib.machinery.ModuleSpec | None:
    """Find a module of the first level, which imports nothing, also in the working directory."""
    try:
        found = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # what is running has no specification
        found = None
    return found or importlib.machinery.PathFinder.find_spec(first, [str(Path.cwd())])


def _file(module: str) -> Path | None:
    """Return the source of a module, or None if it has none in Python."""
    first, *rest = module.split(".")
    spec = _spec(first) if first else None
    if spec is None or not (spec.origin or "").endswith(".py"):
        return None
    if not rest:
        return Path(str(spec.origin))
    folder = Path(str(spec.origin)).parent.joinpath(*rest)
    files = [folder / "__init__.py", folder.with_suffix(".py")]
    return next((file for file in files if spec.submodule_search_locations and file.is_file()), None)


def _evaluate(module: str, node: ast.expr | None) -> Any:
    """Return the type that an annotation means, or Any if it is not made of simple types alone."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    # Without calls, an expression of types does nothing but look up names.
    if node is None or not all(isinstance(part, SIMPLE) for part in ast.walk(node)):
        return Any
    try:
        return eval(compile(ast.Expression(node), "annotation", "eval"), {"__builtins__": {}}, _Types(module))
    except Exception:  # it names something that is not known here
        return Any


class _Types(dict[str, Any]):
    """Look up the types that annotations of a module name."""

    def __init__(self, module: str):
        super().__init__(TYPES)
        self.module = module

    def __missing__(self, name: str) -> Any:
        if name in FORMS:
            return getattr(typing, name)
        found = _find(self.module, name)
        return _evaluate(found[0], found[1].value) if found and isinstance(found[1], ast.Assign) else Any
