"""`cnnlab dashboard`: runs as TensorBoard shows them, requested as its pages request them."""

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout  # pyright: ignore[reportAttributeAccessIssue]
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from cnnlab.comparison.tensorboard_view import LAYOUT, View
from cnnlab.training.tensorboard import TensorBoard

Make = Callable[..., Path]
SIDES = ("mean", "lowest", "highest")


@pytest.fixture
def board_run(make_run: Make, tmp_path: Path) -> Make:
    """Return a function that writes a run directory with invented figures and an event file."""

    def write(place: str, model: str, seed: int = 0, **options: Any) -> Path:
        run = tmp_path / place
        make_run(run, model=model, seed=seed, **options)
        logger = TensorBoard(str(run))
        logger.log_metrics({"val/accuracy": 0.5, "epoch": 0})
        logger.save()
        logger.experiment.close()
        return run

    return write


def names(view: View) -> list[str]:
    """Return the names of the runs in TensorBoard."""
    found = (file.parent.relative_to(view.folder) for file in files(view.folder))
    return sorted({str(name) for name in found})


def files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from files(path)
        elif path.name.startswith("events"):
            yield path


def scalars(view: View, name: str) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(view.folder / name))
    board.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}


@pytest.fixture
def view_of(tmp_path: Path) -> Callable[..., View]:
    def make(*paths: str) -> View:
        folder = tmp_path / "view"
        folder.mkdir()
        return View(folder, [str(tmp_path / path) for path in paths])

    return make


def links(view: View) -> list[str]:
    return [name for name in names(view) if "/" in name]


def test_runs_are_named_by_model_and_place(board_run, view_of):
    board_run("runs/lenet5/2026-11-25_05-13-07", "lenet5", seed=3)
    board_run("runs/depth/2026-11-25_05-13-07/resnet20_seed-1", "resnet20")
    board_run("runs/depth/2026-11-25_05-13-07/resnet20_seed-2", "resnet20", status="running")
    board_run("runs/depth/2026-11-26_05-13-07/resnet20_seed-1", "resnet20")
    board_run("runs/timm/monday", "timm/convnext_atto")
    board_run("runs/lenet5_monday", "lenet5")
    board_run("runs/lenet5/a_very_long_name_of_a_run/and_more", "lenet5")
    view = view_of("runs")
    assert links(view) == [
        "lenet5/a_very_long_name_of_a_…",
        "lenet5/monday",
        "lenet5/seed 3",
        "resnet20/depth seed-1",
        "resnet20/depth seed-1 2",
        "resnet20/depth seed-2",
        "timm:convnext_atto/timm monday",
    ]
    assert max(map(len, names(view))) <= 30


def test_one_run_alone_has_a_name_too(board_run, view_of):
    board_run("runs/lenet5/monday", "lenet5")
    assert names(view_of("runs/lenet5/monday")) == ["(about)", "lenet5 (n = 1)", "lenet5/monday"]


def test_a_run_is_named_from_inside_of_it(board_run, view_of, tmp_path, monkeypatch):
    (board_run("runs/lenet5/monday", "lenet5") / "checkpoints").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "runs/lenet5/monday/checkpoints")
    (tmp_path / "view").mkdir()
    assert "lenet5/monday" in names(View(tmp_path / "view", [".."]))


def test_runs_that_come_later_are_found_and_nothing_is_written_to_them(board_run, view_of, tmp_path):
    board_run("runs/lenet5/a", "lenet5", seed=0)
    view = view_of("runs")
    board_run("runs/lenet5/b", "lenet5", seed=1)
    before = sorted(tmp_path.joinpath("runs").rglob("*"))
    view.refresh()
    assert names(view) == ["(about)", "lenet5 (n = 2)", "lenet5/a", "lenet5/b"]
    view.refresh()
    assert names(view) == ["(about)", "lenet5 (n = 2)", "lenet5/a", "lenet5/b"]
    assert sorted(tmp_path.joinpath("runs").rglob("*")) == before


