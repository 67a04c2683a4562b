"""Test data sets of the Hugging Face Hub against an imitation on the loopback interface."""

import importlib
import io
import logging
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.images import ImageData, load_images, streamed_images
from cnnlab.data.sources import HubSource, hub
from cnnlab.data.sources.base import Columns
from cnnlab.data.sources.hub_faults import PROXIES
from cnnlab.errors import RequestError
from tests.fake_hub import FakeHub, Fault

NAME = "someone/cifar10"
INFO = f"GET /api/datasets/{NAME}$"
TRAIN = "train-00000-of-00001.parquet"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty Hub that the libraries ask."""
    constants = importlib.import_module("huggingface_hub.constants")
    config = importlib.import_module("datasets").config
    home, sleep = tmp_path / "hf_home", time.sleep
    for name in (*PROXIES, "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with FakeHub(tmp_path / "hub").serving() as server:
        for module, key, value in (
            *((module, "HF_HUB_OFFLINE", False) for module in (constants, config)),
            *((constants, "HF_HUB_CACHE", str(home / "hub")), (constants, "HF_TOKEN_PATH", str(home / "token"))),
            (
                constants,
                "HUGGINGFACE_CO_URL_TEMPLATE",
                f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            ),
            *((constants, "ENDPOINT", server.endpoint), (config, "HF_ENDPOINT", server.endpoint)),
        ):
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.3)))  # the libraries wait and try again
        hub._revision.cache_clear()
        yield server
    hub._revision.cache_clear()


@pytest.fixture
def cifar(fake: FakeHub, parquet_folder: Path) -> FakeHub:
    """The Hub with a small CIFAR-10."""
    shutil.copytree(parquet_folder, fake.folder / NAME)
    return fake


def refusal(ask: Callable[[], object]) -> str:
    """Return the message with which a request ends: what is wrong, and what to do."""
    with pytest.raises(RequestError) as caught:
        ask()
    lines = str(caught.value).splitlines()
    assert len(lines) <= 2
    assert max(len(re.sub(r"/\S+", "", line)) for line in lines) < 200  # a path is as long as it is
    return str(caught.value)


def restart() -> None:
    """Forget what the Hub answered, as a new command does."""
    hub._revision.cache_clear()


def test_a_data_set_is_downloaded_once_and_gives_the_images_of_its_files(
    cifar: FakeHub, sample: ImageData, parquet_folder: Path, tmp_path: Path, load, assert_same
) -> None:
    for number in range(2):
        source = HubSource(NAME)
        source.check()
        source.count()
        data = load_images(source, 32, tmp_path / f"cache{number}")
        assert_same(data, sample)
        assert_same(streamed_images(source, 32), sample)
        assert data.fingerprint == load(parquet_folder).fingerprint
        assert data.findings.revision == cifar.revision(NAME)
        assert "the columns img and label of someone/cifar10" in data.findings.places
        restart()
    assert len([request for request in cifar.requests if request.startswith("GET") and TRAIN in request]) == 1
    assert len([request for request in cifar.requests if request == f"GET /api/datasets/{NAME}"]) == 1


def test_a_download_is_read_without_network(
    cifar: FakeHub, sample: ImageData, monkeypatch, assert_same, tmp_path
) -> None:
    HubSource(NAME).read()
    restart()
    cifar.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    HubSource(NAME).check()
    assert_same(load_images(HubSource(NAME), 32, tmp_path / "cache"), sample)
    assert not cifar.requests


@pytest.mark.parametrize("layout", ["folders", "metadata.csv"])
def test_image_files_are_read_as_embedded_images(
    fake: FakeHub, class_folders: Path, sample: ImageData, layout: str, tmp_path: Path, assert_same
) -> None:
    shutil.copytree(class_folders, fake.folder / NAME)
    if layout == "metadata.csv":
        for split in (fake.folder / NAME).iterdir():
            files = [file.relative_to(split) for file in sorted(split.rglob("*.png"))]
            rows = [f"{file},{file.parts[0]}" for file in files]
            (split / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    assert_same(load_images(HubSource(NAME), 32, tmp_path / "cache"), sample)
    assert_same(streamed_images(HubSource(NAME), 32), sample)


def test_a_configuration_is_chosen_and_the_message_lists_them(fake: FakeHub, parquet_folder: Path) -> None:
    folder = fake.folder / NAME
    lines = ["---", "configs:"]
    for config in ("small", "large"):
        shutil.copytree(parquet_folder, folder / config)
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [f"  - split: {split}\n    path: {config}/{split}-*" for split in ("train", "test")]
    pq.write_table(pq.read_table(folder / "small" / TRAIN).slice(0, 60), folder / "small" / TRAIN)
    (folder / "README.md").write_text("\n".join([*lines, "---"]))
    several = refusal(HubSource(NAME).read)
    assert several == f"data.config: {NAME} has several configurations; choose one of small, large"
    assert len(HubSource(NAME, "small").read().train.labels) == 60
    assert len(HubSource(NAME, "large").read().train.labels) == 120
    assert HubSource(NAME, "small").identity != HubSource(NAME, "large").identity
    restart()
    assert refusal(HubSource(NAME).read) == several  # although one is downloaded
    wrong = refusal(HubSource(NAME, "tiny").read)
    assert wrong == f"data.config: {NAME} has no configuration tiny; choose one of small, large"


def test_if_the_labels_of_test_are_missing_validation_is_the_test_split(
    cifar: FakeHub, sample: ImageData, tmp_path: Path
) -> None:
    test = cifar.folder / NAME / "test-00000-of-00001.parquet"
    table = pq.read_table(test)
    shutil.copy(test, test.with_name("validation-00000-of-00001.parquet"))
    unlabelled = table.set_column(1, "label", [[-1] * len(table)]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(unlabelled.slice(0, 20), test)
    data = load_images(HubSource(NAME), 32, tmp_path / "cache")
    assert torch.equal(data.test.labels, sample.test.labels)
    assert "test has no labels, so validation is the test split" in data.findings.remarks
    assert data.findings.ignored == {"test images": 20}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(INFO, 401), ("shows no data set someone/cifar10 without a login (401)", "hf auth login")),
        (Fault(INFO, 404, "RepoNotFound"), ("has no data set someone/cifar10 (404)", "data.source=OWNER/NAME")),
        (Fault(INFO, 403, "GatedRepo"), ("given to people who asked", "/datasets/someone/cifar10, then log in")),
        (Fault(INFO, 403), ("refuses access to someone/cifar10 (403)", "Ask its authors")),
        (Fault(INFO, 429), ("asked too often from here (429)", "Wait some minutes")),
        (Fault(INFO, 500), ("has a fault of its own (500)", "later")),
        (Fault(INFO, 503), ("has a fault of its own (503)", "later")),
        (Fault(INFO, body=b"<html>Welcome to this hotel</html>"), ("answers, but not as", "may ask for a login")),
        (Fault(INFO, body=b"[1]"), ("answers, but not as", "may ask for a login")),
        (Fault(INFO, delay=0.29), ("does not answer", "data.path=FOLDER")),
    ],
    ids=["401", "404", "gated", "403", "429", "500", "503", "html", "other json", "no answer"],
)
def test_faults_of_the_hub_are_told_apart(cifar: FakeHub, fault: Fault, words, monkeypatch) -> None:
    monkeypatch.setattr(hub, "SOON", 0.01)
    monkeypatch.setattr(hub, "PATIENCE", 0.1 if fault.delay else 10)
    cifar.faults.append(fault)
    message = refusal(HubSource(NAME).check)
    assert all(word in message for word in words)
    assert "HF_HUB_OFFLINE" not in message


def test_a_token_that_is_not_accepted_is_named(cifar: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    cifar.faults.append(Fault(INFO, 401))
    assert "does not accept your token" in refusal(HubSource(NAME).check)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:9", ("cannot be reached: Connection refused", "data=digits")),
        ("http://nowhere.invalid", ("cannot be looked up", "no network or no DNS", "data=digits")),
    ],
)
def test_without_network_the_message_says_what_works_instead(fake, endpoint: str, words, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    message = refusal(HubSource(NAME).check)
    assert all(word in message for word in (*words, "data.path=FOLDER"))


def test_a_proxy_that_does_not_answer_is_named(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    session = importlib.import_module("huggingface_hub.utils").close_session
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.invalid")
    session()  # it was made without a proxy
    assert "the proxy in HTTP_PROXY does not lead to" in refusal(HubSource(NAME).check)
    session()


def test_only_who_sets_hf_hub_offline_is_told_about_it(cifar: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids to download it.\nUnset HF_HUB_OFFLINE" in refusal(HubSource(NAME).check)


def test_a_slow_answer_is_waited_for_with_a_line(cifar: FakeHub, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(hub, "SOON", 0.05)
    cifar.faults.append(Fault(INFO, delay=0.3))
    HubSource(NAME).check()
    HubSource(NAME).check()
    assert caplog.text.count(f"Waiting for the answer of the Hugging Face Hub about {NAME}") == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(f"GET .*{TRAIN}", cut=True), "the connection to the Hugging Face Hub broke"),
        (Fault(f".*{TRAIN}", 500), "has a fault of its own (500)"),
        (Fault(f".*{TRAIN}", 429), "asked too often from here (429)"),
        (Fault(f".*{TRAIN}", 404, "EntryNotFound"), "a file of someone/cifar10 is missing on the Hugging Face Hub"),
        (Fault(f".*{TRAIN}", 403, "GatedRepo"), "given to people who asked"),
    ],
    ids=["cut", "500", "429", "404", "gated"],
)
def test_faults_during_the_download_are_told_apart(cifar: FakeHub, fault: Fault, words: str, monkeypatch) -> None:
    cifar.faults.append(fault)
    assert words in refusal(HubSource(NAME).read)
    assert not hub._downloads(NAME, None)
    cifar.faults.clear()
    assert len(HubSource(NAME).read().train.labels) == 120  # the next command gets the rest


def test_gated_files_are_named_although_anyone_may_ask_about_them(cifar: FakeHub) -> None:
    cifar.faults.append(Fault("resolve", 403, "GatedRepo"))
    assert "given to people who asked for it" in refusal(HubSource(NAME).read)


def test_a_place_that_cannot_be_written_is_named(cifar: FakeHub, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    message = refusal(HubSource(NAME).read)
    assert str(tmp_path / "file") in message
    assert "HF_HOME=FOLDER" in message


def test_a_local_folder_of_the_same_name_is_not_taken(cifar: FakeHub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)
    (tmp_path / NAME / "train.csv").write_text("text,label\nhello,0\n")
    assert len(HubSource(NAME).read().train.labels) == 120


@pytest.mark.parametrize("content", [b"<html>no parquet</html>", b""])
def test_a_data_set_that_is_no_table_is_named(cifar: FakeHub, content: bytes) -> None:
    (cifar.folder / NAME / TRAIN).write_bytes(content)
    assert f"data: {NAME} cannot be loaded" in refusal(HubSource(NAME).read)


def test_a_data_set_without_images_is_named(fake: FakeHub) -> None:
    (fake.folder / NAME).mkdir(parents=True)
    (fake.folder / NAME / "train.csv").write_text("text,label\nhello,0\nbye,1\n")
    message = refusal(HubSource(NAME).read)
    assert "needs a column of images, and none is recognized. It has text (large_string), label (int64)" in message


def test_a_damaged_download_is_named(cifar: FakeHub) -> None:
    HubSource(NAME).read()
    file = next(hub._downloads(NAME, None)[0].glob("*-train.arrow"))
    file.write_bytes(file.read_bytes()[:500])
    assert f"{file.parent} is damaged; delete it" in refusal(HubSource(NAME).read)


def test_splits_of_a_data_set_are_chosen(cifar: FakeHub, sample: ImageData, tmp_path: Path) -> None:
    for file in (cifar.folder / NAME).iterdir():
        file.rename(file.with_name(file.name.replace("train", "clean").replace("test", "dirty")))
    files = "".join(f"  - split: {split}\n    path: {split}-*\n" for split in ("clean", "dirty"))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---"
    (cifar.folder / NAME / "README.md").write_text(card)
    assert "no images in a split named train (it has clean, dirty)" in refusal(HubSource(NAME).read)
    data = load_images(HubSource(NAME, splits={"train": "clean", "test": "dirty"}), 32, tmp_path / "cache")
    assert torch.equal(data.train.labels, sample.train.labels)
    assert torch.equal(data.test.labels, sample.test.labels)
    wrong = refusal(HubSource(NAME, splits={"train": "cleaned"}).read)
    assert wrong == f"data.splits: {NAME} has no split cleaned; it has clean, dirty"


def test_what_somebody_else_downloaded_is_read_if_the_hub_does_not_answer(cifar: FakeHub, caplog, monkeypatch) -> None:
    caplog.set_level(logging.INFO)
    HubSource(NAME, "default").read()
    restart()
    cifar.requests.clear()
    HubSource(NAME).check()
    assert cifar.requests  # perhaps there are other configurations
    restart()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert len(HubSource(NAME).read().train.labels) == 120
    assert f"The Hub does not tell about {NAME}; its downloaded default is read." in caplog.text


def test_columns_of_a_data_set_are_chosen(cifar: FakeHub, sample: ImageData) -> None:
    for file in (cifar.folder / NAME).iterdir():
        table = pq.read_table(file)
        pq.write_table(table.append_column("parity", [[number % 2 for number in table["label"].to_pylist()]]), file)
    assert HubSource(NAME, columns=Columns(label="parity")).read().classes == ("0", "1")
    assert HubSource(NAME).read().classes == sample.classes


def test_lines_of_the_libraries_appear_once_and_bars_on_terminals_only(cifar: FakeHub, monkeypatch, capsys) -> None:
    datasets = importlib.import_module("datasets")
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    logging.getLogger().addHandler(handler)
    cifar.faults.append(Fault(f"HEAD .*{TRAIN}", 500))
    refusal(HubSource(NAME).read)
    logging.getLogger().removeHandler(handler)
    assert shown.getvalue().count("Retrying in 1s") == 1
    assert shown.getvalue().count("HTTP Error 500 thrown") == 1  # of several attempts
    assert "Retrying" not in capsys.readouterr().err
    assert datasets.are_progress_bars_disabled()
    cifar.faults.clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    HubSource(NAME).read()
    assert not datasets.are_progress_bars_disabled()
    assert "Generating train split" in capsys.readouterr().err
