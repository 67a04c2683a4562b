"""The heads of experiment files, and the index that is made of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnlab.comparison.text import markdown_table
from cnnlab.errors import RequestError

START, END = "<!-- index: make results writes this -->", "<!-- end of the index -->"
FIELDS = ("Question", "Command", "Machine", "Time", "Answer")


@dataclass(frozen=True)
class Head:
    """The comment lines at the start of an experiment's file, `# Question: ...` and so on; None where one is missing.

    Attributes:
        name: of the experiment.
        question: that it asks.
        command: that answers it.
        machine: that it ran on.
        time: that it took.
        answer: in one line.
    """

    name: str
    question: str | None
    command: str | None
    machine: str | None
    time: str | None
    answer: str | None

    @property
    def answered(self) -> bool:
        """Whether somebody has run it and written down what came out."""
        return self.answer is not None and not self.answer.startswith("not ")


def read_head(file: Path) -> Head:
    """The head of an experiment's file; a line that starts with spaces behind its `#` goes on with the one before."""
    found: dict[str, str] = {}
    last = None
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(rf"#\s*({'|'.join(FIELDS)}):\s*(.*)", line):
            last = match[1].lower()
            found[last] = match[2].strip()
        elif last and re.match(r"#\s{3,}\S", line):
            found[last] += " " + line.lstrip("# ").strip()
        else:
            last = None
    return Head(file.stem, *(found.get(field.lower()) or None for field in FIELDS))


def render_index(folder: Path) -> str:
    """The table of all experiments of a folder, with their figures where `results/` has them.

    Args:
        folder: of the experiments' files.
    """
    rows = [_row(read_head(file), folder) for file in sorted(folder.glob("*.yaml"))]
    return "\n".join(markdown_table(["experiment", "question", "answer", "result", "cost"], rows))


def _row(head: Head, folder: Path) -> list[str]:
    command = head.command or f"make results EXPERIMENT={head.name}"
    results = [
        f"[{word}](results/{head.name}{suffix})"
        for word, suffix in (("table", ".md"), ("figure", ".png"))
        if (folder / "results" / f"{head.name}{suffix}").exists()
    ]
    unanswered = head.answer or ("not written down yet" if results else "not run yet")
    answer = str(head.answer) if head.answered else f"{unanswered}: `{command}`"
    cost = "; ".join(part for part in (head.time, head.machine) if part) if head.answered else "-"
    return [f"[`{head.name}`]({head.name}.yaml)", head.question or "-", answer, ", ".join(results) or "-", cost or "-"]


def with_index(text: str, table: str) -> str:
    """The text with the table between its two markers.

    Raises:
        RequestError: when it does not have them.
    """
    if START not in text or END not in text.partition(START)[2]:
        raise RequestError(f"the index belongs between {START} and {END}, which README.md does not have")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}"


def without_places(arguments: Sequence[str]) -> list[str]:
    """Arguments as others can use them: a path of this machine becomes FOLDER."""
    return [re.sub(r"=['\"]?(?:[/~]|\.\.?/).*", "=FOLDER", argument) for argument in arguments]


def without_paths(text: str) -> str:
    """A message as others can read it: paths of this machine become PATH."""
    quoted, bare = r"(['\"])(?:~|\.\.?)?/.*?\1", r"(?<![\w.:/~])(?:~|\.\.?)?/[^\s'\",;:)\]]+"
    return re.sub(f"{quoted}|{bare}", "PATH", text)
