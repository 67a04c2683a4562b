import torch
from torch import nn

from cnnlab.training.optimizers import parameter_groups


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_one_group_holds_all_trainable_parameters() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    (group,) = parameter_groups(net, decay_norms_and_biases=True)
    assert group.keys() == {"params"}
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters() if p.requires_grad]


def test_norms_and_biases_are_kept_from_decay() -> None:
    net = network()
    decayed, spared = parameter_groups(net, decay_norms_and_biases=False)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight), id(net[3].weight)]
    assert {id(p) for p in spared["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[3].bias)}
    optimizer = torch.optim.SGD([decayed, spared], lr=0.1, weight_decay=0.5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


def test_step_without_gradient_shrinks_filters_and_matrices_alone() -> None:
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(parameter_groups(net, decay_norms_and_biases=False), lr=0.1, weight_decay=0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old * 0.95 if p.ndim >= 2 else old)


def test_network_without_vectors_has_one_group() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), decay_norms_and_biases=False)) == 1
