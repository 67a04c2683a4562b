"""What the settings of a run become: the images' own wishes, and what an evaluation takes over."""

import pytest

from tests.helpers import TINY, configuration


@pytest.mark.parametrize(
    ("arguments", "batch_size", "flip"),
    [
        (["data=digits"], 32, "none"),
        (["data=digits", "recipe=standard", "data.mirror=true"], 32, "random"),
        (["data=digits", "data.batch_size=64", "augmentation.flip=none"], 64, "none"),
        (["data=digits", "experiment=demo"], 32, "none"),
        (["data=digits", "experiment=large"], 300, "none"),
    ],
    ids=["alone", "mirrored", "as before", "demo", "experiment"],
)
def test_the_digits_have_small_batches_and_are_not_mirrored(train, tmp_path, arguments, batch_size, flip):
    (tmp_path / "experiments").mkdir()
    large = "# @package _global_\ndefaults: [{override /recipe: standard}]\ndata: {batch_size: 300}\n"
    (tmp_path / "experiments" / "large.yaml").write_text(large)
    others = [option for option in TINY if not option.startswith("data")]
    outcome = train(*others, *arguments, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    config = configuration(tmp_path / "run")
    assert (config["data"]["batch_size"], config["augmentation"]["flip"]) == (batch_size, flip)


def test_images_of_your_own_may_say_that_they_must_not_be_mirrored(train, photo_folders, tmp_path):
    folder = ("data=folder", f"data.path={photo_folders}", "model=lenet5", "logger=none", "trainer.max_epochs=1")
    assert train(*folder, "data.mirror=false", "hydra.run.dir=run").code == 0
    assert configuration(tmp_path / "run")["augmentation"]["flip"] == "none"
    refused = train(*folder, "data.mirror=false", "augmentation.flip=random")
    assert (refused.code, "augmentation.flip=random: these images must not be mirrored" in refused.err) == (2, True)
    refused = train(*folder, "data.mirror=no way")
    assert (refused.code, "data.mirror must be true or false, got 'no way'" in refused.err) == (2, True)
