"""A collection of odd image files: what cameras, browsers, old programs and broken downloads leave behind.

Every file comes with the pixels that it shows, or with the reason why it is refused. All are made here, none is copied.
"""

import pytest

pytest.importorskip("PIL", minversion="12", reason="earlier versions of Pillow cannot write all of the odd files")

from tests.odd_files.base import OddFile  # noqa: E402
from tests.odd_files.jpeg import jpegs  # noqa: E402
from tests.odd_files.no_images import no_images  # noqa: E402
from tests.odd_files.others import others  # noqa: E402
from tests.odd_files.png import pngs  # noqa: E402
from tests.odd_files.tiff import tiffs  # noqa: E402


def odd_files() -> dict[str, OddFile]:
    """The files by name; the first word of a name is the kind of the file."""
    return {**jpegs(), **pngs(), **tiffs(), **others(), **no_images()}
