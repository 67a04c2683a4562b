"""Who may import whom: the rules that keep data flowing one way."""

import ast
import re
from pathlib import Path

import pytest

import cnnlab
from cnnlab.__main__ import COMMANDS

PACKAGE = Path(cnnlab.__file__).parent
# All may import these.
SHARED = {
    "arguments",
    "declarations",
    "display",
    "errors",
    "files",
    "instantiate",
    "limits",
    "style",
    "waiting",
    "words",
}
# For each part, the other parts of the package that it may import.
MAY_IMPORT = {
    "cpu": set(),
    "intervals": set(),
    "libraries": set(),
    "models": set(),
    "data": {"cpu"},
    "auditing": {"cpu", "data", "inspection"},
    "training": {"signals"},
    "signals": set(),
    "streams": set(),
    "trust": set(),
    "runs": {"cpu", "signals", "trust"},
    "inspection": {"runs"},
    "reports": {"inspection", "runs"},
    "config": {"cpu", "runs", "signals", "streams", "training"},
    "build": {"data", "inspection", "reports", "runs", "training"},
    "inference": {"build", "cpu", "data", "intervals", "reports", "runs", "streams", "training"},
    "comparison": {"inspection", "intervals", "reports", "runs"},
    "search": {"build", "config", "data", "reports", "runs"},
    "speed": {"build", "cpu", "data", "runs", "training"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_part_may(module):
    part = part_of(module)
    if part in COMMANDS or part in ("__init__", "__main__"):
        return
    assert part in MAY_IMPORT or part in SHARED, f"{part} is neither a command nor a known part"
    allowed = MAY_IMPORT.get(part, set()) | {part, *SHARED}
    others = {name.split(".")[1] for name in imported(module) if name.startswith("cnnlab.")}
    assert others <= allowed


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_hydra_appears_in_commands_and_config_alone(module):
    if part_of(module) in {*COMMANDS, "config"} or module.relative_to(PACKAGE) == Path("search/configurations.py"):
        return
    assert not {name for name in imported(module) if name.split(".")[0] in ("hydra", "omegaconf")}


def test_the_plugin_knows_the_door_and_the_parts_of_a_sweep():
    modules = sorted((PACKAGE.parent / "hydra_plugins" / "cnnlab_sweep").glob("*.py"))
    assert modules
    names = {name for module in modules for name in imported(module)}
    ours = {name.split(".")[1] for name in names if name.startswith("cnnlab.")}
    assert ours <= {"config", "display", "errors", "files", "reports", "runs"}


@pytest.mark.parametrize("module", sorted((PACKAGE / "models").glob("*.py")), ids=lambda m: m.name)
def test_models_need_torch_alone(module):
    outside = {name.split(".")[0] for name in imported(module)} - {"cnnlab"}
    assert outside <= {"torch", "typing", "collections", "dataclasses", "math"}


def test_there_are_no_circles():
    graph = {part: MAY_IMPORT[part] for part in MAY_IMPORT}

    def reaches(start: str, goal: str) -> bool:
        return any(step == goal or reaches(step, goal) for step in graph[start])

    assert not any(reaches(part, part) for part in graph)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_files_of_text_are_utf8_in_every_locale(module):
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node)
        opens = re.match(r"(open|[^(]*\.(read_text|write_text|open|fdopen)|Path\(.*\)\.read_text)\(", call)
        if opens and not call.startswith(("os.open(", "Image.open(")) and not re.search("['\"][rwa+]*b", call):
            assert "encoding=" in call
