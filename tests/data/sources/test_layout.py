"""How folders are understood: read, or refused with a line that names the key which decides."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with empty files; a name without a suffix is a folder of two images."""

    def write(*names: str) -> Path:
        root = tmp_path / "set"
        for name in names:
            files = [name] if "." in Path(name).name.lstrip(".") else [f"{name}/1.png", f"{name}/2.jpg"]
            for file in files:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).touch()
        return root

    return write


def within(splits: Sequence[str], classes: Sequence[str] = ("a", "b")) -> list[str]:
    return [f"{split}/{name}" for split in splits for name in classes]


@pytest.mark.parametrize(
    ("names", "classes", "images"),
    [
        (["cat", "dog"], "cat dog", (4, None, 0)),
        (within(["train", "test"]), "a b", (4, 4, 0)),
        (within(["Training", "TEST"]), "a b", (4, 4, 0)),
        (within(["train", "dev"]), "a b", (4, 4, 0)),
        (within(["train", "valid", "test"]), "a b", (8, 4, 4)),
        (within(["train/train", "test/test"]), "a b", (4, 4, 0)),
        (within(["train/images", "test/images"]), "a b", (4, 4, 0)),
        (within(["train", "test"], ["bus", "train"]), "bus train", (4, 4, 0)),
        (["bus", "car", "train"], "bus car train", (6, None, 0)),
        ([str(number) for number in range(10)], "0 1 2 3 4 5 6 7 8 9", (20, None, 0)),
        (["cat/monday", "cat/friday", "dog/sunday"], "cat dog", (6, None, 0)),
        (["train_station", "airport"], "airport train_station", (4, None, 0)),
        (["a/1.bmp", "a/2.TIFF", "a/3.webp", "b/1.gif", "b/2.heic"], "a b", (5, None, 0)),
    ],
)
def test_a_folder_of_one_meaning_is_read(make, names: list[str], classes: str, images: Any) -> None:
    raw = find_source(None, make(*names)).read()
    assert " ".join(raw.classes) == classes
    assert (len(raw.train.labels), raw.test and len(raw.test.labels), raw.validation) == images


@pytest.mark.parametrize(
    ("names", "path", "part"),
    [
        (
            [*within(["seg_train/seg_train", "seg_test/seg_test"]), "seg_pred/seg_pred"],
            "",
            "'data.splits={train: seg_train, test: seg_test}'",
        ),
        (within(["Training_Set", "Test_Set"]), "", "'data.splits={train: Training_Set, test: Test_Set}'"),
        (within(["train", "eval"]), "", "'data.splits={train: train, test: eval}'"),
        (within(["train", "hold-out"]), "", "'data.splits={train: train, test: hold-out}'"),
        (within(["dev", "eval"]), "", "'data.splits={train: eval, test: dev}'"),
        (within(["val", "test"]), "", "'data.splits={train: val, test: test}'"),
        (within(["Art", "Real World"]), "", "'data.splits={train: Art, test: \"Real World\"}'"),
        (within(["amazon/images", "dslr/images"]), "", "hold the same folders (a, b)"),
        (within(["train", "Train"]), "", "include a split twice"),
        ([*within(["train"]), "bus"], "", "may be a split, or a class like bus/"),
        (["cat", "dog", "test"], "", "If it is a class: 'data.splits={train: .}'"),
        (["cat/day", "cat/night", "dog/day", "dog/night"], "", "As classes: 'data.splits={train: .}'"),
        (within(["a", "b"], ["train", "test"]), "", "as train/a"),
        (["rose", "tulip", *within(["flowers"], ["rose", "tulip"])], "", "data.path={root}/flowers"),
        (["flowers/rose", "flowers/tulip"], "", "data.path={root}/flowers holds the classes"),
        (within(["x/y/train", "x/y/test"]), "", "data.path={root}/x/y holds test/ and train/"),
        (["rose", "tulip"], "rose", "data.path={root} holds the classes"),
        (within(["train", "test"]), "train/a", "data.path={root} holds the classes"),
        (["train", "test", "train.csv"], "", "data.path=labels.csv"),
        (["1.png", "2.png"], "", "data.path=labels.csv"),
        (["images", "masks"], "", "detection or segmentation"),
        (within(["ill", "well"], ["images", "masks"]), "", "detection or segmentation"),
        (["cat"], "", "at least two classes are needed"),
        (["a/notes.txt", "flowers.zip"], "", "1 .zip, 1 .txt; unpack the archive"),
        ([*within(["train"]), "test/unknown"], "", "'data.splits={train: train}' leaves test/ out"),
        (["a", "x.zip"], "x.zip", "is an archive; unpack it"),
        (["a", "x.tar.gz"], "x.tar.gz", "is an archive; unpack it"),
        (["a", "b"], "a/1.png", "is a single image"),
    ],
)
def test_a_folder_of_several_meanings_or_none_is_refused(make, names: list[str], path: str, part: str) -> None:
    root = make(*names)
    with pytest.raises(RequestError, match="^data") as caught:
        find_source(None, root / path)
    assert part.replace("{root}", str(root)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "splits", "classes", "images"),
    [
        (
            within(["seg_train/seg_train", "seg_test/seg_test"]),
            {"train": "seg_train", "test": "seg_test"},
            2,
            (4, 4, 0),
        ),
        (within(["x", "y", "z"]), {"train": "x", "val": "y", "test": "z"}, 2, (8, 4, 4)),
        (within(["2019", "2020"]), {"train": 2019, "test": 2020}, 2, (4, 4, 0)),
        ([*within(["train"]), "test/unknown"], {"train": "train"}, 2, (4, None, 0)),
        (["cat", "dog", "test"], {"train": "."}, 3, (6, None, 0)),
        (["a", "b", *within(["held"])], {"train": ".", "test": "held"}, 2, (4, 4, 0)),
    ],
)
def test_the_user_chooses_the_splits(make, names: list[str], splits: Any, classes: int, images: Any) -> None:
    raw = find_source(None, make(*names), splits=splits).read()
    assert len(raw.classes) == classes
    assert (len(raw.train.labels), raw.test and len(raw.test.labels), raw.validation) == images


