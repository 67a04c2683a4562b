"""Files with the suffix of an image that hold something else."""

import gzip
import io
import zipfile

import numpy as np

from tests.odd_files.base import GREY, RGB, OddFile, encoded

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="4" height="4"/></svg>'


def no_images() -> dict[str, OddFile]:
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, GREY)
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("a.txt", "a")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    files = {
        "empty": (b"", "it is empty"),
        "zeros": (bytes(5000), "nothing but zeros"),
        "noise": (bytes([0, 255, 3, 200, 7, 1]) * 30, "not an image of a known format"),
        "text": (b"no image\n", "it is a text"),
        "text of an error": (b'{"message": "Not Found"}', "it is a text"),
        "text in another alphabet": ("Файл не найден".encode(), "it is a text"),
        "HTML page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "it is an HTML page"),
        "HTML page with a mark": (b"\xef\xbb\xbf\r\n <HTML><svg/></HTML>", "it is an HTML page"),
        "XML error": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "it is a text"),
        "SVG": (SVG, "it is an SVG drawing"),
        "SVG with a header": (b'<?xml version="1.0"?>\n<!-- a -->\n' + SVG, "it is an SVG drawing"),
        "Git LFS pointer": (pointer, "it is a Git LFS pointer: `git lfs pull`"),
        "git-annex pointer": (b"/annex/objects/MD5E-s1--0.jpg\n", "it is a git-annex pointer"),
        "HEIC": (b"\0\0\0\x1cftypheic" + bytes(20) + b"\1", "it is a HEIC photo: `pip install pillow-heif`"),
        "HEIF": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic" + bytes(20) + b"\1", "it is a HEIC photo"),
        "JPEG XL": (b"\xff\x0a" + bytes(20) + b"\1", "it is a JPEG XL image: `pip install pillow-jxl-plugin`"),
        "JPEG XL in a box": (b"\0\0\0\x0cJXL \r\n\x87\n", "it is a JPEG XL image"),
        "raw photo, Fujifilm": (b"FUJIFILMCCD-RAW 0201", "it is a camera's raw photo"),
        "raw photo, Olympus": (b"IIRO\x08\0\0\0", "it is a camera's raw photo"),
        "raw photo, Panasonic": (b"IIU\0\x18\0\0\0", "it is a camera's raw photo"),
        "raw photo, new Canon": (b"\0\0\0\x18ftypcrx \0\0\0\1", "it is a camera's raw photo"),
        "video, MP4": (b"\0\0\0\x18ftypisom\0\0\2\0", "it is a video"),
        "video, Matroska": (b"\x1aE\xdf\xa3\x01\0\0", "it is a video"),
        "video, AVI": (b"RIFF\x24\0\0\0AVI LIST", "it is a video"),
        "PDF": (b"%PDF-1.7\n%\xe2\xe3\n", "it is a PDF document"),
        "PostScript": (encoded(RGB, "EPS"), "it is a drawing"),
        "Windows metafile": (b"\xd7\xcd\xc6\x9a" + bytes(40) + b"\1", "it is a drawing"),
        "DICOM": (bytes(128) + b"DICM\2\0\0\0UL", "it is a DICOM file"),
        "ZIP": (archive.getvalue(), "it is an archive"),
        "gzip": (gzip.compress(b"a" * 100), "it is an archive"),
        "NumPy array": (array.getvalue(), "it is a file of arrays"),
        "parquet": (b"PAR1" + bytes(20) + b"PAR1", "it is a file of arrays"),
        "macOS's other half": (b"\0\5\x16\7\0\2\0\0Mac OS X", "it is what macOS keeps"),
        "Windows thumbnails": (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + b"\1",
            "it is a Windows thumbnail cache",
        ),
    }
    return {f"no image: {name}": OddFile(content, ".jpg", reason=reason) for name, (content, reason) in files.items()}