def test_a_run_keeps_its_name_when_others_come(board_run, view_of):
    board_run("runs/depth/monday/resnet20_seed-1", "resnet20")
    view = view_of("runs")
    board_run("runs/lenet5/monday", "lenet5")
    view.refresh()
    assert links(view) == ["lenet5/monday", "resnet20/seed-1"]


@pytest.mark.parametrize(
    "models",
    [
        ["../../outside"],
        ["/tmp/outside/cnnlab"],
        ["..", "a\0b", "\x1b[31mred", "n" * 300],
        ["strange", "strange/run0 seed0"],  # below the link to the first run
        ["timm", "timm/run0 seed0", "mean", "mean/strange"],
    ],
)
def test_nothing_is_written_outside_whatever_a_record_says(board_run, view_of, tmp_path, models):
    for number, model in enumerate(models):
        run = board_run(f"runs/run{number}", "lenet5", seed=number)
        record = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(record | {"model": model, "name": model}))
    before = {path for path in tmp_path.rglob("*") if path.is_relative_to(tmp_path / "runs")}
    view = view_of("runs")
    view.refresh()
    assert sum("run" in name for name in links(view)) >= len(models)
    assert {path for path in tmp_path.rglob("*") if path.is_relative_to(tmp_path / "runs")} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "view"}
    assert not Path("/tmp/outside").exists()


def test_embeddings_of_an_evaluation_are_shown_beside_their_run(board_run, view_of):
    run = board_run("runs/lenet5/a", "lenet5")
    (run / "evaluation" / "tensorboard").mkdir(parents=True)
    (run / "evaluation" / "tensorboard" / "events.out.tfevents.1").touch()
    assert "lenet5/a evaluation" in names(view_of("runs"))


def test_seeds_are_averaged_with_their_range_and_nothing_else_is(board_run, view_of):
    board_run("runs/lenet5/a", "lenet5", 0, accuracy=0.6, epochs=2)
    board_run("runs/lenet5/b", "lenet5", 1, accuracy=0.8, epochs=3)
    board_run("runs/lenet5/c", "lenet5", 2, accuracy=0.9, status="failed", error="no more memory")
    board_run("runs/vgg11/a", "vgg11", 0, accuracy=0.7, epochs=1, protocol="article")
    view = view_of("runs")
    one, several = "vgg11, article (n = 1)", "lenet5, holdout (n = 2)"
    assert {one, several} <= set(names(view))
    curves = scalars(view, several)
    assert set(curves) == {f"{s}/{m}_{f}" for s in SIDES for m in ("val", "train") for f in ("accuracy", "loss")}
    assert curves["mean/val_accuracy"] == [(1, 0.2833), (2, 0.5667)]  # of the epochs that both have
    assert curves["lowest/val_accuracy"] == [(1, 0.2667), (2, 0.5333)]
    assert curves["highest/val_loss"] == [(1, 1.8333), (2, 1.5667)]
    assert {scalars(view, one)[f"{side}/val_accuracy"][0] for side in SIDES} == {(1, 0.7)}  # the run itself


def test_groups_come_first_so_that_their_colours_differ(board_run, view_of):
    board_run("runs/lenet5/a", "lenet5", accuracy=0.6)
    board_run("runs/vgg11/a", "vgg11", accuracy=0.7)
    view = view_of("runs")
    began: dict[str, Any] = {
        name: EventAccumulator(str(view.folder / name)).Reload().FirstEventTimestamp() for name in names(view)
    }
    assert sorted(began, key=lambda name: began[name])[:3] == ["vgg11 (n = 1)", "lenet5 (n = 1)", "(about)"]