@pytest.mark.parametrize(
    ("splits", "part"),
    [
        ({"test": "x"}, "must have train"),
        ({"train": "x", "tset": "y"}, "got train, tset"),
        ({"train": "x", "test": "nowhere"}, "nowhere is not a folder"),
        ({"train": "x", "test": "y/a"}, "y/a holds no class folders"),
    ],
)
def test_wrong_splits_are_refused(make, splits: Any, part: str) -> None:
    with pytest.raises(RequestError, match=r"^data\.splits.*" + part):
        find_source(None, make(*within(["x", "y"])), splits=splits)


def test_the_choice_of_splits_changes_what_the_images_are_known_by(make) -> None:
    root = make(*within(["train", "test"]))
    plain, same, other = (
        find_source(None, root, splits=splits)
        for splits in (None, {"train": "train", "test": "test"}, {"train": "test", "test": "train"})
    )
    assert plain.identity == same.identity != other.identity
    assert list(plain.files()) == list(same.files()) != list(other.files())


def test_what_is_left_out_is_counted(make) -> None:
    root = make(
        *within(["train"]),
        *("test", "samples.tif", "train/c/notes.txt", "train/readme.md", "train/x.png", "train/a/.hidden.png"),
        *("train/a/.ipynb_checkpoints", "train/b/@eaDir", "__MACOSX/train/a", "train/a/Thumbs.db"),
    )
    (root / "train" / "a" / "up").symlink_to("..")
    findings = find_source(None, root).findings()
    assert findings.ignored == {
        "images in test/": 2,
        "images outside the class folders": 2,
        "folders without images": 1,
        "files": 2,
        "hidden files": 2,
        "hidden folders": 3,
        "links to a folder above": 1,
    }
    assert findings.places == "train/ (a part of each class is kept for the test)"
    assert findings.remarks == ("no images in c/",)


def test_one_of_several_splits_says_so(make) -> None:
    findings = find_source(None, make(*within(["train", "test"])) / "train").findings()
    assert "would read test/ too" in findings.remarks[0]


@pytest.mark.parametrize("place", ["", "train"])
def test_parquet_files_beside_class_folders_need_a_choice(make, place: str) -> None:
    root = make(*within(["train", "test"]))
    file = root / place / "train.parquet"
    pq.write_table(pa.table({"image": [b"", b""], "label": [0, 1]}), file)
    with pytest.raises(RequestError, match=f"data.path={root / place if place else file}") as caught:
        find_source(None, root)
    assert "'data.splits={train: train, test: test}'" in str(caught.value)
    assert find_source(None, file).count() == 2
    splits = {"train": "train", "test": "test"}
    assert find_source(None, root, splits=splits).identity.startswith("folders")


def test_a_table_without_images_beside_class_folders_is_a_file(make) -> None:
    root = make("a", "b", "damaged.parquet")
    pq.write_table(pa.table({"width": [1, 2]}), root / "sizes.parquet")
    assert find_source(None, root).findings().ignored == {"files": 2}
