"""The heads of experiment files, and the index that is made of them."""

import pytest

from cnnlab.comparison.experiment_files import (
    END,
    START,
    read_head,
    render_index,
    with_index,
    without_paths,
    without_places,
)
from cnnlab.config import ROOT
from cnnlab.errors import RequestError

HEAD = """\
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


def test_a_head_is_read_up_to_the_first_key(tmp_path):
    (tmp_path / "it.yaml").write_text(HEAD)
    head = read_head(tmp_path / "it.yaml")
    assert (head.name, head.question, head.time) == ("it", "does it | work, and how well?", "3 minutes")
    assert (head.answer, head.answered) == (None, False)


def test_the_index_has_answers_results_and_what_would_give_them(tmp_path):
    (tmp_path / "it.yaml").write_text(HEAD)
    (tmp_path / "done.yaml").write_text("# Question: what?\n# Answer: 90 %\n# Time: 1 minute\nseeds: 1\n")
    (tmp_path / "none.yaml").write_text("# Answer: not measured yet on a GPU\nseeds: 1\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "done.md").touch()
    done, it, none = render_index(tmp_path).splitlines()[2:]
    assert done == "| [`done`](done.yaml) | what? | 90 % | [table](results/done.md) | 1 minute |"
    assert r"does it \| work" in it
    assert "not run yet: `make results EXPERIMENT=it` | - | - |" in it
    assert "not measured yet on a GPU: `make results EXPERIMENT=none`" in none


def test_the_index_takes_the_place_of_the_one_before():
    text = f"before\n{START}\nold\n{END}\nafter\n"
    assert with_index(text, "new") == f"before\n{START}\nnew\n{END}\nafter\n"
    with pytest.raises(RequestError, match="the index belongs between"):
        with_index("no markers", "new")


def test_the_shipped_index_is_what_the_heads_say():
    folder = ROOT / "experiments"
    text = (folder / "README.md").read_text()
    assert with_index(text, render_index(folder)) == text, "python experiments/publish.py --index"


def test_places_of_this_machine_are_not_told():
    given = ["data.path=/home/me/cifar", "data.path='~/x y'", "seeds=1", "data.cache=../c", "model=timm/x"]
    assert without_places(given) == [
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
def test_a_message_tells_no_paths(text, expected):
    assert without_paths(text) == expected
