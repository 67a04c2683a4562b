import pytest
from torch import nn

from cnnlab.build import run
from cnnlab.training.pool_first import PoolFirst
from cnnlab.training.side_by_side import SideBySideConv2d


@pytest.mark.parametrize(
    ("tiles", "convolution"), [(True, SideBySideConv2d), (False, nn.Conv2d)], ids=["matrix tiles", "none"]
)
def test_layers_are_replaced_by_those_that_are_faster_on_this_processor(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, convolution: type[nn.Module]
):
    monkeypatch.setattr(run, "has_matrix_tiles", lambda: tiles)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    run.use_faster_layers(network)
    assert type(network) is PoolFirst
    assert [type(layer) for layer in network] == [convolution, nn.ReLU, nn.MaxPool2d]
