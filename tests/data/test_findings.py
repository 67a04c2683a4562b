from cnnlab.data.findings import Findings, listed


def test_the_line_names_classes_images_and_what_was_left_out():
    findings = Findings("train/ and test/", {"hidden files": 1, "empty classes": 2, "files": 0}, ("labels start at 1",))
    line = findings.about(("bird", "cat", "dog", "owl"), {"train": 12_000, "val": 1, "test": 2_000})
    assert line == (
        "4 classes (bird, cat, dog, ...), 12,000 train, 1 val, 2,000 test images from train/ and test/; "
        "ignored: 1 hidden file, 2 empty classes; labels start at 1"
    )


def test_a_source_that_says_nothing_gives_the_numbers():
    assert Findings().about(("a", "b"), {"train": 8, "test": 2}) == "2 classes (a, b), 8 train, 2 test images"


def test_names_of_strangers_stay_on_one_line():
    assert listed(["cat\n\x1b[2Jdog", "owl"]) == "cat\ufffd\ufffd[2Jdog, owl"
    assert listed(["a", "b", "c"], most=2) == "a, b, ... (3 in all)"
