"""A conclusion says what was shown, and no more."""

from dataclasses import replace

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.conclusion import conclude
from cnnlab.runs.reading import find_runs, read_run


def with_verdicts(record, *verdicts):
    """The first section, with other verdicts on the best group and each of the others."""
    (section,) = record.sections
    pairs = [pair for pair in section.pairs if pair.a == section.groups[0].label]
    return replace(
        section, pairs=[replace(pair, verdict=verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    )


def test_what_was_shown_is_told_apart_from_what_may_be_chance(record):
    text = conclude(with_verdicts(record, "better", "no significant difference"))
    assert text.startswith("good is first with a test accuracy of 9")
    assert "It is better than poor: other seeds and test images would show it too." in text
    assert "Its lead over </script><b>|net may be chance." in text


def test_single_runs_show_nothing_in_general(record):
    one_each = "better for these two trained networks; one seed each cannot say more"
    text = conclude(with_verdicts(record, one_each, "not tested"))
    assert "Its lead over poor holds for these trained networks; more runs must show if it does in general." in text
    assert "There are too few runs to tell it from </script><b>|net." in text
    assert "better than" not in text
    over_seeds = "significant over seeds only; other images might differ"
    assert "Its lead over poor holds in part only." in conclude(with_verdicts(record, over_seeds, "better"))


def test_the_cheapest_of_those_that_chance_cannot_tell_apart_is_named(record):
    section = with_verdicts(record, "no significant difference", "better")
    assert "multiplications" not in conclude(section)  # they cost the same
    groups = [replace(section.groups[0], macs=10 * (section.groups[0].macs or 0)), *section.groups[1:]]
    assert (
        "Its lead over poor may be chance, and poor does with 652 k multiplications for an image instead of 6.52 M."
        in (conclude(replace(section, groups=groups)))
    )


def test_one_group_alone_is_compared_with_nothing(make_run, tmp_path):
    make_run(tmp_path / "a", "net", 0, 0.9)
    (section,) = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]).sections
    assert "(a single run). There is no other group to compare it with." in conclude(section)