def test_a_page_explains_the_tabs_and_says_which_run_is_which(board_run, view_of, tmp_path):
    board_run("runs/lenet5/a", "lenet5")
    view = view_of("runs")
    board_run("runs/lenet5/b", "lenet5", status="running")
    view.refresh()
    board = EventAccumulator(str(view.folder / "(about)")).Reload()
    page = board.Tensors("start here/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| Custom Scalars |" in page
    assert f"| `lenet5/a` | `{tmp_path}/runs/lenet5/a` | completed |" in page
    assert f"| `lenet5/b` | `{tmp_path}/runs/lenet5/b` | running |" in page
    assert view.page == "timeseries"  # which shows runs that train


def test_one_layout_is_for_all_and_its_charts_find_what_runs_write(board_run, view_of):
    board_run("runs/lenet5/a", "lenet5")
    board = EventAccumulator(str(view_of("runs").folder / "(about)"))
    board.Reload()
    layout = Layout.FromString(board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title for category in layout.category for chart in category.chart}
    assert charts == {"validation accuracy", "validation loss", "training accuracy", "training loss"}
    assert [category.title for category in layout.category] == list(LAYOUT)


def ask(url: str, **body: Any) -> Any:
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


def test_tensorboard_serves_the_runs_with_layout_and_columns(command, board_run, monkeypatch, tmp_path):
    board_run("runs/lenet5/a", "lenet5", config={"optimizer": {"lr": 0.1}, "model": {"dropout": 0.1}})
    board_run("runs/lenet5/b", "lenet5", config={"optimizer": {"lr": 0.2}, "model": {"dropout": 0.1}})
    with SummaryWriter(tmp_path / "runs" / "lenet5" / "a" / "tensorboard") as older:
        for summary in hparams({"optimizer/lr": 0.1}, {"loss": 1.0}):
            older._get_file_writer().add_summary(summary)  # columns of its own, as other programs write them
    seen: dict[str, Any] = {}

    def look(seconds: float) -> None:
        """Stand in for the wait for new runs."""
        (line,) = [record for record in heard if record.startswith("http")]
        url, _, page = line.partition("?")
        seen["page"] = page.rpartition("#")[2].partition("&")[0]
        for _ in range(200):  # it reads while it serves
            seen["runs"] = ask(f"{url}data/runs")
            seen["layout"] = ask(f"{url}data/plugin/custom_scalars/layout")
            if len(seen["runs"]) >= 5 and seen["layout"]:
                break
            time.sleep(0.1)
        seen["columns"] = ask(f"{url}data/plugin/hparams/experiment", experimentName="")
        signal.raise_signal(signal.SIGTERM)

    heard: list[str] = []
    monkeypatch.setattr("cnnlab.dashboard.log.info", lambda text, *values: heard.append(text % values))
    monkeypatch.setattr("cnnlab.dashboard.sleep", look)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    outcome = command("dashboard", "port=0")
    assert (outcome.code, outcome.err) == (130, "Interrupted by SIGTERM.\n")
    assert not list(tmp_path.glob("temporary/*"))
    groups = ["lenet5, lr 0.1 (n = 1)", "lenet5, lr 0.2 (n = 1)"]
    assert sorted(seen["runs"]) == ["(about)", *groups, "lenet5/a", "lenet5/b"]
    assert [category["title"] for category in seen["layout"]["category"]] == list(LAYOUT)
    settings = {column["name"]: column["differs"] for column in seen["columns"]["hparamInfos"]}
    assert settings["optimizer.lr"]
    assert "model.dropout" not in settings  # the same in both
    assert settings["test_accuracy"]  # a result is shown from the start, beside the settings
    assert seen["page"] == "custom_scalars"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "runs: runs does not exist"),
        (["runs=nowhere"], "runs: nowhere does not exist"),
        (["runs=null"], "runs must be a folder or a list of folders, got None"),
        (["port=many"], "port must be a whole number below 65536"),
        (["port=70000"], "port must be a whole number below 65536"),
        (["prt=1"], "prt is not a key; did you mean port"),
    ],
)
def test_wrong_requests_are_named(command, arguments, said):
    outcome = command("dashboard", *arguments)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_port_that_is_taken_is_named(command, board_run):
    board_run("runs/lenet5/a", "lenet5")
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        outcome = command("dashboard", f"port={taken.getsockname()[1]}")
    assert outcome.code == 2
    assert outcome.err.startswith("port: ")
