"""Single pictures, as people have them: a file of any format that Pillow reads, an opened one, an array or a tensor."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cnnlab.data.images import to_rgb_square
from cnnlab.instantiate import first_line

Picture = str | Path | bytes | Image.Image | np.ndarray | Tensor


class UnreadablePicture(ValueError):
    """A picture that cannot be read: broken, empty, of no known format, or so large that it must be an attack."""


def read_picture(picture: Picture, size: int) -> Tensor:
    """A picture the way that training sees images: RGB, its shorter side resized, the middle cut out.

    Transparency is dropped, 16 bits become 8, EXIF turns the picture, and of an animation the first frame is taken, as
    `cnnlab.data.images` has it for PNG and JPEG files.

    Args:
        picture: a path, the bytes of a file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or
            (C, H, W). Arrays and tensors are uint8, or floats in [0, 1]; C is 1 (grey), 3, or 4 (the last is dropped).
        size: height and width in pixels that it is brought to.

    Returns:
        uint8 (size, size, 3).

    Raises:
        UnreadablePicture: when it cannot be read.
        ValueError: for an array or tensor of another shape, type or range.
    """
    if isinstance(picture, Tensor):
        image = _checked(picture.detach().cpu(), channels_at=0)
    elif isinstance(picture, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(picture))
        image = _checked(tensor, channels_at=-1)
    else:
        image = _opened(picture)
    return to_rgb_square(image, size).permute(1, 2, 0).contiguous()


def _opened(picture: str | Path | bytes | Image.Image) -> Tensor:
    """uint8 (3, H, W)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what it then reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(picture, Image.Image):
                return _rgb(picture)
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else Path(picture)) as opened:
                return _rgb(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadablePicture(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("it is not an image of a known format") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError) as error:  # Pillow raises them all
        raise UnreadablePicture(first_line(error)) from None


def _rgb(picture: Image.Image) -> Tensor:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return torch.from_numpy((values // 257).astype(np.uint8))[None]
    if picture.mode == "F":
        raise ValueError("its values are floats, of which nobody says what is white")
    if picture.mode == "P" or picture.mode == "PA":  # a palette may hold transparent colours, which convert mixes in
        picture = picture.convert("RGBA")
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _checked(values: Tensor, channels_at: int) -> Tensor:
    """uint8 (1 or 3, H, W)."""
    if values.ndim == 2:
        values = values[None]
    elif values.ndim == 3:
        values = values.movedim(channels_at, 0)
    if values.ndim != 3 or values.shape[0] not in (1, 3, 4) or 0 in values.shape:
        order = "(H, W, C)" if channels_at else "(C, H, W)"
        raise ValueError(f"an image must be (H, W) or {order} with 1, 3 or 4 channels, got {tuple(values.shape)}")
    values = values[:3]
    if values.is_floating_point():
        if not 0 <= float(values.min()) <= float(values.max()) <= 1:
            raise ValueError("floats must be in [0, 1]: images are normalized here")
        return (values.float() * 255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise ValueError(f"an image must be uint8 or floats in [0, 1], got {values.dtype}")
    return values
