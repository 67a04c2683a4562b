"""Tables of paths and labels."""

import os
from pathlib import Path

import pytest
from PIL import Image

from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


@pytest.fixture
def table(tmp_path: Path):
    """Writes a table, and the images 0.png to 3.png beside it."""
    for i in range(4):
        Image.new("RGB", (2, 2), (i, 0, 0)).save(tmp_path / f"{i}.png")

    def write(text: str, name: str = "labels.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("image,label\n0.png,cat\n1.png,dog\n2.png,cat\n3.png,dog\n", ("cat", "dog")),
        (
            '\ufeffImage;Label\n"0.png";"x; y"\n\n1.png;z\n2.png;z\n3.png;x; y\n'.replace("3.png;x; y", '3.png;"x; y"'),
            ("x; y", "z"),
        ),
        ("label\timage\n10\t0.png\n9\t1.png\n9\t2.png\n10\t3.png\n", ("9", "10")),
        ("id,file_name,class\n1,0.png,a\n2,1.png,b\n3,2.png,a\n4,.\\3.png,b\n", ("a", "b")),
    ],
    ids=["commas", "semicolons, quotes and a byte order mark", "tabs and numbers", "usual names and backslashes"],
)
def test_tables_of_many_forms_are_read(table, text: str, classes: tuple[str, ...]) -> None:
    source = find_source(None, table(text))
    raw = source.read()
    assert raw.classes == classes
    assert [Path(os.fsdecode(raw.train.images[i])).name for i in range(4)] == ["0.png", "1.png", "2.png", "3.png"]
    assert raw.test is None
    assert source.findings().places.startswith("labels.csv (a part")


def test_the_column_split_decides(table) -> None:
    file = table("image,label,split\n0.png,a,test\n1.png,b,Train\n2.png,a,training\n3.png,b,val\n")
    data = load_images(find_source(None, file), 2)
    assert data.train.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.train.labels.tolist() == [1, 0, 1]
    assert (data.test.labels.tolist(), data.validation) == ([0], 1)


def test_what_a_table_says_changes_the_fingerprint(table) -> None:
    rows = ["0.png,a,train", "1.png,b,train", "2.png,a,train", "3.png,b,test"]
    seen = set()
    for number, other in ((0, "0.png,b,train"), (2, "2.png,a,test"), (2, "2.png,a,val"), (0, rows[0])):
        changed = [other if i == number else row for i, row in enumerate(rows)]
        source = find_source(None, table("image,label,split\n" + "\n".join(changed)))
        seen |= {load_images(source, 2).fingerprint, source.identity, str(list(source.files()))}
    assert len(seen) == 4 + 4 + 3  # the label is no part of the files: it is added to their fingerprint


def test_other_columns_are_chosen(table) -> None:
    file = table("id,breed,kind,path,file\n0.png,x,1,0.png,\n1.png,y,2,1.png,\n")
    source = find_source(None, file, image_column="id", label_column="breed")
    assert source.read().classes == ("x", "y")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,b\n0.png,x\n", "needs a column image in its first line.* one of a, b"),
        ("path,file,label\n0.png,0.png,x\n", "data.image_column= chooses one of path, file, label"),
        ("image,breed\n0.png,x\n", "data.label_column= chooses one of image, breed"),
        ("image,label\n0.png,x\n1.png,\n,y\n", r"rows without path or label: 2 \(line 3, line 4\)"),
        ("image,label\n0.png,x,y\n", r"have not 2 columns: 1 \(line 2\)"),
        ("image,label,split\n0.png,x,train\n1.png,y,later\n", "whose split is none of train, test, validation"),
        ("image,label\n0.png,x\n0.png,y\n", "another label or split than before"),
        ("image,label,split\n0.png,x,test\n", "no images for training"),
        ("image,label\n", "no images for training"),
        ("", "is empty"),
        ('image,label\n"0.png,x\n', "cannot be read as a table"),
    ],
)
def test_a_table_that_is_unclear_is_refused(table, text: str, part: str) -> None:
    with pytest.raises(RequestError, match=r"^data\.\w+: .*" + part):
        find_source(None, table(text)).read()


def test_other_encodings_and_columns_are_refused(table) -> None:
    file = table("image,label\n0.png,x\n")
    with pytest.raises(RequestError, match="data.label_column: .* has no column breed"):
        find_source(None, file, label_column="breed").read()
    file.write_bytes("image,label\n0.png,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(RequestError, match="is not a text in UTF-8"):
        find_source(None, file).read()


def test_all_missing_files_are_named(table) -> None:
    file = table("image,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(12)))
    with pytest.raises(RequestError, match="8 of 12 images cannot be read: ") as caught:
        load_images(find_source(None, file), 2)
    assert all(str(file.parent / f"{i}.png") in str(caught.value) for i in range(4, 12))
