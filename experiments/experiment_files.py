"""Read the headers of experiment files, and write the index of all experiments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnlab.comparison.tables import Table
from cnnlab.comparison.text import markdown_table
from cnnlab.errors import RequestError

START, END = "<!-- index: make results writes this -->", "<!-- end of the index -->"
FIELDS = ("Question", "Command", "Machine", "Time", "Answer")


@dataclass(frozen=True)
class Header:
    """Comment lines at the start of an experiment's file, `# Question: ...` and so on; None for a missing one."""

    name: str  # of the experiment
    question: str | None
    command: str | None
    machine: str | None
    time: str | None
    answer: str | None

    @property
    def is_answered(self) -> bool:
        """Return whether the experiment was run and its answer written down."""
        return self.answer is not None and not self.answer.startswith("not ")


def read_header(file: Path) -> Header:
    """Read the header of an experiment's file; a line with spaces after its `#` continues the one before."""
    found: dict[str, str] = {}
    last = None
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(rf"#\s*({'|'.join(FIELDS)}):\s*(.*)", line):
            last = match[1].lower()
            found[last] = match[2].strip()
        elif last and re.match(r"#\s{3,}\S", line):
            found[last] += " " + line.lstrip("# ").strip()
        else:
            last = None
    return Header(file.stem, *(found.get(field.lower()) or None for field in FIELDS))


def render_index(folder: Path) -> str:
    """Return the table of all experiments in a folder, with links to their results if there are any."""
    rows = [_row(read_header(file), folder) for file in sorted(folder.glob("*.yaml"))]
    return "\n".join(markdown_table(Table(["experiment", "question", "answer", "result", "cost"], rows)))


def _row(header: Header, folder: Path) -> list[str]:
    command = header.command or f"make results EXPERIMENT={header.name}"
    results = [
        f"[{word}](results/{header.name}{suffix})"
        for word, suffix in (("table", ".md"), ("figure", ".png"))
        if (folder / "results" / f"{header.name}{suffix}").exists()
    ]
    answer, cost = str(header.answer), "; ".join(part for part in (header.time, header.machine) if part)
    if not header.is_answered:
        reason = header.answer or ("not written down yet" if results else "not run yet")
        answer, cost = f"{reason}: `{command}`", ""
    name = f"[`{header.name}`]({header.name}.yaml)"
    return [name, header.question or "-", answer, ", ".join(results) or "-", cost or "-"]


def with_index(text: str, table: str) -> str:
    """Return the text with the table between its two markers.

    Raises:
        RequestError: if the text does not have them.
    """
    if START not in text or END not in text.partition(START)[2]:
        raise RequestError(f"the index belongs between {START} and {END}, which README.md does not have")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}"


def without_local_paths(arguments: Sequence[str]) -> list[str]:
    """Return arguments as others can use them: a path of this machine becomes FOLDER."""
    return [re.sub(r"=['\"]?(?:[/~]|\.\.?/).*", "=FOLDER", argument) for argument in arguments]


def without_paths(text: str) -> str:
    """Return a message as others can read it: paths of this machine become PATH."""
    quoted, bare = r"(['\"])(?:~|\.\.?)?/.*?\1", r"(?<![\w.:/~])(?:~|\.\.?)?/[^\s'\",;:)\]]+"
    return re.sub(f"{quoted}|{bare}", "PATH", text)
