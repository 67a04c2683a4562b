"""Where the package and its configurations lie, and which groups of choices there are."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent
# In a checkout conf/ and experiments/ lie beside the package, in a wheel inside it.
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file() and (PACKAGE.parent / "conf").is_dir()
ROOT = PACKAGE.parent if CHECKOUT else PACKAGE

GROUPS = ("model", "data", "recipe", "trainer", "logger", "callbacks", "search")
