"""Still images: read upright, written without anything but their pixels."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from anon_jax.anonymize.frames import Frame
from anon_jax.anonymize.reading import check_file
from input_pipeline.errors import DataError
from input_pipeline.video import MAX_PIXELS

# Suffix -> Pillow's name of the format and its options.
FORMATS: dict[str, tuple[str, dict]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"quality": 95}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
}


def read_picture(path: Path) -> Frame:
    """A still image as upright RGB; of several pages the first one, without alpha.

    Raises:
      DataError: it is no image, damaged, or has more than MAX_PIXELS.
    """
    check_file(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {image.width}x{image.height} pixels are more than the limit of "
                    f"{MAX_PIXELS}"
                )
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error


def write_picture(file: BinaryIO, suffix: str, frame: Frame) -> None:
    """Encodes a frame as `suffix`, a key of FORMATS, says."""
    name, options = FORMATS[suffix]
    encoded = io.BytesIO()
    # A new image from the pixels alone: no EXIF, GPS, colour profile or thumbnail.
    Image.fromarray(frame).save(encoded, format=name, **options)
    file.write(encoded.getvalue())
