import json
import os

import pytest

from cnnlab.comparison.claims import make_claim, parse, read_claim
from cnnlab.errors import RequestError

TEXT = "resnet20 > lenet5 by 5 with 3 seeds"


def test_a_claim_has_one_form():
    assert parse(TEXT) == ("resnet20", "lenet5", 5.0, 3)
    assert parse(" lenet5, tanh>lenet5 ") == ("lenet5, tanh", "lenet5", 0.0, 3)
    for wrong in ("resnet20", "a > a", "a < b", "a > b by -1", "a > b with 1 seeds"):
        with pytest.raises(RequestError, match="has not the form"):
            parse(wrong)


def test_a_claim_that_was_changed_does_not_count(tmp_path):
    file = make_claim(TEXT, tmp_path / "duel", [], None)
    assert read_claim("resnet20 > lenet5 by 5.0", tmp_path / "duel", None).points == 5
    with pytest.raises(RequestError, match="holds another claim"):
        read_claim("resnet20 > lenet5 by 4", tmp_path / "duel", None)
    with pytest.raises(RequestError, match="holds another claim"):
        read_claim(TEXT, tmp_path / "duel", "macro_f1")
    file.write_text(file.read_text().replace('"points": 5.0', '"points": 1.0'))
    with pytest.raises(RequestError, match="it was changed after it was made"):
        read_claim(TEXT, tmp_path / "duel", None)
    for damaged in ("", "[]", "{}", json.dumps({"sha256": "0"})):
        file.write_text(damaged)
        with pytest.raises(RequestError, match="does not count"):
            read_claim(TEXT, tmp_path / "duel", None)


@pytest.fixture
def claim(command, make_run, tmp_path):
    """Return a function that claims something, makes runs, and judges it."""

    def judged(text: str, seeds: int = 3, make: bool = True) -> str:
        folder = tmp_path / "duel"
        asked = ("runs=duel", f"claim={text}")
        if make:
            for model in ("resnet20", "lenet5"):  # these are there already, and do not count
                make_run(folder / f"old_{model}", model, 0, 0.5, 1000)
            outcome = command("compare", *asked)
            assert outcome.code == 0, outcome.err
            assert "claimed; the runs that start from now on will decide" in outcome.out
        for seed in range(seeds):
            make_run(folder / f"a{seed}", "resnet20", seed, 0.90, 1000)
            make_run(folder / f"b{seed}", "lenet5", seed, 0.80, 1000)
        outcome = command("compare", *asked)
        assert outcome.code == 0, outcome.err
        return outcome.out

    return judged


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("resnet20 > lenet5 by 2", ": held. The difference is +"),
        ("resnet20 > lenet5 by 30", ": refuted."),
        ("lenet5 > resnet20", ": refuted. The difference is -"),
        ("resnet20 > lenet5 by 10", ": not shown."),
        ("resnet20 > lenet5 with 4 seeds", ": not judged yet: resnet20 has 3 of 4 seeds."),
        ("vgg11 > lenet5", ": not judged yet: vgg11 has 0 of 3 seeds."),
    ],
)
def test_a_claim_is_judged_by_the_runs_that_came_later(claim, text, verdict):
    assert verdict in claim(text)


def test_runs_that_were_there_or_are_older_do_not_count(claim, tmp_path):
    assert "not judged yet: no run has started since" in claim("resnet20 > lenet5", seeds=0)
    assert ": held." in claim("resnet20 > lenet5", make=False)
    for run in (tmp_path / "duel").glob("a*"):  # copied from elsewhere, with their dates
        os.utime(run / "config.yaml", (0, 0))
    assert "resnet20 has 0 of 3 seeds" in claim("resnet20 > lenet5", seeds=0, make=False)


def test_a_claim_needs_one_folder(command, make_run, tmp_path):
    run = make_run(tmp_path / "run", "lenet5", 0, 0.5, 100)
    for runs in (f"runs={run}", "runs=[a,b]"):
        outcome = command("compare", runs, "claim=a > b")
        assert (outcome.code, "claim: runs must be one folder" in outcome.err) == (2, True)
