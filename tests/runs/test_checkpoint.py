import zipfile
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.runs.checkpoint import check_weights_match, network_weights, read_checkpoint, read_weights


def checkpoint_of(network: nn.Module) -> dict:
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {"state_dict": state | {"loss.weight": torch.ones(2)}, "cnnlab": {"classes": ["a", "b"]}}


def test_the_weights_of_the_network_have_its_own_names(tmp_path):
    network = nn.Linear(3, 2)
    torch.save(checkpoint_of(network), tmp_path / "a.ckpt")
    weights = network_weights(read_checkpoint(tmp_path / "a.ckpt"))
    assert weights.keys() == {"weight", "bias"}
    assert torch.equal(weights["weight"], network.weight)


def test_the_versions_of_modules_are_kept(tmp_path):
    """torchvision's MNASNet is loaded only with its version."""
    whole = nn.ModuleDict({"network": nn.Sequential(nn.BatchNorm2d(2)), "loss": nn.BatchNorm2d(2)})
    torch.save({"state_dict": whole.state_dict(), "cnnlab": {}}, tmp_path / "a.ckpt")
    weights: Any = network_weights(read_checkpoint(tmp_path / "a.ckpt"))
    assert weights._metadata == {"": {"version": 1}, "0": {"version": 2}}


def test_a_file_of_another_program_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(RequestError, match="not written by cnnlab"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(RequestError, match=r"there is no checkpoint .*gone\.ckpt"):
        read_checkpoint(tmp_path / "gone.ckpt")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Linear(3, 4), r"weight is \(2, 3\) there, \(4, 3\) in this one"),
        (nn.Linear(3, 2, bias=False), r"bias is \(2,\) there, missing in this one"),
    ],
)
def test_another_network_does_not_match(tmp_path, other, message):
    checkpoint = checkpoint_of(nn.Linear(3, 2))
    check_weights_match(checkpoint, nn.Linear(3, 2), tmp_path)
    with pytest.raises(RequestError, match=message):
        check_weights_match(checkpoint, other, tmp_path)


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    torch.save(checkpoint_of(nn.Linear(3, 2)) | {"more": torch.zeros(1_000_000)}, tmp_path / "a.ckpt")
    read_checkpoint(tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as plain, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(RequestError, match="4,0.* bytes when unpacked, more than the file has"):
        read_checkpoint(tmp_path / "bomb.ckpt")


def test_weights_that_claim_to_be_larger_than_the_file_are_refused(tmp_path):
    endless = torch.zeros(1).expand(10**12)
    torch.save({"state_dict": {"network.weight": endless}, "cnnlab": {}}, tmp_path / "a.ckpt")
    with pytest.raises(RequestError, match="its weights claim to be larger than the file"):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, lambda weight: weight.to("meta")])
def test_weights_that_are_no_plain_tensors_are_refused(tmp_path, make):
    torch.save({"network.weight": make(torch.ones(3, 2))}, tmp_path / "odd.pt")
    with pytest.raises(RequestError, match="it holds sparse or quantized weights, or none at all"):
        read_weights(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"state_dict": state}, lambda state: {"model": state}]
)
def test_weights_of_other_programs_are_read(tmp_path, wrap):
    state = nn.Linear(3, 2).state_dict()
    torch.save(wrap(state), tmp_path / "a.pt")
    torch.save(wrap(state), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pt", "old.pt", "a.safetensors"):
        tensors, classes = read_weights(tmp_path / name)
        assert classes is None
        assert tensors.keys() == state.keys()
        assert torch.equal(tensors["weight"], state["weight"])


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("code of the file ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.tensor([float("nan")])}, "weight holds values that are not finite"),
        ({"state_dict": {"epoch": 3}}, "holds no tensors by name"),
        ([torch.ones(2)], "holds no tensors by name"),
        ({"weight": torch.ones(1).expand(1000, 1000)}, "claim to be larger than the file"),
        ({"weight": torch.ones(2), "more": Harmful()}, "is not a checkpoint of tensors and plain values"),
    ],
)
def test_files_without_sound_weights_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(RequestError, match=message):
        read_weights(tmp_path / "a.pt")


def test_a_damaged_file_of_safetensors_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RequestError, match="damaged or not a file of safetensors"):
        read_weights(tmp_path / "a.safetensors")
