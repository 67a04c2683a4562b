from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from cnnlab.reports.gallery import GAP, PADDING, RIGHT, SIDE, WRONG, Tile, draw_gallery, draw_neighbours

STEP = SIDE + 2 * PADDING + GAP
NAMES = [("cat", 0.7), ("dog", 0.2), ("owl", 0.1)]


def noise(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def holds(page: np.ndarray, colour: str) -> bool:
    return bool((page == [int(colour[place : place + 2], 16) for place in (1, 3, 5)]).all(axis=2).any())


def found(page: np.ndarray, part: np.ndarray) -> bool:
    """Return whether a picture is somewhere on the page, pixel by pixel."""
    height, width = part.shape[:2]
    starts = zip(*np.nonzero((page == part[0, 0]).all(axis=2)), strict=True)
    return any(np.array_equal(page[y : y + height, x : x + width], part) for y, x in starts)


@pytest.mark.parametrize(("count", "columns", "expected"), [(1, None, 1), (10, None, 4), (36, None, 6), (5, 2, 2)])
def test_the_page_is_as_wide_as_its_columns(tmp_path: Path, count: int, columns: int | None, expected: int) -> None:
    draw_gallery([Tile(noise(), f"{n}.png", NAMES) for n in range(count)], tmp_path / "g.png", "Title", columns)
    margins = drawn(tmp_path / "g.png").shape[1] - (expected * STEP - GAP)
    assert 0 < margins < STEP
    assert [file.name for file in tmp_path.iterdir()] == ["g.png"]


def test_the_pixels_of_a_small_picture_stay_sharp(tmp_path: Path) -> None:
    draw_gallery([Tile(noise(32, 32), "small.png", NAMES)], tmp_path / "g.png")
    assert found(drawn(tmp_path / "g.png"), noise(32, 32).repeat(9, axis=0).repeat(9, axis=1))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (28, 28), (50, 33), (200, 150), (700, 1000), (1, 900), (900, 1)])
def test_pictures_of_any_shape_fill_their_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    white = np.full((*shape, 3), (255, 0, 255), np.uint8)
    draw_gallery([Tile(white, "white.png", [])], tmp_path / "g.png")
    rows, columns = np.nonzero((drawn(tmp_path / "g.png") == (255, 0, 255)).all(axis=2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(height, width) == SIDE
    assert height / width == pytest.approx(max(shape[0], shape[1] / SIDE) / max(shape[1], shape[0] / SIDE), rel=0.02)


def test_right_and_wrong_predictions_have_colours_if_the_label_is_known(tmp_path: Path) -> None:
    colours = []
    for label in ("cat", "owl", "fox", None):
        draw_gallery([Tile(np.zeros((8, 8, 3), np.uint8), "a.png", NAMES, label)], tmp_path / "g.png")
        page = drawn(tmp_path / "g.png")
        colours.append((holds(page, RIGHT), holds(page, WRONG)))
    # After a wrong prediction, the bar of the true class is green if it is among the most probable ones.
    assert colours == [(True, False), (True, True), (False, True), (False, False)]


def test_a_bar_is_as_long_as_the_confidence(tmp_path: Path) -> None:
    draw_gallery([Tile(np.zeros((8, 8, 3), np.uint8), "a.png", [("cat", 0.5)], "cat")], tmp_path / "g.png")
    green = (drawn(tmp_path / "g.png") == ImageColor.getrgb(RIGHT)).all(axis=2)
    assert green.sum(axis=1).max() == SIDE // 2


def test_names_of_any_length_and_script_stay_on_their_card(tmp_path: Path) -> None:
    wide = "W" * 300
    tile = Tile(np.zeros((8, 8, 3), np.uint8), f"{wide}\n.png", [(wide, 1.0), ("Кошка 猫 \udcff", 0.0)], wide, wide)
    draw_gallery([tile], tmp_path / "g.png", f"{wide} {wide}")
    page = drawn(tmp_path / "g.png")
    assert (page[:, : PADDING + 10] == page[0, 0]).all()
    assert (page[:, -PADDING - 10 :] == page[0, 0]).all()


def test_no_picture_gives_a_page_that_says_so(tmp_path: Path) -> None:
    draw_gallery([], tmp_path / "g.png", "Mistakes")
    assert drawn(tmp_path / "g.png").std() > 0


def test_neighbours_stand_apart_from_their_picture(tmp_path: Path) -> None:
    row = [Tile(noise(), "a.png", NAMES, "cat"), *[Tile(noise(), "b", (), "cat", "distance 0.1")] * 3]
    draw_gallery(row, tmp_path / "g.png", columns=4)
    draw_neighbours([row, row], tmp_path / "n.png", "Neighbours")
    gallery, neighbours = drawn(tmp_path / "g.png"), drawn(tmp_path / "n.png")
    assert neighbours.shape[0] > 2 * gallery.shape[0] - 2 * STEP
    assert neighbours.shape[1] == gallery.shape[1] + 2 * GAP
