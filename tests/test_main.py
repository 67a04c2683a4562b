import subprocess
import sys
import zipfile
from importlib.metadata import version

import pytest

from cnnlab import __version__
from cnnlab.__main__ import COMMANDS, main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cnnlab", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)
    assert max(map(len, printed.splitlines())) <= 80


def test_the_version_is_printed_without_importing_torch():
    program = (
        "import sys, cnnlab.__main__; sys.argv = ['cnnlab', '--version']\n"
        "cnnlab.__main__.main()\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"cnnlab {__version__}, torch {version('torch')}\n"


def test_an_unknown_command_is_told_the_nearest(monkeypatch, capsys):
    assert run(monkeypatch, "trian") == 2
    assert "did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, command, "--help") == 0
    assert f"cnnlab {command}" in capsys.readouterr().out


HEAVY = {"lightning", "torchmetrics", "torchvision", "torch._dynamo", "scipy.stats", "sklearn", "tensorboard", "captum"}


@pytest.mark.parametrize(
    ("command", "arguments", "unused"),
    [
        ("describe", ["model=resnet20"], HEAVY | {"matplotlib", "PIL", "pyarrow"}),
        ("predict", ["checkpoint=best.ckpt", "images=photos"], HEAVY),
        ("evaluate", ["checkpoint=best.ckpt", "data.path=photos", "output=out"], HEAVY),
        ("compare", ["runs=runs"], HEAVY | {"torch"}),
        ("audit", ["data=folder", "data.path=photos"], HEAVY - {"scipy.stats", "sklearn"}),
    ],
)
def test_a_command_imports_what_it_uses(save, photo_folders, make_run, tmp_path, command, arguments, unused):
    """Each of these packages takes a quarter of a second to three seconds to import."""
    save()
    make_run(tmp_path / "runs" / "a", "a", 0, 0.9)
    program = (
        f"import sys; from cnnlab.{command} import main\n"
        f"try: main()\nfinally: assert not {unused} & set(sys.modules), {unused} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WRONG = (
    ("train", "data=digits", "trainer.max_epochs=0"),
    ("train", "data=digits", "weights=notes.zip"),
    ("train", "data=digits", "data.exclude=gone.csv"),
    ("train", "data=digits", "data.cache=notes.zip"),
    ("audit", "checkpoint=notes.zip"),
    ("audit", "data=digits", "shown=0"),
    ("tune", "data=digits", "search=optimizer", "data.cache=notes.zip"),
    ("predict", "checkpoint=best.ckpt", "images=gone"),
    ("predict", "checkpoint=notes.zip", "images=photos"),
    ("evaluate", "checkpoint=notes.zip"),
    ("visualize", "checkpoint=notes.zip"),
    ("export", "checkpoint=best.ckpt", "format=tflite"),
    ("export", "checkpoint=best.ckpt", "format=torch", "opset=18"),
    ("export", "checkpoint=notes.zip"),
    ("describe", "data.image_size=0"),
    ("compare", "runs=gone"),
    ("benchmark", "rounds=0"),
    ("benchmark", "precisions=[]"),
)


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_request_is_answered_before_torch_is_imported(monkeypatch, capsys, save, photo_folders, arguments):
    save()
    monkeypatch.chdir(photo_folders.parent)
    with zipfile.ZipFile("notes.zip", "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    before = sorted(photo_folders.parent.rglob("*"))
    monkeypatch.setitem(sys.modules, "torch", None)  # an import would fail
    assert run(monkeypatch, *arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(photo_folders.parent.rglob("*")) == before
