import io
import os
import sys
from pathlib import Path

import pytest

from cnnlab.data.listing import list_pictures
from cnnlab.errors import RequestError


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make empty files with the names of images: listing opens nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "c.webp", "notes.txt", ".hidden.png", "old/d.tiff", "old/x.png/e.gif", ".git/f.png"):
        file = Path("photos") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Path("empty").mkdir()
    return Path("photos")


def listed(asked: str | list[str]) -> list[str]:
    return [str(path).removeprefix("photos/") for path in list_pictures(asked)]


def test_a_folder_stands_for_the_pictures_below_it(photos: Path) -> None:
    assert listed("photos") == ["a.PNG", "b.jpg", "c.webp", "old/d.tiff", "old/x.png/e.gif"]


def test_a_named_file_is_taken_whatever_its_suffix(photos: Path) -> None:
    assert listed("photos/notes.txt") == ["notes.txt"]


def test_patterns_are_matched(photos: Path) -> None:
    assert listed("photos/*.[jw]*") == ["b.jpg", "c.webp"]
    assert listed("photos/**/*.png") == ["old/x.png/e.gif"]  # a folder whose name matches
    assert listed("photos/**/*.gif") == ["old/x.png/e.gif"]


def test_an_existing_file_is_not_taken_as_a_pattern(photos: Path) -> None:
    Path("photos/[1].png").touch()
    assert listed("photos/[1].png") == ["[1].png"]


def test_a_list_keeps_its_order(photos: Path) -> None:
    assert listed(["photos/old", "photos/a.PNG", "photos/*.jpg"]) == ["old/d.tiff", "old/x.png/e.gif", "a.PNG", "b.jpg"]


def test_standard_input_names_a_file_on_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b.png\n\nc.png\r\n\xff.png")))
    assert [os.fsencode(path) for path in list_pictures("-")] == [b"a b.png", b"c.png", b"\xff.png"]


def test_links_are_followed_and_loops_end(photos: Path) -> None:
    Path("photos/old/up").symlink_to(Path.cwd() / "photos")
    Path("photos/again").symlink_to(Path.cwd() / "photos/old")
    Path("photos/self.png").symlink_to("self.png")
    Path("photos/nowhere.png").symlink_to("gone.png")
    found = listed("photos")
    assert found == ["a.PNG", "again/d.tiff", "again/x.png/e.gif", "b.jpg", "c.webp", "nowhere.png", "self.png"]


def test_a_folder_that_cannot_be_read_is_yielded_itself(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def refusing(path: Path) -> list[str]:
        if path.name == "old":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    assert listed("photos") == ["a.PNG", "b.jpg", "c.webp", "old"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gone.png", "gone.png does not exist$"),
        ("a.png,b.png", r"write several as \[a.png,b.jpg\]"),
        ("empty", "no image found in empty"),
        ("photos/*.bmp", "no file matches"),
        (["photos", "gone"], "gone does not exist"),
        ("x" * 300, "File name too long"),
        ([], "must be a file"),
        ([3], "must be a file"),
        (None, "must be a file"),
    ],
)
def test_a_place_without_files_is_reported_at_once(photos: Path, asked: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        list_pictures(asked)
