"""Say in one line what was read: classes, images, and what was left out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cnnlab.errors import printable

PART_FOR_TEST = " (a part of each class is kept for the test)"


@dataclass(frozen=True)
class Findings:
    """Hold what a source says about itself, beside its classes and images."""

    places: str = ""  # where the images are, such as `train/ and test/`
    ignored: Mapping[str, int] = field(default_factory=dict)  # what was left out, such as `{"hidden files": 3}`
    remarks: tuple[str, ...] = ()  # what else a user should know, such as `the labels start at 1`
    revision: str | None = None  # commit of a data set of the Hugging Face Hub

    def about(self, classes: Sequence[str], images: Mapping[str, int]) -> str:
        """Return the line that a run prints before it starts, from the classes and the number of images by split."""
        shown = ", ".join([*classes[:3], *(["..."] if len(classes) > 3 else [])])
        counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
        line = f"{len(classes):,} classes ({shown}), {counts} images" + (f" from {self.places}" if self.places else "")
        left_out = ", ".join(counted(count, what) for what, count in self.ignored.items() if count)
        return "; ".join([line, *([f"ignored: {left_out}"] if left_out else []), *self.remarks])


def counted(count: int, things: str) -> str:
    """Return a number with what it counts, given in the plural: `1 empty class`, `1,200 files`."""
    if count == 1:
        things = re.sub(r"\b(class|file|folder|image|label|link|row)(es|s)\b", r"\1", things, count=1)
    return f"{count:,} {things}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return the first names as one line, and how many there are if some are left out."""
    return ", ".join(map(printable, names[:most])) + (f", ... ({len(names):,} in all)" if len(names) > most else "")
