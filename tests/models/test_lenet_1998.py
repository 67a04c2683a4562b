import pytest
import torch
from torch import nn

from cnnlab.models.lenet_1998 import (
    C3_CONNECTIONS,
    LeNet5Of1998,
    PartialConvolution,
    RadialBasis,
    ScaledTanh,
    Subsampling,
)


def test_parameters_of_every_layer_equal_the_papers() -> None:
    layers = LeNet5Of1998().layers
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in layers.named_children()}
    trained = {name: count for name, count in counts.items() if count}
    assert trained == {"C1": 156, "S2": 12, "C3": 1_516, "S4": 32, "C5": 48_120, "F6": 10_164}
    assert sum(counts.values()) == 60_000


def test_parameters_on_rgb() -> None:
    assert sum(p.numel() for p in LeNet5Of1998(in_channels=3).parameters()) == 60_300


def test_shapes_equal_the_papers() -> None:
    shapes = {}
    x = torch.zeros(2, 1, 32, 32)
    for name, layer in LeNet5Of1998().layers.named_children():
        x = layer(x)
        shapes[name] = tuple(x.shape[1:])
    assert [shapes[name] for name in ("C1", "S2", "C3", "S4", "C5", "F6", "output")] == [
        *((6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,))
    ]


def test_table_one_connects_every_input_to_ten_maps() -> None:
    assert [len(inputs) for inputs in C3_CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_CONNECTIONS)) == 16
    seen = torch.tensor([i for inputs in C3_CONNECTIONS for i in inputs]).bincount()
    assert seen.tolist() == [10] * 6


def test_a_partial_convolution_equals_one_convolution_per_map() -> None:
    torch.manual_seed(0)
    layer, x = PartialConvolution(C3_CONNECTIONS, in_channels=6), torch.randn(2, 6, 14, 14)
    out, first = layer(x), 0
    for channel, inputs in enumerate(C3_CONNECTIONS):
        weight = layer.weight[first : first + len(inputs)][None]
        alone = nn.functional.conv2d(x[:, list(inputs)], weight, layer.bias[channel : channel + 1])
        torch.testing.assert_close(out[:, channel : channel + 1], alone, atol=1e-5, rtol=1e-5)
        first += len(inputs)


def test_subsampling_sums_windows_with_two_weights_per_map() -> None:
    layer = Subsampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([1.0, 0.5]))
        layer.bias.copy_(torch.tensor([0.0, 3.0]))
    out = layer(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 2, 2, 2))
    assert out.flatten().tolist() == [10.0, 8.0]


def test_the_scaled_tanh_keeps_plus_and_minus_one() -> None:
    values = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0, 1e6]))
    torch.testing.assert_close(values, torch.tensor([-1.0, 0.0, 1.0, 1.7159]), atol=1e-4, rtol=0)


def test_the_nearest_code_wins_and_codes_are_fixed() -> None:
    first, again = RadialBasis(84, 10), RadialBasis(84, 10)
    codes = first.get_buffer("codes")
    assert torch.equal(codes, again.get_buffer("codes"))
    assert codes.abs().eq(1).all()
    logits = first(codes)
    assert logits.argmax(1).tolist() == list(range(10))
    assert logits.diag().tolist() == [0.0] * 10
    torch.testing.assert_close(logits, -torch.cdist(codes, codes).square(), atol=1e-3, rtol=1e-4)
    assert not list(first.parameters())
    assert "codes" in first.state_dict()  # checkpoints hold the codes of their classes


def test_every_parameter_is_trained(assert_trains) -> None:
    torch.manual_seed(0)
    assert_trains(LeNet5Of1998(in_channels=3))


def test_weights_start_within_the_papers_bounds() -> None:
    torch.manual_seed(0)
    network = LeNet5Of1998()
    for name, fan_in in {"C1": 25, "C5": 400, "F6": 120}.items():
        weight = network.layers.get_parameter(f"{name}.weight")
        assert 0.9 * 2.4 / fan_in < weight.abs().max() <= 2.4 / fan_in
    c3 = network.layers.get_parameter("C3.weight")
    for part, inputs in ((c3[:18], 3), (c3[18:54], 4), (c3[54:], 6)):
        assert 0.9 * 2.4 / (25 * inputs) < part.abs().max() <= 2.4 / (25 * inputs)
    assert network.layers.get_parameter("S2.coefficient").abs().max() <= 0.6


def test_other_sizes_are_refused() -> None:
    with pytest.raises(RuntimeError):
        LeNet5Of1998()(torch.zeros(1, 1, 28, 28))
