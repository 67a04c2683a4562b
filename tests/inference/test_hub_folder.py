"""Test the folder for the Hugging Face Hub, and networks that are read from there."""

import json
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants

from cnnlab.inference.export import export_network
from cnnlab.inference.trained import load
from cnnlab.runs import hub
from tests.fake_hub import FakeHub, Fault


@pytest.fixture
def fake(tmp_path, monkeypatch, save):
    """A Hub on the loopback interface with the network `me/net`, and an empty cache."""
    (tmp_path / "hub" / "me" / "other").mkdir(parents=True)
    export_network(save(), tmp_path / "hub" / "me" / "net", "hub")
    (tmp_path / "hub" / "me" / "other" / "README.md").write_text("# Nothing")
    hub.fetch_network.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with FakeHub(tmp_path / "hub").serving() as fake:
        url = f"{fake.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", fake.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield fake


def test_the_card_tells_what_the_record_says(digits_run, tmp_path):
    exported = export_network(digits_run, tmp_path / "folder", "hub")
    assert [file.name for file in exported.files] == ["model.safetensors", "config.json", "README.md"]
    card: Any = ModelCard.load(tmp_path / "folder" / "README.md")
    record = json.loads((digits_run / "summary.json").read_text())
    results = card.data.eval_results
    assert (card.data.library_name, card.data.metrics, card.data.license) == ("cnnlab", ["accuracy"], None)
    assert card.data.tags == ["image-classification", "cnnlab", "lenet5"]
    accuracies = [record["test_accuracy"], record["test_accuracy_tta"]]
    assert [result.metric_value for result in results] == pytest.approx(accuracies, abs=1e-6)
    assert "of 299 images (95% interval" in results[0].metric_name
    assert (results[0].dataset_name, results[0].task_type) == ("digits", "image-classification")
    assert "lenet5, 62,006 parameters" in card.text
    assert str(digits_run) not in card.content
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["classes"] == list("0123456789")


def test_a_network_without_a_run_has_a_card_without_figures(save, tmp_path):
    export_network(save(classes=["a|b", "<b>", "owl"]), tmp_path / "folder", "hub")
    card: Any = ModelCard.load(tmp_path / "folder" / "README.md")
    assert (card.data.eval_results, card.data.library_name) == (None, "cnnlab")
    assert "a-b, -b-, owl" in card.text


def test_a_network_of_the_hub_is_that_of_the_checkpoint(fake, tmp_path, save):
    own, read = load(save(), "cpu", "32-true"), load("hf://me/net", "cpu", "32-true")
    images = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(own.logits(images), read.logits(images))
    assert read.classes == own.classes
    asked = len(fake.requests)
    assert not [request for request in fake.requests if "config.json" in request or "README" in request]
    load("hf://me/net", "cpu", "32-true")
    assert len(fake.requests) == asked  # a command asks once


@pytest.mark.parametrize("fault", ["none answers", "offline", "its own fault"])
def test_it_is_read_from_the_cache_without_network(fake, monkeypatch, fault):
    load("hf://me/net", "cpu", "32-true")
    hub.fetch_network.cache_clear()
    if fault == "none answers":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    elif fault == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        fake.faults.append(Fault("", status=503))
    assert load("hf://me/net", "cpu", "32-true").classes == ("cat", "dog", "owl")


def test_without_network_and_cache_it_says_so(fake, command, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    outcome = command("predict", "checkpoint=hf://me/net", "images=test", "data=digits")
    assert outcome.code == 2
    assert "the Hub cannot be reached, and it is not in the local cache" in outcome.err.replace("\n", " ")


def test_a_revision_is_asked_for(fake):
    load("hf://me/net@v1.0", "cpu", "32-true")
    assert [request for request in fake.requests if "/resolve/v1.0/model.safetensors" in request]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://me/missing", "the Hub has no such network, or it is private"),
        ("hf://me/other", "it is not one of cnnlab's: it has no model.safetensors"),
        ("hf://me", "must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(fake, command, name, words):
    outcome = command("predict", f"checkpoint={name}", "images=test", "data=digits")
    assert (outcome.code, f"checkpoint: {name}" in outcome.err, words in outcome.err.replace("\n", " ")) == (
        2,
        True,
        True,
    )
    assert outcome.err.count("\n") <= 3  # a line, wrapped at 80 columns
