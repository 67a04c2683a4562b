"""Pictures of the inside of a network, and their page."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from torch import nn

from cnnlab.inspection.attribution import ClassMap
from cnnlab.inspection.feature_maps import Stage
from cnnlab.inspection.inside import Inside, Subject, look_inside
from cnnlab.inspection.layers import tabulate
from cnnlab.inspection.page.functions import draw_functions, drawn_uses
from cnnlab.inspection.page.page import draw, render, write_inside
from cnnlab.inspection.page.sizes import draw_path, draw_windows, drawn_steps, formula, in_words, steps
from cnnlab.inspection.page.style import Picture
from cnnlab.inspection.page.tiles import draw_class_maps, draw_filters, draw_maps, weak_filters
from cnnlab.inspection.receptive_field import ReceptiveField
from cnnlab.inspection.receptive_field_rules import Window
from cnnlab.models.article import ArticleNet
from cnnlab.models.speednet import SpeedNet

PIXELS = torch.randint(256, (32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def inside_of(network: nn.Module, classes: tuple[str, ...] = ("cat & dog", "<owl>", "ship")) -> Inside:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 32)
    subject = Subject("thenet", "runs/best.ckpt", "cat.jpg", PIXELS, truth=None, watched=None)
    return look_inside(subject, network.eval(), classes, image, [image])


@pytest.fixture(scope="module")
def article() -> Inside:
    return inside_of(ArticleNet(num_classes=3, width=0.125))


# --- filters and maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "tiles"), [((6, 3, 5, 5), 6), ((64, 3, 4, 4), 64), ((5, 1, 3, 3), 5), ((4, 2, 3, 3), 8)]
)
def test_every_filter_has_a_tile(shape, tiles):
    figure = draw_filters(torch.randn(shape))
    assert len(figure.axes[0].images) == tiles
    numbers = [str(number) for number in range(shape[0]) for _ in range(tiles // shape[0])]
    assert texts(figure) == numbers


def test_a_filter_is_grey_where_its_weights_are_zero_and_has_its_full_contrast():
    filters = torch.zeros(2, 3, 2, 2)
    filters[0, 0, 0, 0], filters[1, 2, 1, 1] = 0.01, -7
    pixels = [np.asarray(image.get_array()) for image in draw_filters(filters).axes[0].images]
    assert pixels[0][0, 0].tolist() == pytest.approx([1, 0.5, 0.5])
    assert pixels[1][1, 1].tolist() == pytest.approx([0.5, 0.5, 0])
    assert pixels[1][0, 0].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_weak_filters_are_found_and_framed():
    filters = torch.ones(4, 3, 3, 3)
    filters[2] *= 0.05
    filters[3] = 0
    assert weak_filters(filters) == [2, 3]
    assert len(draw_filters(filters).axes[0].patches) == 2


def test_a_stage_shows_its_most_active_channels_on_one_scale():
    maps = torch.arange(20.0)[:, None, None].expand(20, 5, 5)
    figure = draw_maps(Stage("relu", "ReLU", maps, None))
    images = figure.axes[0].images
    assert texts(figure)[:3] == ["19", "18", "17"]
    assert len(images) == 16
    assert {image.get_clim() for image in images} == {(0, 19)}
    signed = draw_maps(Stage("conv", "Conv2d", maps - 30, None))
    assert {image.get_clim() for image in signed.axes[0].images} == {(-30, 30)}


def test_a_stage_of_zeros_can_be_drawn():
    assert draw_maps(Stage("relu", "ReLU", torch.zeros(3, 4, 4), None)).axes[0].images


def test_a_class_map_states_its_resolution():
    class_maps = [ClassMap("cat", 0.75, torch.rand(6, 6)), ClassMap("dog", 0.25, torch.zeros(6, 6))]
    figure = draw_class_maps(PIXELS, class_maps, ReceptiveField((8, 8), (0, 0), (5, 5)))
    assert "cat, 75.0%" in texts(figure)
    assert any("6 × 6 values" in text for text in texts(figure))
    images = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(images) == 5
    assert images[0].shape == images[1].shape == (32, 32, 3)
    grey = PIXELS.numpy().mean(axis=2) / 255
    np.testing.assert_allclose(images[3][..., 0], grey)  # no evidence for the dog: the image is left unchanged


# --- sizes -----------------------------------------------------------------------------------------------------------

FORMULAS = [
    (nn.Conv2d(3, 1, 4, padding=1), 32, "⌊(32 + 2·1 − 4) / 1⌋ + 1 = 31"),
    (nn.MaxPool2d(3, 2), 14, "⌊(14 + 2·0 − 3) / 2⌋ + 1 = 6"),
    (nn.MaxPool2d(3, 2, ceil_mode=True), 14, "⌈(14 + 2·0 − 3) / 2⌉ + 1 = 7"),
    (nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), 5, "⌈(5 + 2·1 − 2) / 2⌉ + 1 = 3"),
    (nn.Conv2d(3, 1, 3, dilation=2), 10, "⌊(10 + 2·0 − (2·(3 − 1) + 1)) / 1⌋ + 1 = 6"),
    (nn.AvgPool2d(2), 9, "⌊(9 + 2·0 − 2) / 2⌋ + 1 = 4"),
    (nn.Conv2d(3, 1, (1, 3)), 9, "height ⌊(9 + 2·0 − 1) / 1⌋ + 1 = 9, width ⌊(9 + 2·0 − 3) / 1⌋ + 1 = 7"),
    (nn.ConvTranspose2d(3, 1, 2, stride=2), 9, "9 becomes 18"),
]


@pytest.mark.parametrize(("layer", "size", "expected"), FORMULAS, ids=[expected for *_, expected in FORMULAS])
def test_the_formula_gives_what_is_computed(layer, size, expected):
    network = nn.Sequential(layer, nn.Flatten())
    (step,) = steps(tabulate(network, (3, size, size)))
    assert step.formula == expected


def test_no_window_begins_beyond_the_border():
    window = Window(input=(5, 5), kernel=(1, 1), stride=(3, 3), padding=(0, 0), ceil_mode=True)
    assert formula(window, nn.MaxPool2d(1, 3, ceil_mode=True)(torch.zeros(1, 5, 5)).shape[1:]).endswith("+ 1 = 2")


def test_windows_in_words():
    assert in_words(Window((9, 9), (3, 3), (1, 1), (0, 0))) == "3×3"
    assert in_words(Window((9, 9), (3, 5), (2, 2), (1, 2), (2, 2))) == "3×5, stride 2, padding 1×2, dilation 2"


def test_rows_that_no_window_covers_are_found_and_drawn():
    found = steps(tabulate(SpeedNet(width=0.125), (3, 32, 32)))
    pool = next(step for step in found if step.layer.name == "block1.pool")
    assert pool.unseen == [30]
    drawn = drawn_steps(found)
    assert pool in drawn
    assert len(drawn) == 3  # of each kind and window one
    boxes = draw_windows([pool]).axes[0].patches
    warm = [box for box in boxes if box.get_facecolor() == to_rgba("C1")]
    assert len(warm) == 1


def test_of_a_long_row_the_middle_is_left_out():
    found = steps(tabulate(nn.Sequential(nn.Conv2d(3, 2, 7, 2, 3), nn.Flatten()), (3, 224, 224)))
    figure = draw_windows(found)
    assert len(figure.axes[0].patches) < 70
    assert "last, number 112" in texts(figure)


def test_the_path_shows_sizes_windows_and_fields(article):
    shown = texts(draw_path(PIXELS, article.maps.stages, steps(article.table)))
    assert "31 × 31 × 8\nfeatures.1" in shown
    assert "MaxPool2d 3/2/0\n3 Conv2d 3/1/1" in shown
    assert "12 × 12 pixels" in shown
    assert shown.count("beyond the image") == 2


def test_a_path_with_unknown_fields_says_so():
    stage = Stage("conv", "Conv2d", torch.rand(2, 8, 8), None)
    assert "unknown" in texts(draw_path(PIXELS, [stage], []))


# --- activation functions --------------------------------------------------------------------------------------------


def test_functions_are_drawn_with_their_share(article):
    figure = draw_functions(article.uses)
    assert len(figure.axes) == 1 + 2 * 7
    first = article.uses[0]
    assert f"{first.quiet_units:,} of {8 * 31 * 31:,} units dead" in texts(figure)


def test_of_many_functions_some_are_drawn_from_the_first_to_the_last(article):
    uses = [replace(article.uses[0], name=str(number)) for number in range(50)]
    drawn = drawn_uses(uses)
    assert len(drawn) == 9
    assert (drawn[0].name, drawn[-1].name) == ("0", "49")


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(article, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    files = write_inside(article, folder)
    return files, files[0].read_text()


def test_the_page_holds_every_picture_and_needs_nothing_else(page):
    (index, *pictures), html = page
    assert index.name == "index.html"
    assert {file.stem for file in pictures} == {
        *("filters", "path", "windows", "activations", "class_maps", "maps_0_features.0", "maps_1_features.1"),
        *("maps_2_features.2", "maps_3_features.4", "maps_4_features.11", "maps_5_features.12"),
    }
    assert html.count("<picture>") == len(pictures)
    assert html.count('prefers-color-scheme: dark)" srcset') == len(pictures)
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,30})', html)
    assert len(sources) > 2 * len(pictures)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not re.search(r"https?://|<link|<script|@import|url\(", html)
    assert len(html) < 3e6


def test_the_pictures_beside_the_page_are_png(page):
    (_, *pictures), _ = page
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)


def test_names_are_escaped(page):
    assert "&lt;owl&gt;" in page[1]
    assert "cat &amp; dog" in page[1]
    assert "<owl>" not in page[1]


def test_the_page_states_the_facts(page, article):
    html = " ".join(page[1].split())
    for text in (
        "Inside thenet",
        "⌊(32 + 2·1 − 4) / 1⌋ + 1 = 31",
        "Only this image was used",
        "the map has 6 × 6 values",
        "One value depends on 40 × 40 pixels, more than the image has.",
        "No filter is weak",
        "Orange pixels are in no window",
    ):
        assert text in html
    dead = sum(use.quiet_units for use in article.uses)
    assert f"Here this is true for {dead:,} of" in html


def test_the_page_tells_if_all_units_work_and_if_maps_are_coarse(article, page):
    uses = [replace(use, quiet_units=0, quiet_channels=0) for use in article.uses]
    coarse = replace(article.maps.explaining, maps=torch.rand(4, 2, 2), field=None)
    maps = replace(article.maps, explaining=coarse)
    class_maps = [ClassMap("cat", 0.9, torch.ones(2, 2)), ClassMap("dog", 0.1, torch.zeros(2, 2))]
    changed = replace(article, uses=uses, maps=maps, class_maps=class_maps, truth="dog", watched="512 test images")
    pictures = {file.stem: Picture(file.stem, "", b"", b"") for file in page[0][1:]}
    html = " ".join(render(changed, pictures).split())
    for text in (
        "true for none of",
        "This is coarse",
        "no evidence for dog",
        "the map is stretched",
        "the prediction is wrong",
    ):
        assert text in html
    assert "Only this image" not in html


def test_a_network_without_maps_gets_the_parts_that_apply():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.ReLU(), nn.Linear(4, 3))
    inside = inside_of(network)
    pictures = draw(inside)
    assert set(pictures) == {"activations"}
    html = " ".join(render(inside, pictures).split())
    assert "no convolution whose filters could be shown" in html
    assert "has no maps with height and width" in html
    assert "A class activation map needs maps" in html
