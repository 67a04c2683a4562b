import torch
from torch import nn

from cnnlab.inspection.hooks import watch_calls


def test_calls_are_told_in_order_and_hooks_are_removed() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    begun, ended = [], []
    with watch_calls(
        network,
        on_end=lambda name, module, inputs, output: ended.append((name, type(module).__name__, tuple(output.shape))),
        on_begin=lambda name, module: begun.append(name),
    ):
        network(torch.zeros(1, 2))
    network(torch.zeros(1, 2))
    assert begun == ["", "0", "1", "1.0"]
    assert ended == [
        ("0", "Linear", (1, 3)),
        ("1.0", "ReLU", (1, 3)),
        ("1", "Sequential", (1, 3)),
        ("", "Sequential", (1, 3)),
    ]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
