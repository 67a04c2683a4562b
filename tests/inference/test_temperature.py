import pytest
import torch

from cnnlab.errors import RequestError
from cnnlab.inference.metrics import calibration
from cnnlab.inference.temperature import fit_temperature, save_temperature
from cnnlab.inference.trained import load


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 5, generator=generator)
    labels = (logits / temperature).softmax(dim=1).multinomial(1, generator=generator).flatten()
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    assert calibration(logits / found, labels).error < 0.01


def test_a_saved_temperature_is_used_on_request_only(save) -> None:
    file = save()
    plain = load(file, "cpu", "32-true")
    save_temperature(file, 2.0)
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(load(file, "cpu", "32-true").predict(images).logits, plain.predict(images).logits)
    mended = load(file, "cpu", "32-true", calibrated=True)
    torch.testing.assert_close(mended.predict(images).logits, plain.predict(images).logits / 2)


@pytest.mark.parametrize("value", [0.0, float("nan"), "2", 1e9])
def test_an_impossible_temperature_is_refused(save, value: object) -> None:
    file = save()
    content = torch.load(file, weights_only=True)
    content["cnnlab"]["temperature"] = value
    torch.save(content, file)
    with pytest.raises(RequestError, match="its temperature cannot be"):
        load(file)
