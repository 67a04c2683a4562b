"""Test the headers of experiment files, and the index that is made of them."""

import pytest
from experiment_files import (
    END,
    START,
    read_header,
    render_index,
    with_index,
    without_local_paths,
    without_paths,
)

from cnnlab.config import ROOT
from cnnlab.errors import RequestError

HEADER = """\
# Question: does it | work,
#           and how well?
# Command:  make results EXPERIMENT=it
# Machine:  two cores
# Time:     3 minutes
# Changed from the recipe: nothing.
#           not of any field
seeds: 3
# Answer:   not in the head
"""


def test_a_header_is_read_up_to_the_first_key(tmp_path):
    (tmp_path / "it.yaml").write_text(HEADER)
    header = read_header(tmp_path / "it.yaml")
    assert (header.name, header.question, header.time) == ("it", "does it | work, and how well?", "3 minutes")
    assert (header.answer, header.is_answered) == (None, False)


def test_the_index_has_answers_and_results_or_the_command_for_them(tmp_path):
    (tmp_path / "it.yaml").write_text(HEADER)
    (tmp_path / "done.yaml").write_text("# Question: what?\n# Answer: 90 %\n# Time: 1 minute\nseeds: 1\n")
    (tmp_path / "none.yaml").write_text("# Answer: not measured yet on a GPU\nseeds: 1\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "done.md").touch()
    done, it, none = render_index(tmp_path).splitlines()[2:]
    assert done == "| [`done`](done.yaml) | what? | 90 % | [table](results/done.md) | 1 minute |"
    assert r"does it \| work" in it
    assert "not run yet: `make results EXPERIMENT=it` | - | - |" in it
    assert "not measured yet on a GPU: `make results EXPERIMENT=none`" in none


def test_a_new_index_replaces_the_old_one():
    text = f"before\n{START}\nold\n{END}\nafter\n"
    assert with_index(text, "new") == f"before\n{START}\nnew\n{END}\nafter\n"
    with pytest.raises(RequestError, match="the index belongs between"):
        with_index("no markers", "new")


def test_the_shipped_index_agrees_with_the_headers():
    folder = ROOT / "experiments"
    text = (folder / "README.md").read_text()
    assert with_index(text, render_index(folder)) == text, "python experiments/publish.py --index"


def test_local_paths_are_hidden():
    given = ["data.path=/home/me/cifar", "data.path='~/x y'", "seeds=1", "data.cache=../c", "model=timm/x"]
    assert without_local_paths(given) == [
        *("data.path=FOLDER", "data.path=FOLDER", "seeds=1", "data.cache=FOLDER", "model=timm/x"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resume=/home/me/runs/a_1", "resume=PATH"),
        ("no file '/home/me/my images/a.png', or ~/b", "no file PATH, or PATH"),
        ("../data is not a folder; see /tmp/log.", "PATH is not a folder; see PATH"),
        ("train/accuracy and images/s: 3 / 4", "train/accuracy and images/s: 3 / 4"),
        ("https://example.org/a", "https://example.org/a"),
    ],
)
def test_a_message_shows_no_paths(text, expected):
    assert without_paths(text) == expected
