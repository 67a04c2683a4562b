"""Decide which folders are splits and which are classes, or refuse to guess."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from unicodedata import normalize

from cnnlab.data.findings import listed
from cnnlab.data.sources.tree import IMAGE_SUFFIXES, Folder, scan
from cnnlab.errors import RequestError
from cnnlab.words import did_you_mean

# Names of the folders of a split, in lower case; any case is read.
SPLITS = {
    "train": frozenset({"train", "training"}),
    "test": frozenset({"test", "testing"}),
    "validation": frozenset({"val", "valid", "validation", "dev"}),
}
# Words in names that may be those of splits too.
SPLIT_WORDS = frozenset.union(*SPLITS.values()) | {"eval", "evaluation", "holdout", "heldout", "tst", "trn", "trainval"}
SPLIT_WORDS |= {f"{word}{suffix}" for word in ("train", "test", "val", "dev") for suffix in ("set", "data", "images")}
# Names of the parts of data sets for detection and segmentation, and of folders around the classes.
PARTS = frozenset({"images", "image", "imgs", "img", "jpegimages", "labels", "annotations", "masks", "mask"})
PARTS |= {"groundtruth", "gt", "segmentationclass", "segmentationobject", "depth"}
AROUND = frozenset({"images", "imgs", "data"})

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
PARTS_OF = "parts of a data set for detection or segmentation"
TABLE = "put each class into a folder, or name a table of images and labels: data.path=labels.csv"


@dataclass
class Layout:
    """Say which folders hold the images of each class in each split: `train`, and perhaps `val` and `test`."""

    classes: tuple[str, ...]  # names by class number
    splits: dict[str, list[Folder | None]]  # a folder for each class; None if it has no images there
    folders: dict[str, Folder]  # that hold those of a split
    places: str = ""  # names of these, for the user
    ignored: Counter[str] = field(default_factory=Counter)  # number of things that were left out, by what they are
    remarks: list[str] = field(default_factory=list)  # what else the user should know


def find_layout(root: Folder) -> Layout:
    """Return the layout of a folder: class folders, or folders of splits that hold them.

    Raises:
        RequestError: if there are none, or if they can be understood in several ways; names the key that decides.
    """
    kids = root.kids
    nested = [kid for kid in kids if kid.kids and not _is_flat(kid)]
    named = {split: [kid for kid in nested if kid.name.lower() in names] for split, names in SPLITS.items()}
    if twice := next((folders for folders in named.values() if len(folders) > 1), None):
        _refuse([*twice, *(kid for kid in nested if kid not in twice)], "include a split twice")
    train, test, val = (next(iter(named[split]), None) for split in ("train", "test", "validation"))
    if not train:
        _check_classes(root, kids, nested)
        return _match(root, None, None, root)
    others = [kid for kid in kids if kid not in (train, test, val)]
    if more := [kid for kid in others if kid in nested and _looks_like_a_split(kid)]:
        _refuse([folder for folder in (train, val, test, *more) if folder], "look like splits")
    if not test and not val and not all(map(_looks_like_a_split, others)):
        _refuse([train], f"may be a split, or a class like {_names(others)}")
    layout = _match(train, test, val, root)
    _note_empty_folders(root, layout)
    layout.ignored.update(root.ignored, **{f"images in {kid.name}/": kid.images for kid in others})
    layout.ignored["images outside the class folders"] += len(root.names)
    return layout


def chosen_layout(root: Path, choice: Mapping[str, object]) -> Layout:
    """Return the layout that `data.splits` asks for: a folder for each split, relative to `root`.

    Raises:
        RequestError: if a folder does not exist or holds no class folders.
    """
    paths = {split: (root / str(name)).absolute() for split, name in choice.items() if name is not None}
    found: dict[str, Folder] = {}
    for split, path in paths.items():
        if not path.is_dir():
            raise RequestError(f"data.splits: {path} is not a folder")
        folder = scan(path)
        # In {train: ., test: other}, the folder `other` is no class.
        folder.folders = [kid for kid in folder.folders if Path(kid.path) not in paths.values()]
        while _is_around(folder):
            folder = folder.kids[0]
        if not folder.kids:
            raise RequestError(f"data.splits: {path} holds no class folders with images")
        found[split] = folder
    return _match(found["train"], found.get("test"), found.get("val"))


def _match(train: Folder, test: Folder | None, val: Folder | None, root: Folder | None = None) -> Layout:
    """Match the class folders of the splits by name. Without `test`, `val` holds the test images.

    `root` is the folder that holds the splits, if the user has not chosen them; it may be `train`.
    """
    found = {"train": train, "val": val if test else None, "test": test or val}
    folders = {split: _unwrapped(f) if f is not root and root else f for split, f in found.items() if f}
    names = [kid.name for kid in folders["train"].kids]
    if len(names) < 2:
        raise RequestError(f"data: at least two classes are needed, {train.path} holds {listed(names)} alone")
    numbers = {normalize("NFC", name): number for number, name in enumerate(names)}
    layout = Layout(tuple(names), {split: [None] * len(names) for split in folders}, folders)
    for split, folder in folders.items():
        for kid in folder.kids:
            if (number := numbers.get(normalize("NFC", kid.name))) is None:
                near = did_you_mean(kid.name, names) if len(names) < 1000 else ""
                out = f". 'data.splits={{train: {quoted(train.name)}}}' leaves {folder.name}/ out" if root else ""
                raise RequestError(
                    f"data.path: {folder.path} has a class that {train.name}/ lacks: {kid.name}{near}{out}"
                )
            layout.splits[split][number] = kid
        _note_empty_folders(folder, layout)
        layout.ignored["images outside the class folders"] += len(folder.names)
        for place in folder.everything():
            layout.ignored.update(place.ignored)
    shown = [f"{folder.name}/" for folder in folders.values()]
    layout.places = " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
    return layout


def _note_empty_folders(folder: Folder, layout: Layout) -> None:
    if empty := [f"{kid.name}/" for kid in folder.folders if not kid.images]:
        layout.ignored["folders without images"] += len(empty)
        layout.remarks.append(f"no images in {listed(empty, 3)}")


def _check_classes(root: Folder, kids: Sequence[Folder], nested: Sequence[Folder]) -> None:
    """Raise RequestError unless the folders in `root` can be nothing but classes."""
    if len(kids) < 2:
        _refuse_too_few(root)
    if not nested and all(map(_looks_like_a_split, kids)):
        raise RequestError(f"data.path: {_names(kids)} in {root.path} hold images, but no class folders; {TABLE}")
    if same := _same_folders(kids):
        if PARTS.issuperset(map(str.lower, same)):
            raise RequestError(f"data.path: {_names(kids)} in {root.path} hold {PARTS_OF}: {listed(same)}; {TABLE}")
        if all(name.lower() in frozenset.union(*SPLITS.values()) for name in same):
            raise RequestError(
                f"data.path: {_names(kids)} in {root.path} hold splits ({listed(same)}); data.path={kids[0].path} "
                f"reads one. If they are classes, put them into the splits, as {same[-1]}/{kids[0].name}, or {TABLE}"
            )
        _refuse(kids, f"hold the same folders ({listed(same, 3)})")
    beside = {kid.name for kid in kids}
    for kid in nested:
        if len(same := sorted(beside & {within.name for within in kid.kids})) > 1:
            raise RequestError(
                f"data.path: {kid.path} holds folders named like those beside it ({listed(same, 3)}); "
                f"data.path={kid.path} reads those inside, 'data.splits={{train: .}}' takes {kid.name} for a class"
            )
    if any(map(_looks_like_a_split, nested)):
        _refuse(kids, "look like splits")
    if odd := [kid for kid in kids if kid.name.lower() in SPLITS["test"] | SPLITS["validation"]]:
        raise RequestError(
            f"data.path: {_names(odd)} in {root.path} may be a class or a split. If it is a class: "
            "'data.splits={train: .}'. If not, move it elsewhere"
        )
    if all(re.sub("[^a-z]", "", kid.name.lower()) in PARTS for kid in kids):
        raise RequestError(
            f"data.path: {_names(kids)} in {root.path} look like {PARTS_OF}. As classes: 'data.splits={{train: .}}'. "
            f"Otherwise {TABLE}"
        )


def _unwrapped(folder: Folder) -> Folder:
    """Go down from a folder such as `train/` to `train/train/` or `train/images/`, if that holds the classes."""
    while _is_around(folder) and folder.kids[0].name.lower() in AROUND | {folder.name.lower()}:
        folder = folder.kids[0]
    return folder


def _is_flat(folder: Folder) -> bool:
    """Return whether all images of a folder lie in a single folder such as `images/`."""
    return len(folder.kids) == 1 and not folder.kids[0].kids and folder.kids[0].name.lower() in AROUND


def _is_around(folder: Folder) -> bool:
    """Return whether a folder holds nothing but another folder with folders of images."""
    return not len(folder.names) and len(folder.kids) == 1 and len(folder.kids[0].kids) > 0


def _looks_like_a_split(folder: Folder) -> bool:
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", folder.name)]
    return not SPLIT_WORDS.isdisjoint([*words, "".join(words)])


def _same_folders(kids: Sequence[Folder]) -> list[str]:
    """Return the names of folders that are in all the given ones, perhaps one level lower, if there are several."""
    inside = []
    for kid in kids:
        while _is_around(kid):
            kid = kid.kids[0]
        inside.append({folder.name for folder in kid.kids})
    common = sorted(set.intersection(*inside))
    return common if len(common) > 1 else []


def _refuse(folders: Sequence[Folder], why: str) -> NoReturn:
    """Raise a RequestError that names both choices: the folders are splits, or classes."""
    chosen: dict[str, Folder] = {}
    for split, names in SPLITS.items():
        like = (f for f in folders if not names.isdisjoint(re.findall("[a-z]+", f.name.lower())))
        if found := next((f for f in like if f not in chosen.values()), None):
            chosen["val" if split == "validation" else split] = found
    rest = [folder for folder in folders if folder not in chosen.values()]
    if "train" not in chosen:
        chosen["train"] = rest.pop(0) if rest else chosen.pop("val", folders[0])
    if "test" not in chosen and (rest or "val" in chosen):
        chosen["test"] = rest[0] if rest else chosen.pop("val")
    choice = ", ".join(
        f"{split}: {quoted(chosen[split].name)}" for split in ("train", "val", "test") if split in chosen
    )
    raise RequestError(
        f"data.path: {_names(folders)} in {Path(folders[0].path).parent} {why}. As splits: 'data.splits={{{choice}}}'. "
        "As classes: 'data.splits={train: .}'"
    )


def quoted(name: str) -> str:
    """Return a name as Hydra reads it within a dictionary."""
    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else '"' + name.replace('"', r"\"") + '"'


def _names(folders: Sequence[Folder]) -> str:
    names = [f"{folder.name}/" for folder in folders]
    return " and ".join(names) if len(names) < 3 else listed(names, 4)


def _refuse_too_few(root: Folder) -> NoReturn:
    """Say where the classes are if the given folder is too high or too low, or what is missing."""
    lower = root
    while len(lower.kids) == 1:
        lower = lower.kids[0]
    if len(lower.kids) > 1:
        inside = _names(lower.kids) if any(map(_looks_like_a_split, lower.kids)) else "the classes"
        raise RequestError(f"data.path: {root.path} holds a single folder; data.path={lower.path} holds {inside}")
    if lower is not root and not _looks_like_a_split(lower) and lower.name.lower() not in PARTS:
        raise RequestError(f"data: at least two classes are needed, {root.path} holds {root.kids[0].name} alone")
    if lower.images:
        upper = Path(root.path).parent
        if lower is root and sum(_holds_an_image(folder) for folder in upper.iterdir()) > 1:
            upper = upper.parent if upper.name.lower() in SPLITS["train"] else upper
            raise RequestError(f"data.path: {root.path} holds images of one class; data.path={upper} holds the classes")
        raise RequestError(f"data.path: {lower.path} holds images, but no class folders; {TABLE}")
    suffixes = sum((folder.suffixes for folder in root.everything()), Counter())
    files = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(3))
    raise RequestError(
        f"data.path: {root.path} holds no images in class folders (class/image.png, or train/class/image.png with "
        f"test/class/image.png), no parquet files and no batches of CIFAR"
        + (f"; its files: {files}" if files else "")
        + ("; unpack the archive" if ARCHIVES & set(suffixes) else "")
    )


def _holds_an_image(folder: Path) -> bool:
    try:
        return any(file.suffix.lower() in IMAGE_SUFFIXES for file in folder.iterdir())
    except OSError:
        return False
