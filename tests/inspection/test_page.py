"""Pictures of the inside of a network, and their page."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.inspection.attribution import ClassMap
from cnnlab.inspection.feature_maps import Chain, last_of_each_size, maps_of
from cnnlab.inspection.inside import Inside, Subject, look_inside
from cnnlab.inspection.layers import Layer, tabulate
from cnnlab.inspection.page.functions import draw_functions, input_map, judge
from cnnlab.inspection.page.page import Mistake, draw, render, write_inside
from cnnlab.inspection.page.pooling import find_pooling
from cnnlab.inspection.page.sizes import draw_path, formula, in_words, steps
from cnnlab.inspection.page.style import Picture
from cnnlab.inspection.page.tiles import draw_chain, draw_class_maps, draw_filters, weak_filters
from cnnlab.inspection.receptive_field import ReceptiveField
from cnnlab.inspection.receptive_field_rules import Window
from cnnlab.models.article import ArticleNet
from tests.browser import needs_browser

PIXELS = torch.randint(256, (32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def inside_of(network: nn.Module, classes: tuple[str, ...] = ("cat & dog", "<owl>", "ship")) -> Inside:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 32)
    subject = Subject("thenet", "runs/best.ckpt", "cat.jpg", PIXELS, truth=None, watched=None, grey=False)
    return look_inside(subject, network.eval(), classes, image, [image])


@pytest.fixture(scope="module")
def article() -> Inside:
    return inside_of(ArticleNet(num_classes=3, width=0.125))


# --- filters and maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "tiles"), [((6, 3, 5, 5), 6), ((64, 3, 4, 4), 64), ((5, 1, 3, 3), 5), ((4, 2, 3, 3), 8)]
)
def test_every_filter_has_a_tile(shape, tiles):
    figure = draw_filters(torch.randn(shape), grey=False)
    assert len(figure.axes[0].images) == tiles
    numbers = [str(number) for number in range(shape[0]) for _ in range(tiles // shape[0])]
    title = f"{shape[0]} filters of the first convolution, {shape[2]} × {shape[3]} pixels each"
    assert texts(figure) == [title, *numbers]


def test_filters_for_grey_images_are_grey():
    filters = torch.randn(4, 3, 5, 5)
    first = np.asarray(draw_filters(filters, grey=True).axes[0].images[0].get_array())
    summed = filters.sum(dim=1).numpy()
    np.testing.assert_allclose(first, 0.5 + 0.5 * summed[0] / np.abs(summed[0]).max(), rtol=1e-5)


def test_a_filter_is_grey_where_its_weights_are_zero_and_has_its_full_contrast():
    filters = torch.zeros(2, 3, 2, 2)
    filters[0, 0, 0, 0], filters[1, 2, 1, 1] = 0.01, -7
    pixels = [np.asarray(image.get_array()) for image in draw_filters(filters, grey=False).axes[0].images]
    assert pixels[0][0, 0].tolist() == pytest.approx([1, 0.5, 0.5])
    assert pixels[1][1, 1].tolist() == pytest.approx([0.5, 0.5, 0])
    assert pixels[1][0, 0].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_weak_filters_are_found_and_framed():
    filters = torch.ones(4, 3, 3, 3)
    filters[2] *= 0.05
    filters[3] = 0
    assert weak_filters(filters) == [2, 3]
    assert len(draw_filters(filters, grey=False).axes[0].patches) == 2


def chain_of(*maps: torch.Tensor) -> Chain:
    kinds = ("Conv2d", "ReLU", "MaxPool2d")
    return Chain(
        tuple(
            Layer(kind, kind, output=tuple(values.shape), title=f"First {kind}", values=values)
            for kind, values in zip(kinds, maps, strict=False)
        )
    )


def test_a_channel_keeps_its_column_through_all_layers():
    convolved = torch.arange(-4.0, 6)[:, None, None] * torch.ones(10, 6, 6)
    figure = draw_chain(chain_of(convolved, convolved.relu(), convolved.relu()[:, ::2, ::2]), torch.randn(10, 3, 3, 3))
    shown = [text for text in texts(figure) if text.isdigit()][:8]
    assert shown == ["9", "8", "7", "6", "5", "0", "1", "2"]  # the strongest at the end come first
    images = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(images) == 8 * 4  # below its filter, each has a map of every layer
    for column, number in enumerate(map(int, shown)):
        assert (images[8 + column] == number - 4).all()
        assert (images[16 + column] == max(number - 4, 0)).all()
    words = texts(figure)
    assert words[0] == "First Conv2d, and what follows it: 8 strongest of 10 channels"
    assert {"filter\n3 × 3", "convolution\n6 × 6", "ReLU\n6 × 6", "max pooling\n3 × 3"} <= set(words)


def test_maps_of_zeros_can_be_drawn():
    assert draw_chain(chain_of(torch.zeros(3, 4, 4))).axes[0].images


def test_pooling_is_shown_with_the_numbers_of_the_network(article):
    found = find_pooling(article.chains)
    assert found and (found.layer.name, found.window.kernel, found.takes_maximum) == ("features.2", (3, 3), True)
    before = maps_of(article.chains[0].layers[1])[found.channel]
    pooled = maps_of(found.layer)[found.channel]
    shown = found.before
    assert shown.shape == (5, 5) and shown.max() == before.max()
    assert float(pooled.max()) in found.maxima.flatten().tolist()
    torch.testing.assert_close(found.maxima, nn.functional.max_pool2d(shown[None], 3, 2)[0])
    torch.testing.assert_close(found.means, nn.functional.avg_pool2d(shown[None], 3, 2)[0])
    assert set(shown[found.winners].tolist()) == set(found.maxima.flatten().tolist())


def test_zeros_of_the_padding_are_told_from_values():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, 32, 32))
    found = find_pooling(inside_of(network).chains)
    assert found and not found.takes_maximum
    values = torch.zeros(1, 3, 3)
    values[0, 0, 0] = 5
    before = Layer("conv", "Conv2d", output=(1, 3, 3), values=values)
    after = Layer("pool", "MaxPool2d", Window((3, 3), (2, 2), (2, 2), (1, 1)), (1, 2, 2), values=torch.eye(2)[None] * 5)
    corner = find_pooling([Chain((before, after))])
    assert corner and corner.before.isnan().sum() == 7
    assert corner.maxima.tolist() == [[5, 0], [0, 0]]
    assert corner.means.tolist() == [[5, 0], [0, 0]]


def test_class_maps_lie_over_the_image():
    covered = torch.zeros(32, 32)
    covered[:8, :8] = 1
    class_maps = [ClassMap("cat", 0.75, torch.rand(6, 6), covered), ClassMap("dog", 0.25, torch.zeros(6, 6), -covered)]
    figure = draw_class_maps(PIXELS, class_maps, ReceptiveField((8, 8), (0, 0), (5, 5)))
    assert "cat, 75.0%" in texts(figure)
    images = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert len(images) == 5
    assert images[0].shape == images[1].shape == (32, 32, 3)
    grey = PIXELS.numpy().mean(axis=2) / 255
    for unchanged in images[3:]:  # no evidence for the dog
        np.testing.assert_allclose(unchanged[..., 0], grey)
    np.testing.assert_allclose(images[2][8:, 8:, 0], grey[8:, 8:])
    assert not np.allclose(images[2][:8, :8, 0], grey[:8, :8])


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
    assert in_words(Window((9, 9), (3, 3), (1, 1), (0, 0))) == "3 × 3"
    assert in_words(Window((9, 9), (3, 5), (2, 2), (1, 2), (2, 2))) == "3 × 5, stride 2, padding 1×2, dilation 2"


def test_the_path_shows_sizes_windows_and_fields(article):
    shown = texts(draw_path(PIXELS, last_of_each_size(article.table), steps(article.table)))
    assert "31 × 31 × 8" in shown
    assert "max pooling 3×3\n3 × convolution 3×3" in shown
    assert "12 × 12 pixels" in shown
    assert shown.count("beyond the image") == 2


def test_a_path_with_unknown_fields_says_so():
    layer = Layer("conv", "Conv2d", output=(2, 8, 8), values=torch.rand(2, 8, 8))
    assert "unknown" in texts(draw_path(PIXELS, [layer], []))


# --- activation functions --------------------------------------------------------------------------------------------


def test_three_functions_are_compared_on_the_inputs_of_a_layer(article):
    use = article.uses[0]
    values = input_map(use, article.chains)
    assert values is not None
    verdicts = {one.function: one.share for one in judge(use)}
    assert verdicts["ReLU"] == pytest.approx(use.quiet_share, abs=0.02)
    assert set(verdicts) == {"ReLU", "tanh", "sigmoid"}
    figure = draw_functions(use, values, "the title")
    words = texts(figure)
    assert words[0] == "the title"
    assert {"ReLU: this network", "tanh", "sigmoid"} <= set(words)
    images = [torch.from_numpy(np.asarray(image.get_array())) for image in figure.axes[0].images]
    for image, expected in zip(images, (values, values.relu(), values.tanh(), values.sigmoid()), strict=True):
        torch.testing.assert_close(image, expected)


def test_the_networks_own_function_is_compared_too():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(3600, 3))
    inside = inside_of(network)
    values = input_map(inside.uses[0], list(inside.chains))
    figure = draw_functions(inside.uses[0], values, "")
    assert {"ReLU", "GELU", "this network"} <= set(texts(figure))
    assert values is not None
    last = torch.from_numpy(np.asarray(figure.axes[0].images[-1].get_array())).float()
    torch.testing.assert_close(last, nn.functional.gelu(values))


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(article, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    files = write_inside(article, [], folder)
    return files, files[0].read_text()


def test_the_page_holds_every_picture_and_needs_nothing_else(page):
    (index, *pictures), html = page
    assert index.name == "index.html"
    assert {file.stem for file in pictures} == {
        *("filters", "path", "activations", "class_maps", "maps_1_features.0", "maps_2_features.3"),
        *("maps_3_features.6", "maps_4_features.8", "maps_5_features.10"),
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
        "One value at the end depends on 48 × 48 pixels, more than the image has.",
        "No filter is weak",
        "<h3>First convolution, 4 × 4, padding 1 <small><code>features.0</code></small></h3>",
        "<h3>First max pooling, 3 × 3, stride 2 <small><code>features.2</code></small></h3>",
        "the largest of each window: this network",
        "a value can win twice",
        "<dt>Receptive field</dt>",
        "cnnlab visualize checkpoint=… live=true",
        "No test images were at hand",
    ):
        assert text in html
    dead = sum(use.quiet_units for use in article.uses)
    assert f"Here this is true for {dead:,} of" in html


@needs_browser
def test_the_page_fits_phones(page, tab):
    tab.resize(400, 900, "dark")
    tab.open(page[0][0], "document.fonts.ready.then(() => 0)")
    assert tab.evaluate("document.documentElement.scrollWidth") == 400
    shown = "[...document.images].map(one => one.complete && one.naturalWidth > 0)"
    assert all(tab.evaluate(shown))
    targets = "[...document.querySelectorAll('nav a')].map(one => document.querySelector(one.getAttribute('href')))"
    assert tab.evaluate(f"{targets}.every(Boolean)")
    assert not tab.problems


def test_the_page_tells_if_all_units_work_and_if_maps_are_coarse(article, page):
    uses = [replace(use, quiet_units=0, quiet_channels=0) for use in article.uses]
    coarse = replace(article.explaining, output=(4, 2, 2), field=None)
    class_maps = [
        ClassMap("cat", 0.9, torch.tensor([[1.0, 0.5], [0.25, 0.0]]), torch.linspace(1, 0, 1024).view(32, 32)),
        ClassMap("dog", 0.1, torch.zeros(2, 2), torch.zeros(32, 32)),
    ]
    changed = replace(
        article, uses=uses, explaining=coarse, class_maps=class_maps, truth="dog", watched="512 test images"
    )
    pictures = {file.stem: Picture(file.stem, "", b"", b"") for file in page[0][1:]}
    mistakes = [Mistake(PIXELS, "Test image 3", "cat & dog", "<owl>", 0.75)]
    html = " ".join(render(changed, mistakes, pictures, has_live=True).split())
    for text in (
        "Of 512 test images, these are the ones",
        '<b>cat &amp; dog</b><span class="warm">said &lt;owl&gt;, 75.0 %</span>',
        '<a href="live.html">The live page</a>',
        "true for none of",
        "This is coarse",
        "no evidence for dog",
        "Do both agree?",
        "for cat.",
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
    html = " ".join(render(inside, [], pictures).split())
    assert "no convolution whose filters could be shown" in html
    assert "has no maps with height and width" in html
    assert "has no max or average pooling with small windows" in html
    assert "A class activation map needs maps" in html
