"""Whoever installs the package gets all that it imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import cnnlab

OPTIONAL = {
    "timm",
    "onnx",
    "onnxruntime",
    "submitit",
    "optuna",
    "sqlalchemy",
    "pillow_heif",
    "pillow_jxl",
}  # of extras; who lacks one is told


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> set[str]:
    modules = set()
    for file in Path(cnnlab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - {"cnnlab"} - set(sys.stdlib_module_names) - OPTIONAL


def test_every_import_is_of_a_declared_dependency() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = {plain(re.split(r"[ <>=!;\[]", line)[0]) for line in project["dependencies"]}
    providers = packages_distributions()
    assert {"torch", "lightning", "hydra"} <= imported()
    for module in imported():
        assert {plain(name) for name in providers[module]} & declared, f"{module} comes with no declared dependency"
