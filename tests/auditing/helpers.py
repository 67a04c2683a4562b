"""Write images for the tests of audits."""

from pathlib import Path

import numpy as np
from PIL import Image


def save(pixels: np.ndarray, file: Path) -> None:
    Image.fromarray(pixels).save(file)
