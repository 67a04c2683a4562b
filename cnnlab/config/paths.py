"""Find the package and its configuration files, and list what can be chosen from them."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
# conf/ and experiments/ are beside the package in a checkout, and inside it in a wheel.
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file() and (PACKAGE.parent / "conf").is_dir()
ROOT = PACKAGE.parent if CHECKOUT else PACKAGE

CONFIG_GROUPS = ("model", "data", "recipe", "trainer", "logger", "callbacks", "search")


def group_folder(group: str) -> Path:
    """Return the folder of a group's files, relative to `ROOT` or to the working directory."""
    return Path("experiments") if group == "experiment" else Path("conf") / group


def list_names(group: str, directory: Path) -> list[str]:
    """List the names that can be chosen in a group: files of the project and of the working directory."""
    files = [file for root in (ROOT, directory) for file in (root / group_folder(group)).glob("*.yaml")]
    return sorted({file.stem for file in files}, key=_numbers_apart)


def _numbers_apart(name: str) -> list[tuple[str, int]]:
    """Split a name, so that resnet18 comes before resnet101."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", name)]
