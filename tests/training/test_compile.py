"""Train with torch.compile: the same metrics, the same names in checkpoints, and runs that resume."""

import shutil
from typing import Any

import pytest
import torch

from tests.helpers import metrics, same_weights, stop_when_asked, summary, weights, write_own_network

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="compiling needs a C++ compiler"
)

# 2 epochs of 3 steps, the last batch of an epoch smaller than the others, with averaged weights.
RUN = (
    *("data=digits", "model=lenet5", "logger=none", "data.batch_size=500", "trainer.max_epochs=2", "optimizer.lr=0.02"),
    *("trainer.precision=32-true", "averaging.every_n_steps=2"),
)


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that collects the image shapes compiled from now on."""
    shapes: list[tuple[int, ...]] = []

    def backend(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        shapes.extend(tuple(map(int, x.shape)) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4)
        return compile_fx(module, inputs)

    from torch._inductor.compile_fx import compile_fx

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **_: original(model, backend=backend))
    return shapes


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_a_compiled_step_computes_the_same_gradients(train, tmp_path, monkeypatch, precision):
    """Traced as a whole, and run by torch itself."""
    options = (*RUN, f"trainer.precision={precision}", "trainer.gradient_clip_val=0.5", "augmentation.mixup=0.2")
    assert train(*options, "hydra.run.dir=plain").code == 0
    original, traced = torch.compile, []

    def backend(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        traced.append(any(node.target is torch.autograd.grad for node in module.graph.nodes))
        return module.forward

    monkeypatch.setattr(torch, "compile", lambda f, **_: original(f, backend=backend, fullgraph=True, dynamic=False))
    outcome = train(*options, "trainer.compile=default", "trainer.compile_step=true", "hydra.run.dir=compiled")
    assert outcome.code == 0, outcome.err
    assert traced == [True, False, False]  # the step, and the network for validation and test
    assert metrics(tmp_path / "plain", without="seconds") == metrics(tmp_path / "compiled", without="seconds")
    assert same_weights(tmp_path / "plain", tmp_path / "compiled")


@pytest.mark.parametrize("step", ["trainer.compile_step=false", "trainer.compile_step=true"])
def test_a_missing_compiler_is_told_in_a_line(train, tmp_path, monkeypatch, step):
    from torch._inductor.exc import InvalidCxxCompiler

    def backend(*_: Any) -> Any:
        raise InvalidCxxCompiler

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: original(f, backend=backend))
    outcome = train(*RUN, "trainer.compile=default", step)
    needs = "no C++ compiler, such as g++, is installed; trainer.compile=off"
    assert (outcome.code, " ".join(outcome.err.split())) == (2, f"trainer.compile: {needs}")


def test_a_step_that_cannot_be_compiled_whole_is_refused(train, tmp_path):
    write_own_network(tmp_path, "breaks")
    code = (tmp_path / "breaks.py").read_text()
    (tmp_path / "breaks.py").write_text(code.replace("        if ", "        print('x')\n        if "))
    outcome = train(*RUN, "model=breaks", "trainer.compile=default", "trainer.compile_step=true")
    assert outcome.code == 2
    assert outcome.err.startswith("trainer.compile_step: ")
    assert "trainer.compile_step=false" in outcome.err


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("step", ["trainer.compile_step=false", "trainer.compile_step=true"])
def test_a_compiled_run_learns_the_same_and_saves_the_same_checkpoint(train, tmp_path, monkeypatch, step):
    assert train(*RUN, "hydra.run.dir=plain").code == 0
    shapes = compiled(monkeypatch)
    outcome = train(*RUN, "trainer.compile=default", step, "hydra.run.dir=compiled")
    assert outcome.code == 0, outcome.err
    assert shapes  # it was compiled
    plain, other = (summary(tmp_path / name) for name in ("plain", "compiled"))
    for key in ("val_loss", "test_loss", "test_accuracy"):
        assert other[key] == pytest.approx(plain[key], abs=0.02)
    for name in ("last", "best"):
        expected, found = (weights(tmp_path / directory, name) for directory in ("plain", "compiled"))
        assert list(found) == list(expected)
        assert all(torch.allclose(found[key], expected[key], atol=0.01) for key in expected)


@needs_compiler
@pytest.mark.slow
def test_a_compiled_run_resumes_and_can_be_tested_uncompiled(train, tmp_path, monkeypatch):
    options = (*RUN, "trainer.compile=default")
    assert train(*options, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        assert train(*options, "hydra.run.dir=parts").code == 130
    assert summary(tmp_path / "parts")["steps"] == 4
    assert train("resume=parts").code == 0
    whole, parts = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.allclose(parts[key], whole[key], atol=1e-5) for key in whole)
    # The same checkpoint in a network that is not compiled.
    assert train("resume=parts", "trainer.compile=off", "trainer.max_epochs=3").code == 0


@pytest.mark.parametrize("step", ["trainer.compile_step=false", "trainer.compile_step=true"])
@pytest.mark.parametrize(
    "model", ["lenet5", *(pytest.param(m, marks=pytest.mark.slow) for m in ("article", "resnet20"))]
)
def test_a_run_compiles_three_shapes_at_most_and_breaks_no_graph(train, monkeypatch, model, step):
    """Odd batches are computed layer by layer. On a processor with AMX, layers are replaced by others."""
    monkeypatch.setattr("cnnlab.build.run.has_matrix_tiles", lambda: True)
    graphs: list[int] = []
    original = torch.compile

    def backend(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.extend(len(x) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[-1] >= 16)
        return module.forward

    monkeypatch.setattr(torch, "compile", lambda f, **_: original(f, backend=backend, fullgraph=True, dynamic=False))
    smaller = {"article": ("model.width=0.25",), "resnet20": ("model.width=0.25", "data.image_size=16")}
    options = (
        f"model={model}",
        *smaller.get(model, ()),
        "data=digits",
        "logger=none",
        "trainer.compile=default",
        step,
        "tta=flip_translate",
    )
    sizes = ("data.batch_size=300", "data.eval_batch_size=100", "trainer.max_epochs=1")
    outcome = train(*options, *sizes, "trainer.precision=bf16-mixed")
    assert outcome.code == 0, outcome.err
    # 1,349 images train: 4 batches of 300 and one of 149. 149 validate, 299 test: batches of 100, and 49 and 99 left.
    assert graphs == [300, 100]
