"""Names appear as they are, on the terminal and in figures."""

import io
import shlex
import sys
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from cnnlab import display
from cnnlab.display import SafeConsole, cut, save_figure, suggest_next, wrapped


def test_names_that_hold_commands_for_the_terminal_are_printed_harmlessly(capsys):
    table = Table("a\x1b[31mheading", title="\x1b]0;title\x07")
    table.add_row("cat\x1b[2J", "line\nbreak")
    console = SafeConsole(width=80)
    console.print(table)
    console.print("run \x1b]8;;http://x\x1b\\ 5")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "cat\N{REPLACEMENT CHARACTER}" in printed


def test_colours_of_the_table_itself_stay():
    file = io.StringIO()
    console = SafeConsole(width=40, force_terminal=True, color_system="standard", file=file)
    console.print(Text("red \x1b[5m", style="red"))
    assert file.getvalue() == "\x1b[31mred \N{REPLACEMENT CHARACTER}[5m\x1b[0m\n"


def test_markup_and_emoji_in_names_are_no_commands(capsys):
    table = Table("[red]name[/red]")
    table.add_row(":smile: [/] [link=http://x]")
    console = SafeConsole(width=80, force_terminal=False)
    console.print(table)
    console.print("[bold]:smile:")
    printed = capsys.readouterr().out
    for text in ("[red]name[/red]", ":smile: [/] [link=http://x]", "[bold]:smile:"):
        assert text in printed


def test_a_terminal_of_one_column_gets_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1")
    table = Table("first", "second", min_width=60)
    table.add_row("a long cell of several words", "another one")
    SafeConsole().print(table)
    assert "another" in capsys.readouterr().out


def test_names_in_figures_are_no_formulas(tmp_path: Path) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks([0, 1], [r"$\frac$", "$x_$"])
    axes.set_yscale("log")
    axes.set(title="$\\", xlabel="a$b", ylabel=r"\$")
    axes.plot([0, 1], [1, 1000], label="$^$")
    axes.legend()
    figure.legend([axes.lines[0]], ["$$$"])
    save_figure(figure, tmp_path / "figure.png", dpi=50)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    powers = [label for label in axes.get_yticklabels() if "10" in label.get_text()]
    assert powers and all(label.get_parse_math() for label in powers)  # otherwise they would show their source


def test_names_in_other_scripts_are_drawn_with_any_font_that_has_them(tmp_path, monkeypatch):
    mark = "\N{LATIN SMALL LETTER D WITH PALATAL HOOK}"

    def draw(text: str) -> bytes:
        figure = Figure()
        figure.text(0.1, 0.5, text)
        save_figure(figure, tmp_path / "figure.png", dpi=50)
        return (tmp_path / "figure.png").read_bytes()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        without = draw("猫 \N{THAI CHARACTER KO KAI}"), draw(mark)
        monkeypatch.setattr("cnnlab.display.OTHER_SCRIPTS", "^STIXGeneral$")  # comes with matplotlib
        display._fonts_of_other_scripts.cache_clear()
        assert draw(mark) != without[1]
    display._fonts_of_other_scripts.cache_clear()
    assert not told


def test_long_names_are_cut_at_their_end() -> None:
    assert cut("a" * 40) == "a" * 40
    assert cut("ab" * 40) == "ab" * 19 + "a…"


def test_lines_are_broken_where_the_terminal_ends(monkeypatch):
    text = "  data.path=FOLDER  where the images are\nshort\na/very/long/path/without/any/space"
    assert wrapped(text, sys.stdout) == text  # a file or pipe
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "26")
    lines = ["  data.path=FOLDER  where", "    the images are", "short", "a/very/long/path/without/any/space"]
    assert wrapped("  key=1     what the key is good for", sys.stdout).splitlines() == [
        "  key=1     what the key",
        "            is good for",
    ]
    assert wrapped(text, sys.stdout).splitlines() == lines


def test_a_table_that_is_too_wide_loses_its_last_columns():
    def printed(width: int) -> str:
        table = Table("run", "accuracy", "seconds")
        table.add_row("resnet20", "91.25", "123456")
        stream = io.StringIO()
        SafeConsole(file=stream, width=width).print(table)
        return stream.getvalue()

    assert "seconds" in printed(40)
    assert "seconds" not in printed(30) and "91.25" in printed(30)
    assert max(map(len, printed(30).splitlines())) <= 30


def test_a_next_step_is_suggested_on_a_terminal_only(capsys, monkeypatch):
    suggest_next("cnnlab compare runs=runs/sweep")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    suggest_next("cnnlab compare runs=runs/sweep")
    assert capsys.readouterr() == ("", "Next: cnnlab compare runs=runs/sweep\n")


def test_a_long_suggestion_is_broken_where_the_shell_joins_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    suggest_next("cnnlab evaluate checkpoint='my runs/one' data.path=images batch_size=16")
    printed = capsys.readouterr().err
    assert max(map(len, printed.splitlines())) <= 40
    joined = printed.removeprefix("Next: ").replace("\\\n", "")
    assert shlex.split(joined) == ["cnnlab", "evaluate", "checkpoint=my runs/one", "data.path=images", "batch_size=16"]
