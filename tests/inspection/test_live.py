"""The live page in a headless browser: its numbers against torch's."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnlab.build.network import build_network
from cnnlab.data.normalization import Normalization
from cnnlab.errors import RequestError
from cnnlab.inference.trained import load
from cnnlab.inspection.live.page import SAMPLES, LivePage, Sample, choose_samples, write_live
from cnnlab.inspection.live.trace import read_program
from tests.browser import Browser, needs_browser

CLASSES = [f"class {number}" for number in range(10)]
MEAN, STD = torch.tensor([0.5, 0.4, 0.6]), torch.tensor([0.25, 0.3, 0.2])
NETWORKS: dict[str, dict[str, Any]] = {
    "lenet5": {"_target_": "cnnlab.models.lenet.LeNet5"},
    "lenet5_1998": {"_target_": "cnnlab.models.lenet_1998.LeNet5Of1998"},
    "article": {"_target_": "cnnlab.models.article.ArticleNet"},
    "vgg11": {"_target_": "cnnlab.models.vgg.VGG", "configuration": "A", "width": 0.25},
    "resnet20": {"_target_": "cnnlab.models.resnet_cifar.CifarResNet", "depth": 20},
    "speednet": {"_target_": "cnnlab.models.speednet.SpeedNet"},
    "alexnet": {"_target_": "cnnlab.models.alexnet.AlexNet", "width": 0.1},  # with response normalization
    "group": {
        "_target_": "cnnlab.models.lenet.LeNet5",
        "normalization": "group",
        "activation": "elu",
        "pooling": "avg",
    },
}


def network(name: str) -> nn.Module:
    """An untrained network whose norms and logits are as varied as those of a trained one."""
    torch.manual_seed(0)
    made = build_network(NETWORKS[name], len(CLASSES)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    with torch.no_grad():  # activations stay near one in size, as training has them
        for module in made.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight /= module.weight.flatten(1).norm(dim=1).mean() / 1.2
    return made


def samples(count: int = 12) -> list[Sample]:
    """Coloured squares, because noise averages out in deep layers."""
    squares = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    pixels = (nn.functional.interpolate(squares, (32, 32)) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [Sample(image, f"image {i}", i % len(CLASSES)) for i, image in enumerate(pixels)]


def page(made: nn.Module, **others: Any) -> LivePage:
    return LivePage(**{"model": "net", "program": read_program(made, 32), "classes": CLASSES, "mean": MEAN, "std": STD,
                       "samples": samples(), "notes": []} | others)  # fmt: skip


@pytest.fixture
def phone(tab: Browser) -> Iterator[Browser]:
    tab.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=True)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    yield tab
    tab.call("Emulation.setTouchEmulationEnabled", enabled=False)
    tab.call("Emulation.clearDeviceMetricsOverride")


def outputs(made: nn.Module, images: Tensor) -> dict[str, list[Tensor]]:
    """The outputs of each module by name, one for each call."""
    seen: dict[str, list[Tensor]] = {}
    handles = [
        # A copy: an activation may overwrite it.
        module.register_forward_hook(lambda _, __, output, name=name: seen.setdefault(name, []).append(output.clone()))
        for name, module in made.named_modules()
    ]
    with torch.no_grad():
        made(images)
    for handle in handles:
        handle.remove()
    return seen


@needs_browser
@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_computes_what_predict_and_torch_compute(name, tab, tmp_path, save):
    made = network(name)
    tab.open(write_live(page(made), tmp_path))
    about = {"classes": CLASSES, "mean": MEAN.tolist(), "std": STD.tolist()}
    weights = {f"network.{key}": value for key, value in made.state_dict().items()}
    net = load(save(NETWORKS[name], weights, **about), "cpu", "32-true")
    predicted = net.predict([sample.pixels.numpy() for sample in samples()]).probabilities
    images = Normalization(MEAN, STD, 32)(torch.stack([sample.pixels for sample in samples()]))
    seen = outputs(made, images)
    operations = tab.evaluate("live.net.operations.map(one => ({name: one.name, kind: one.kind, shape: one.shape}))")
    values = random.Random(0)
    checked = 0
    for number in range(10):
        tab.evaluate(f"live.show({number})")
        shares = torch.tensor(tab.evaluate("[...live.now.outputs.at(-1)]"))
        assert (shares - predicted[number]).abs().max() < 1e-3
        calls = dict.fromkeys(seen, 0)
        expected = {}
        for position, one in enumerate(operations):  # a module that is called twice has two operations
            if one["name"] in calls:
                expected[position] = seen[one["name"]][calls[one["name"]]][number].flatten()
                calls[one["name"]] += 1
        for position in values.sample(sorted(expected), 2):
            at = values.randrange(len(expected[position]))
            channel, place = divmod(at, len(expected[position]) // operations[position]["shape"][0])
            width = (operations[position]["shape"] + [1, 1])[2]
            tab.evaluate(f"live.select({position}, {channel}, {place // width}, {place % width})")
            arithmetic, shown = tab.evaluate(
                "[live.result(), +document.querySelector('#value').textContent.replace('−', '-')]"
            )
            assert abs(shown - float(expected[position][at])) < 1e-3, (operations[position], at)
            assert abs(arithmetic - shown) < 1e-3, operations[position]
            checked += 1
    assert checked == 20
    assert not tab.problems


@needs_browser
def test_what_the_reader_changes_changes_the_answer(tab, tmp_path):
    made = network("lenet5")
    tab.open(write_live(page(made), tmp_path))
    image = Normalization(MEAN, STD, 32)(samples()[0].pixels[None])
    before = tab.evaluate("[...NOW.outputs.at(-1)]")

    def shown() -> Tensor:
        return torch.tensor(tab.evaluate("live.settled().then(() => [...NOW.outputs.at(-1)])"))

    def without_channel(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        output[:, 3] = 0
        return output

    for button, change in (
        ("channel 3 off", lambda: made.get_submodule("features.0").register_forward_hook(without_channel)),
        ("ReLU off", lambda: made.get_submodule("features.1").register_forward_hook(lambda _, inputs, __: inputs[0])),
        ("take the mean, not the max", lambda: made.get_submodule("features.2").register_forward_hook(
            lambda _, inputs, __: nn.functional.avg_pool2d(inputs[0], 2))),
    ):  # fmt: skip
        position = {"channel": 1, "ReLU": 2, "take": 3}[button.split()[0]]
        handle = change()
        with torch.no_grad():
            expected = made(image).softmax(1)[0]
        handle.remove()
        tab.evaluate(f"live.select({position}, 3)")
        tab.evaluate(f"[...find('#edit-choices').children].find(one => one.textContent === '{button}').click()")
        assert (shown() - expected).abs().max() < 1e-3
        assert (expected - torch.tensor(before)).abs().max() > 1e-3
        assert "off" in tab.evaluate("find('#changes').textContent") or "mean" in tab.evaluate(
            "find('#changes').textContent"
        )
        tab.evaluate("find('#change .restore').click()")
        assert torch.equal(shown(), torch.tensor(before))
    everywhere = "[...find('#all-choices').querySelectorAll('button')][0]"
    tab.evaluate(f"{everywhere}.click()")
    assert tab.evaluate(f"{everywhere}.getAttribute('aria-pressed')") == "true"
    assert tab.evaluate("find('#changes').textContent") == "Changed: all 4: ReLU off."
    tab.evaluate("find('#change .restore').click()")
    assert tab.evaluate(f"{everywhere}.getAttribute('aria-pressed')") == "false"
    for change in (
        "PICTURE.cover.fill(1, 200, 500); pictureChanged()",
        "PICTURE.tool = 'draw'; paint({y: 5, x: 5}, {y: 25, x: 25})",
        "move(3, -2)",
        "PICTURE.noise = 60; pictureChanged()",
    ):
        tab.evaluate(change)
        assert (shown() - torch.tensor(before)).abs().max() > 1e-3
        tab.evaluate("find('.tools .restore').click()")
        assert torch.equal(shown(), torch.tensor(before))
    tab.evaluate("find('#empty').click(); paint({y: 5, x: 5}, {y: 25, x: 25}); find('.tools .restore').click()")
    assert tab.evaluate("NOW.pixels.some(Boolean)") is False  # what was drawn on the empty canvas is gone too
    assert not tab.problems


@needs_browser
def test_everything_is_reached_by_keyboard(tab, tmp_path):
    tab.open(write_live(page(network("lenet5")), tmp_path))
    tab.evaluate("find('[data-step=\"4\"] .tile').focus()")
    tab.press("Enter")
    assert tab.evaluate("[NOW.selected.operation, document.activeElement.id]") == [4, "output-map"]
    tab.evaluate("live.select(4, 2, 3, 3)")
    for key in ("ArrowRight", "ArrowDown", "PageDown"):
        tab.press(key)
    assert tab.evaluate("NOW.selected") == {"operation": 4, "channel": 3, "y": 4, "x": 4}
    tab.evaluate("find('#picture').focus()")
    tab.press(" ")
    tab.evaluate("live.settled()")
    assert tab.evaluate("pictureIsChanged()")
    for table, before, after in (("play-input-0", "0", "1"), ("pool-input", "1", "2")):
        tab.evaluate(f"find('#{table}').focus()")
        for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"):
            tab.press(key)
        cell = f"find('#{table}').rows[0].cells[0].textContent"
        assert tab.evaluate(cell) == before
        tab.press(" ")
        assert tab.evaluate(cell) == after
    tab.evaluate("PLAY.at = 0; CURSORS['play-output'] = {y: 0, x: 0}; drawPlay(); find('#play-output').focus()")
    tab.press("ArrowDown")
    tab.press("ArrowRight")
    assert tab.evaluate("[PLAY.at, document.activeElement.id]") == [6, "play-output"]
    assert not tab.problems


@needs_browser
def test_everything_is_reached_by_touch(phone, tmp_path):
    phone.open(write_live(page(network("lenet5")), tmp_path))
    phone.touch("[data-step='3'] .tile", (0.32, 0.32))
    selected = {"operation": 3, "channel": phone.evaluate("STAGES[1].order[0]")}
    assert phone.evaluate("NOW.selected") == {**selected, "y": 4, "x": 4}
    phone.touch("#play-input-0 td", (0.5, 0.5))
    assert phone.evaluate("PLAY.input[0][0][0]") == 1
    phone.touch("[name=tool][value=draw] + span", (0.5, 0.5))
    phone.touch("#empty", (0.5, 0.5))
    # Chromium takes no tap soon after a slide, so slides come last.
    phone.touch("#picture", (0.2, 0.2), (0.8, 0.8))
    drawn = "[6, 13, 19, 25, 31].map(i => NOW.pixels[3 * (i * NET.size + i)])"
    assert phone.evaluate(drawn) == [255, 255, 255, 255, 0]  # a fast finger leaves no gaps
    phone.touch("#output-map", (0.1, 0.1), (0.3, 0.5), (0.7, 0.9))
    assert phone.evaluate("NOW.selected") == {**selected, "y": 12, "x": 9}
    phone.touch("#play-output", (0.1, 0.1), (0.5, 0.5), (0.9, 0.9))
    assert phone.evaluate("[outputSide(), PLAY.at]") == [5, 24]
    phone.touch("#noise", (0.1, 0.5), (0.5, 0.5))
    assert 40 < phone.evaluate("PICTURE.noise") < 60
    phone.touch("#play-stride", (0.1, 0.5), (0.95, 0.5))
    assert phone.evaluate("PLAY.stride") == 4
    assert not phone.problems


@needs_browser
def test_the_camera_is_shown_until_it_is_stopped(tab, tmp_path):
    tab.open(write_live(page(network("lenet5")), tmp_path))
    for stop in ("find('#camera').click()", "find('#samples button').click()", "find('#empty').click()"):
        tab.evaluate("find('#camera').click()")
        assert tab.evaluate("find('#camera').textContent") == "Stop the camera"
        for _ in range(2):  # its pictures move
            tab.evaluate(
                "new Promise(shown => { const seen = NOW.pixels; (function look() { NOW.sample === null"
                " && NOW.pixels.some((v, i) => v !== seen[i]) ? shown() : setTimeout(look, 20); })(); })"
            )
        tab.evaluate(f"window.stream = camera.stream; {stop}")
        assert tab.evaluate("[find('#camera').textContent, camera, stream.active]") == ["Camera", None, False]
    tab.evaluate("navigator.mediaDevices.getUserMedia = () => Promise.reject(); find('#camera').click()")
    assert "not available" in tab.evaluate("live.settled().then(() => find('#picture-message').textContent)")
    assert tab.evaluate("[find('#camera').textContent, camera]") == ["Camera", None]
    assert not tab.problems


@needs_browser
def test_stages_beyond_the_border_are_drawn_before_they_are_seen(tab, tmp_path):
    tab.resize(320, 900)
    tab.open(write_live(page(network("lenet5")), tmp_path))
    drawn = "find('[data-step=\"4\"] .tile[data-channel]') !== null"
    edge = "find('[data-step=\"4\"]').getBoundingClientRect().left"
    assert tab.evaluate(drawn)
    assert 320 < tab.evaluate(edge) < 920


@needs_browser
def test_the_page_fits_phones_and_names_are_no_markup(tab, tmp_path):
    name = "</script><img src=x onerror=alert(1)>\u2028&amp;"
    named = [Sample(sample.pixels, name, sample.label) for sample in samples()]
    shown = page(network("resnet20"), classes=[name, *CLASSES[1:]], samples=named, model=name, notes=[name])
    file = write_live(shown, tmp_path)
    assert file.stat().st_size < 3_000_000
    for width, theme in ((400, "dark"), (1400, "light")):
        tab.resize(width, 900, theme)
        tab.open(file)
        for position in range(tab.evaluate("NET.shown.length")):
            tab.evaluate(f"live.select({position}, 0)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, position
        assert tab.evaluate("[NET.shown[25].title, find('[data-stage=\"8\"] b').textContent]") == [
            *("Block 4, first convolution", "Block 4")
        ]
        assert tab.evaluate("document.querySelectorAll('img').length") == 0
        ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        assert tab.evaluate("find('#answer .name').textContent").startswith(name)
    assert not tab.problems


def test_a_network_that_the_page_cannot_show_is_refused():
    class Multiplies(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images * images).flatten(1)

    class Decides(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) if images.sum() > 0 else -images.flatten(1)

    with torch.device("meta"):
        large = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4000))
    for made, reason in (
        (Multiplies(), "it has the function mul in its forward"),
        (Decides(), "it decides by the values of the image what to compute"),
        (nn.Sequential(nn.Flatten(), nn.Softplus()), "it has a Softplus"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten()), "it has a Conv2d"),
        (large, "its 12,292,000 parameters need more than 30 MB"),
    ):
        with pytest.raises(RequestError, match=f"^live: the live page cannot show this network: {reason}"):
            read_program(made, 32)


def test_samples_are_of_all_classes_and_one_is_wrong():
    labels = torch.arange(40) % 10
    predicted = labels.clone()
    predicted[[7, 23]] += 1
    chosen = choose_samples(labels, predicted)
    assert len(chosen) == len(set(chosen)) == SAMPLES
    assert set(labels[chosen].tolist()) == set(range(10))
    assert (labels[chosen] != predicted[chosen]).nonzero().flatten().tolist() == [SAMPLES - 1]
    assert len(choose_samples(labels, labels)) == SAMPLES
    assert choose_samples(labels[:3], labels[:3]) == [0, 1, 2]
