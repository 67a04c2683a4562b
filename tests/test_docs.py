"""Run or compose the commands of the README and of docs/, and check links, keys and choices."""

import ast
import io
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.__main__ import COMMANDS
from cnnlab.runs.directory import COLUMNS, SUMMARY_KEYS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text() for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
}
TEXT = "\n".join(PAGES.values())
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.batch_size=8")
# The page that names every choice of a group.
PAGE_OF = {
    "model": "models.md",
    "data": "data.md",
    "recipe": "recipes.md",
    "callbacks": "recipes.md",
    "logger": "recipes.md",
    "trainer": "devices.md",
    "search": "search.md",
}


def lines_of_shell() -> list[str]:
    """Return every command of the ```bash blocks once, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return list(dict.fromkeys(re.sub(r"\s+#.*", "", line).strip() for line in lines if line))


def commands() -> list[tuple[str, ...]]:
    """Return the commands of cnnlab among them: name and arguments."""
    found = []
    for line in lines_of_shell():
        match = re.search(r"(?:^|\| )(?:cnnlab |python -m cnnlab\.)(\w+)(.*)|-m cnnlab\.(\w+)(.*)", line)
        if match:
            found.append((match[1] or match[3], *shlex.split(match[2] or match[4] or "")))
    return list(dict.fromkeys(found))


def trainings() -> list[object]:
    """Return the single trainings on images that are at hand; those of large networks are slow."""
    found = []
    for name, *arguments in commands():
        given = " ".join(arguments)
        elsewhere = "-m" in arguments or re.search("FOLDER|OWNER|folds=|seeds=", given)
        if name == "train" and re.search(r"\bdata=(digits|folder)", given) and not elsewhere:
            slow = re.search(r"timm|torchvision|flowers|embeddings", given)
            found.append(pytest.param(arguments, marks=[pytest.mark.slow] if slow else [], id=given))
    return found


def uses_of_a_network() -> list[object]:
    """Return the commands on a trained network, one of each fast enough for every day."""
    found, seen = [], {"export"}
    for name, *arguments in commands():
        if any(a.startswith("checkpoint=runs/lenet5/DATE") for a in arguments) and "data.path=FOLDER" not in arguments:
            marks = [pytest.mark.slow] if name in seen or "images=-" in arguments else []
            found.append(pytest.param(name, arguments, marks=marks, id=" ".join((name, *arguments))))
            seen.add(name)
    return found


@pytest.fixture
def examples(tmp_path: Path) -> None:
    """Write every code block that starts with the name of its file, and images for them."""
    files = re.findall(r"```\w+\n(# (\S+\.(?:py|yaml))\n.*?)```", TEXT, re.DOTALL)
    assert {name for _, name in files} == {
        *("mynet.py", "conf/model/mynet.yaml", "conf/recipe/adam.yaml", "conf/recipe/plateau.yaml"),
        *("mycallbacks.py", "mymetrics.py", "myloggers.py", "myaugmentations.py"),
        *("experiments/mine.yaml", "experiments/depth.yaml", "conf/search/mine.yaml", "conf/search/size.yaml"),
    }
    for text, name in files:
        assert len(text.splitlines()) <= 15
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for left in ("lenet5_optimizer/experiment/best.yaml", "lenet5_size/experiment/front_009.yaml"):  # by a search
        (tmp_path / "runs" / left).parent.mkdir(parents=True)
        (tmp_path / "runs" / left).write_text("# @package _global_\nseed: 1\n")
    for i in range(24):
        folder = tmp_path / "flowers" / ("rose", "tulip")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (80, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.jpg")
        (tmp_path / "images/shapes" / folder.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "images/shapes" / folder.name / f"{i}.jpg")


def test_there_are_commands_to_try():
    assert {name for name, *_ in commands()} == set(COMMANDS)
    assert len(trainings()) >= 4 and len(uses_of_a_network()) >= 4


@pytest.mark.parametrize("line", commands(), ids=" ".join)
def test_a_command_composes(command, examples, line):
    name, *arguments = line
    if "--help" not in arguments and "--cfg" not in arguments:
        # A sweep has no configuration of its own: look at its first run.
        arguments = [
            re.sub(r"^([\w.]+=)([^\[{,]+),.*", r"\1\2", a) for a in arguments if a != "-m" and "seeds=" not in a
        ]
        arguments += ["--cfg", "job"]
    outcome = command(name, *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.out


@pytest.mark.parametrize("arguments", trainings())
def test_a_training_runs(train, examples, tmp_path, arguments):
    logger = [] if any("logger." in argument for argument in arguments) else ["logger=none"]
    outcome = train(*arguments, *SHORT, *logger, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"


def test_an_experiment_runs(train, examples, tmp_path):
    given = ("model=lenet5", "data=digits", *SHORT, "logger=none", "hydra.run.dir=run")
    assert train("experiment=mine", *given).code == 0
    record = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (record["name"], record["model"], record["recipe"]) == ("mine", "lenet5", "standard")


def test_your_own_classes_run(train, command, examples, tmp_path):
    lines = [line for line in commands() if any("my" in argument for argument in line) and "data=digits" in line]
    classes = re.findall(r"_target_[=:] ?(my\w+\.\w+)", " ".join(" ".join(line) for line in lines))
    assert set(classes) == {"mycallbacks.Gap", "mymetrics.Kappa", "myloggers.Lines", "myaugmentations.Noise"}
    arguments = list(dict.fromkeys(argument for name, *rest in lines if name == "train" for argument in rest))
    arguments = [argument for argument in arguments if "torchvision" not in argument]  # of two, the one of the user
    outcome = train(
        *arguments, *SHORT, "trainer.max_epochs=2", "logger.tensorboard.pictures=false", "hydra.run.dir=run"
    )
    assert outcome.code == 0, outcome.err
    assert len(re.findall(r"loss \d\.\d+", outcome.out)) == 2
    written = (tmp_path / "run" / "lines.txt").read_text()
    assert "val/kappa" in written and "train/loss" in written


def test_an_experiment_with_a_sweep_composes(train, examples):
    outcome = train("experiment=depth", "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert "max_epochs: 60" in outcome.out


@pytest.mark.slow
def test_a_search_space_of_ones_own_is_searched(command, examples, tmp_path):
    outcome = command(
        "tune", "search=mine", "model=lenet5", "data=digits", *SHORT, "logger=none", "trials=1", "name=study"
    )
    assert outcome.code == 0, outcome.err
    study = json.loads((tmp_path / "runs" / "study" / "tune.json").read_text())
    names = {entry["name"] for entry in study["space"]}
    assert names == {"optimizer.lr", "recipe", "optimizer.sgd_lr [recipe=speedrun]"}
    assert study["counts"]["completed"] == 1


@pytest.fixture
def trained(train, tmp_path) -> Path:
    """Train a network where the pages have one, and make the pictures that they speak of."""
    run = tmp_path / "runs" / "lenet5" / "DATE"
    assert train("model=lenet5", "data=digits", *SHORT, "logger=none", f"hydra.run.dir={run}").code == 0
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "dog.png", "photos/owl.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    return run


@pytest.mark.parametrize(("name", "arguments"), uses_of_a_network())
def test_a_trained_network_is_used(command, trained, monkeypatch, name, arguments):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photos/owl.jpg\n")))  # as `find` would print
    if "calibrated=true" in arguments:
        assert command("evaluate", "checkpoint=runs/lenet5/DATE", "calibrate=save").code == 0
    outcome = command(name, *arguments)
    assert outcome.code == 0, outcome.err


def test_the_exported_file_of_the_tutorial_runs(command, trained, tmp_path, monkeypatch, capsys):
    exported = command("export", f"checkpoint={trained}", "normalize=true", "softmax=true", "output=signs.onnx")
    assert exported.code == 0, exported.err
    (script,) = re.findall(r"```python\n(import json\n.*?)```", PAGES["docs/own-images.md"], re.DOTALL)
    assert len(script.splitlines()) == 15
    monkeypatch.setattr(sys, "argv", ["classify.py", "cat.jpg", "photos/owl.jpg"])
    exec(script, {})
    assert re.findall(r"^(\S+): \d \([\d.]+%\)$", capsys.readouterr().out, re.MULTILINE) == [
        "cat.jpg",
        "photos/owl.jpg",
    ]


@pytest.mark.slow
def test_the_tutorial_runs_in_its_order(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["draw_signs.py", "images"])
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    runpy.run_path(str(DOCS / "draw_signs.py"), run_name="__main__")
    assert "1 broken file" in capsys.readouterr().out
    blocks = "".join(re.findall(r"```bash\n(cnnlab.*?)```", PAGES["docs/own-images.md"], re.DOTALL))
    for line in blocks.replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(re.sub(r"runs/(\w+)/DATE", lambda m: str(dated(tmp_path, m[1])), line))[1:]
        short = [*SHORT, "trainer.max_epochs=3", "logger=none"] if name == "train" else []
        arguments = [re.sub("^seeds=5$", "seeds=2", argument) for argument in arguments]
        outcome = command(name, *arguments, *short)
        assert outcome.code == 0, (line, outcome.err)
    assert (tmp_path / "signs.onnx").is_file()


def dated(folder: Path, name: str) -> Path:
    """Return the one run or sweep of this name, whose folder is called after the time when it started."""
    (found,) = (folder / "runs" / name).iterdir()
    return found


def test_the_python_examples_run(trained, capsys):
    examples = re.findall(r"```python\n(from cnnlab import load\n.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, {"many_paths": ["cat.jpg", "dog.png"] * 3})
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_picture_of_the_readme_can_be_drawn(trained, tmp_path, monkeypatch):
    results = ROOT / "experiments" / "results" / "history_brief.json"
    given = (f"results={results}", f"runs={trained}", "image=test:13", f"output={tmp_path / 'picture.png'}")
    monkeypatch.setattr(sys, "argv", ["make_pictures.py", *given])
    runpy.run_path(str(DOCS / "make_pictures.py"), run_name="__main__")
    assert Image.open(tmp_path / "picture.png").width == 1600


def test_other_commands_name_what_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines_of_shell():
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets, line
        if words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file(), line
    for script in re.findall(r"`python (\S+\.py)", TEXT):
        assert (ROOT / script).is_file(), script


def anchor(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if link.startswith("http"):
            continue
        path, _, part = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if part:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
            assert part in [anchor(heading) for heading in headings], link


def test_pages_and_pictures_are_linked_and_small():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index
    pictures = [file for file in (DOCS / "images").rglob("*") if file.is_file()]
    for picture in pictures:
        assert f"{picture.relative_to(DOCS)})" in TEXT and picture.suffix == ".png"
        assert picture.stat().st_size < 300_000
    assert sum(picture.stat().st_size for picture in pictures) < 3_000_000


def test_the_live_pages_are_small():
    pages = list((DOCS / "live").glob("*.html"))
    assert len(pages) == 2
    assert sum(page.stat().st_size for page in pages) < 6_000_000


def test_the_readme_is_short():
    assert len(PAGES["README.md"].split()) <= 1300


def test_every_choice_stands_in_its_page():
    choices = [(group, file.stem) for group in PAGE_OF for file in (ROOT / "conf" / group).glob("*.yaml")]
    for group, name in choices:
        assert f"`{name}`" in PAGES[f"docs/{PAGE_OF[group]}"], f"{group}={name}"
    for file in (ROOT / "experiments").glob("*.yaml"):
        assert f"`{file.stem}`" in PAGES["docs/sweeps.md"], f"experiment={file.stem}"
    for name in COMMANDS:
        assert f"`cnnlab {name}`" in PAGES["docs/first-steps.md"], name


def test_every_key_of_the_record_is_explained():
    for key in (*SUMMARY_KEYS, *COLUMNS):
        assert re.search(rf"^\| .*`{key}`", PAGES["docs/records.md"], re.MULTILINE), key


def test_the_table_of_parts_is_that_of_the_layout_test():
    may_import = next(
        ast.literal_eval(re.sub(r"\bset\(\)", "[]", ast.unparse(node.value)))
        for node in ast.parse((ROOT / "tests" / "test_layout.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_IMPORT"
    )
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", PAGES["docs/architecture.md"], re.MULTILINE)
    table = {part: set(re.findall(r"`(\w+)`", others)) for part, others in rows}
    assert table == {part: set(others) for part, others in may_import.items() if part not in ("errors", "instantiate")}
