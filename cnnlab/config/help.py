"""Write the key lists of `--help` from the comments of the YAML files in conf/."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cnnlab.config.paths import CONFIG_GROUPS, ROOT, list_names
from cnnlab.display import terminal_width

WIDTH, WIDEST, COLUMN = 80, 110, 26  # characters of a line; position of the descriptions
KEY_LINE = re.compile(r"( *)(- )?(?:override )?([\w./-]+):(?: +([^#\s].*?))?(?: +# (.*))?")  # `key: value  # comment`
COMMENT_GOES_ON = re.compile(r" {8,}# (.*)")


@dataclass(frozen=True)
class Key:
    """Hold a key of a YAML file."""

    value: str  # the default, as text; empty if the key holds other keys
    comment: str  # the description
    section: str  # the heading before it, which is a comment on a line of its own
    group: bool  # True for a group of files to choose from, such as `model`


Keys = dict[str, Key]  # by dotted name


def register_help(directory: Path) -> None:
    """Define `${keys:NAME,...}` and `${other_keys:GROUP,...}` for the help texts in conf/*.yaml.

    The first describes the keys with these names. The second describes all further keys of the command's own file, and
    those of the files that are chosen in these groups; the working directory may hold some in its own conf/.
    """

    width = min(terminal_width() or WIDTH, WIDEST)

    def keys(*names: str, _root_: DictConfig) -> str:
        return _Help(_root_, directory, width).describe(names)

    def other_keys(*groups: str, _root_: DictConfig) -> str:
        return "\n\n".join(_Help(_root_, directory, width).sections(groups))

    for resolver in (keys, other_keys):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


class _Help:
    """Describe the keys of a command, of which the composed configuration and the working directory are given."""

    def __init__(self, config: DictConfig, directory: Path, width: int):
        self.directory = directory
        self.choices = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items()}
        self.file = ROOT / "conf" / f"{config.hydra.job.config_name}.yaml"
        self.width = width
        self.known = read_all_keys(self.file)
        for group in sorted(CONFIG_GROUPS, key=lambda group: group == "recipe"):  # a recipe overrides other groups
            for file in self._chosen(group):
                merge(self.known, read_all_keys(file, f"{group}."))

    def _chosen(self, group: str) -> list[Path]:
        """Return the chosen files of a group; several loggers may be chosen."""
        default = self.known[group].value if group in self.known else ""  # Hydra does not report a list of choices
        names = re.findall(r"[\w.-]+", self.choices.get(group, default))
        files = [root / "conf" / group / f"{name}.yaml" for name in names for root in (ROOT, self.directory)]
        return list(dict.fromkeys(file for file in files if file.is_file()))

    def sections(self, groups: Iterable[str]) -> Iterator[str]:
        """Yield the keys that the help does not list by name, by section."""
        text = self.file.read_text(encoding="utf-8", errors="replace")
        shown = {name for names in re.findall(r"\$\{keys:(.*?)\}", text) for name in names.split(",")}
        own = {name: key for name, key in read_keys(self.file).items() if name not in shown}
        for section in dict.fromkeys(key.section for key in own.values()):
            names = [name for name, key in own.items() if key.section == section]
            yield f"{section or ('Other keys' if 'Common keys' in text else 'Keys')}\n{self.describe(names)}"
        shown |= own.keys()
        for group in groups:
            for file in self._chosen(group):
                if names := [name for name in read_all_keys(file, f"{group}.") if name not in shown]:
                    shown |= set(names)
                    content = file.read_text(encoding="utf-8", errors="replace")
                    summary = re.search(r"^# (?!@)(.*)", content, re.MULTILINE)
                    about = [f"  {line}" for line in textwrap.wrap(summary[1], self.width - 2)] if summary else []
                    yield "\n".join([f"{group}={file.stem}", *about, "", self.describe(names)])

    def describe(self, names: Iterable[str]) -> str:
        """Return a line or more for each key: its name, its default, its description."""
        return "\n".join(line for name in names for line in self._describe(name)).replace("$", "$$")  # for Hydra

    def _describe(self, name: str) -> list[str]:
        key = self.known[name]
        comment, value = key.comment, key.value.strip("\"'").replace(", ", ",")
        if key.group and (known := list_names(name, self.directory)):
            comment += f"; choices: {', '.join(known)}"
        if not key.group and any(other.startswith(f"{name}.") for other in self.known):
            left = f"  {name}.*"
        elif value == "???" or "${" in value:
            left = f"  {name}=..."
        else:
            left = f"  {name}={value}" if len(value) < 40 else f"  {name}=[...]"
        lines = textwrap.wrap(comment, max(24, self.width - COLUMN), break_long_words=False, break_on_hyphens=False)
        if len(left) + 2 <= COLUMN and lines:
            left += " " * (COLUMN - len(left)) + lines.pop(0)
        return [left, *(" " * COLUMN + line for line in lines)]


def read_keys(file: Path, prefix: str = "") -> Keys:
    """Read the keys of a YAML file below conf/, without those of `hydra`; put a prefix such as `data.` before each."""
    keys: Keys = {}
    parents: dict[int, str] = {}  # name of the last key at each indentation
    section = last = ""
    without_header = re.sub(r"\A(#.*\n)*", "", file.read_text(encoding="utf-8", errors="replace"))
    for line in without_header.partition("\nhydra:")[0].splitlines():
        if line.startswith("# "):
            section = line[2:]
        elif more := COMMENT_GOES_ON.fullmatch(line):
            keys[last] = replace(keys[last], comment=f"{keys[last].comment} {more[1]}".strip())
        elif match := KEY_LINE.fullmatch(line):
            indent, group, name, value, comment = match.groups(default="")
            if name in ("defaults", "_target_", "_partial_"):
                continue
            parents = {depth: parent for depth, parent in parents.items() if depth < len(indent)}
            last = prefix + ".".join([*parents.values(), name])
            keys[last] = Key(value, comment, section, bool(group))
            if not group:
                parents[len(indent)] = name
    return keys


def read_all_keys(file: Path, prefix: str = "") -> Keys:
    """Read the keys of a YAML file and of the files that it extends."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if "# @package hydra" in text:
        return {}
    keys: Keys = {}
    prefix = "" if "# @package _global_" in text else prefix
    for base in re.findall(r"^  - ([a-z][\w/]*)(?: +#.*)?$", text, re.MULTILINE):
        merge(keys, read_all_keys(file.parent / f"{base}.yaml", prefix))
    merge(keys, read_keys(file, prefix))
    return keys


def merge(keys: Keys, changes: Mapping[str, Key]) -> None:
    """Add keys and change values; what a change leaves out stays."""
    for name, key in changes.items():
        earlier = keys.get(name, key)
        keys[name] = replace(earlier, value=key.value or earlier.value, comment=key.comment or earlier.comment)
