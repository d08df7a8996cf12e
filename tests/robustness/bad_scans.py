"""Bad files, made by code: each takes the path of a sound scan and damages it, or puts something else in its place.

`BROKEN` holds what may lie where a scan is due, with the words of the message; `ODD` what is unusual but valid and must
be read; `LABELS` what may lie where a label map is due.
"""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from tiny import LPS, SHAPE, tiny_images

Damage = Callable[[Path], None]
IMAGE = tiny_images()["t1n"]

UNREADABLE = r"not a readable NIfTI file|voxels cannot be read"
MAX_OF_INT = 2**31 - 1


def content(path: Path) -> bytearray:
    """The unpacked bytes of a scan."""
    return bytearray(gzip.decompress(path.read_bytes()))


def save(path: Path, raw: bytes) -> None:
    path.write_bytes(gzip.compress(raw, 1, mtime=0))


def field(offset: int, form: str, *values: float) -> Damage:
    """Overwrite a field of the header, as nibabel itself would refuse to."""

    def damage(path: Path) -> None:
        raw = content(path)
        struct.pack_into(f"<{form}", raw, offset, *values)
        save(path, raw)

    return damage


def dims(*sizes: int) -> Damage:
    return field(40, f"{len(sizes) + 1}h", len(sizes), *sizes)


def affine(matrix: np.ndarray) -> Damage:
    """Give the header this sform, whatever it is."""
    return field(280, "12f", *np.asarray(matrix, np.float32)[:3].ravel())


def image(array: np.ndarray, matrix: np.ndarray = LPS, kind: type = nib.Nifti1Image) -> Damage:
    return lambda path: nib.save(kind(array, matrix, dtype=array.dtype), path)


def content_of(raw: bytes) -> Damage:
    return lambda path: path.write_bytes(raw) and None


def cut_at(share: float) -> Damage:
    def damage(path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])

    return damage


def in_place(make: Damage) -> Damage:
    """Remove the scan and make something else there."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def with_values(value: float, where: object = (slice(4, 6),)) -> Damage:
    changed = IMAGE.astype(np.float64)
    changed[where] = value
    return image(changed)


def big_endian(path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(np.float32).newbyteorder(">"))
    header.set_data_shape(SHAPE)
    nib.save(nib.Nifti1Image(IMAGE, LPS, header), path)
    assert content(path)[:4] == b"\x00\x00\x01\x5c"


def qform_elsewhere(path: Path) -> None:
    picture = nib.Nifti1Image(IMAGE, LPS)
    picture.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    picture.set_sform(LPS, code=1)
    nib.save(picture, path)


def extension_without_end(path: Path) -> None:
    picture = nib.Nifti1Image(IMAGE, LPS)
    picture.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100))
    nib.save(picture, path)
    raw = content(path)
    struct.pack_into("<i", raw, 352, MAX_OF_INT // 16 * 16)
    save(path, raw)


def spaced(mm: float) -> np.ndarray:
    return np.diag([-mm, -mm, mm, 1.0])


def bomb(path: Path) -> None:
    """A few kilobytes that claim, and hold, a volume of a gigabyte."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((1024, 1024, 600))
    header.set_sform(LPS, code=1)
    header["magic"], header["vox_offset"] = b"n+1\x00", 352
    with gzip.open(path, "wb", 9) as packed:
        packed.write(header.binaryblock + bytes(4))
        packed.write(bytes(2**25))


def bomb_behind(path: Path) -> None:
    """A sound scan with 200 MB of zeros behind it."""
    with gzip.open(path, "ab", 9) as packed:
        for _ in range(200):
            packed.write(bytes(2**20))


def colours(path: Path) -> None:
    voxels = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(voxels, LPS), path)


TURNED = np.array([[0.7, -0.7, 0, 5], [0.7, 0.7, 0, 5], [0, 0, 1, 5], [0, 0, 0, 1]])
SHEARED_FLAT = np.array([[1, 1, 0, 0], [1, 1.00001, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

BROKEN: dict[str, tuple[Damage, str]] = {
    # what is not NIfTI at all
    "empty-file": (content_of(b""), UNREADABLE),
    "one-byte": (content_of(b"\x1f"), UNREADABLE),
    "text": (content_of(b"This is not a scan.\n"), UNREADABLE),
    "zeros": (content_of(bytes(4096)), UNREADABLE),
    "html-page": (content_of(b"<html><body>404 Not Found</body></html>"), UNREADABLE),
    "zip-named-gz": (content_of(b"PK\x03\x04" + bytes(400)), UNREADABLE),
    "gzip-of-text": (content_of(gzip.compress(b"This is not a scan.", mtime=0)), UNREADABLE),
    "gzip-of-gzip": (lambda p: save(p, p.read_bytes()), UNREADABLE),
    "not-packed-but-named-gz": (lambda p: p.write_bytes(content(p)) and None, UNREADABLE),
    "git-lfs-pointer": (content_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), UNREADABLE),
    "link-to-itself": (in_place(lambda p: p.symlink_to(p.name)), "not a file but a folder, a pipe or a link"),
    "link-to-nothing": (in_place(lambda p: p.symlink_to("gone.nii.gz")), "not a file but a folder, a pipe or a link"),
    "pipe": (in_place(os.mkfifo), "not a file but a folder, a pipe or a link"),
    "device": (in_place(lambda p: p.symlink_to("/dev/zero")), "not a file but a folder, a pipe or a link"),
    "unreadable-memory": (in_place(lambda p: p.symlink_to("/proc/self/mem")), r"read|reached"),
    # headers
    "wrong-magic": (field(344, "4s", b"bad\x00"), UNREADABLE),
    "header-alone": (lambda p: save(p, content(p)[:352]), UNREADABLE),
    "half-a-header": (lambda p: save(p, content(p)[:176]), UNREADABLE),
    "voxels-begin-at-2-gb": (field(108, "f", 2e9), UNREADABLE),
    "voxels-begin-at-nan": (field(108, "f", float("nan")), UNREADABLE),
    "voxels-begin-below-0": (field(108, "f", -400.0), UNREADABLE),
    "extension-without-end": (extension_without_end, UNREADABLE),
    "type-unknown": (field(70, "2h", 77, 16), UNREADABLE),
    "type-none": (field(70, "2h", 0, 0), UNREADABLE),
    # sizes
    "no-axes": (field(40, "h", 0), r"shape \(0?,?\)|not a readable"),
    "nine-axes": (field(40, "h", 9), UNREADABLE),
    "axis-of-0": (dims(20, 0, 16), r"shape \(20, 0, 16\)|" + UNREADABLE),
    "axis-below-0": (dims(20, -24, 16), r"shape \(20, -24, 16\)|" + UNREADABLE),
    "more-voxels-than-there-are": (dims(20, 24, 17), "voxels cannot be read|must share one grid"),
    "huge-sizes": (dims(32767, 32767, 32767), "million voxels; at most"),
    "seven-huge-axes": (dims(*[32767] * 7), r"one 3-D volume is needed"),
    "gzip-bomb": (bomb, "629 million voxels; at most 268 million are taken"),
    "1-d": (image(np.arange(100, dtype=np.float32)), r"shape \(100,\); one 3-D volume is needed"),
    "2-d": (image(IMAGE[..., 5]), r"shape \(20, 24\); one 3-D volume is needed"),
    "4-d": (image(np.stack([IMAGE] * 3, -1)), r"shape \(20, 24, 16, 3\); one 3-D volume is needed"),
    "5-d": (image(np.stack([IMAGE] * 3, -1)[:, :, :, None]), r"one 3-D volume is needed"),
    "7-d": (image(np.zeros((4, 4, 4, 2, 2, 2, 2), np.float32)), r"one 3-D volume is needed"),
    # types
    "complex": (image(IMAGE.astype(np.complex64)), "voxels are complex64, not real numbers"),
    "colours": (colours, "not real numbers"),
    # place
    "affine-nan": (affine(np.full((4, 4), np.nan)), "finite 4x4"),
    "affine-infinite": (affine(np.full((4, 4), np.inf)), "finite 4x4"),
    "affine-zero": (affine(np.zeros((4, 4))), "singular"),
    "affine-flat": (affine(SHEARED_FLAT), "singular"),
    "affine-huge": (affine(np.eye(4) * 1e30), "mm in it"),
    "affine-tiny": (affine(np.eye(4) * 1e-30), "mm; a scan has"),
    "origin-far-away": (affine(LPS + np.diag([1e9, 0, 0], 1)), "mm in it"),
    "voxels-of-10-um": (affine(spaced(0.01)), r"voxels of 0\.01 x 0\.01 x 0\.01 mm; a scan has"),
    "voxels-of-1-m": (affine(spaced(1000)), "voxels of 1000 x .* mm; a scan has .* metres"),
    # truncation
    **{f"cut-at-{n}-of-8": (cut_at(n / 8), UNREADABLE) for n in range(1, 8)},
    "cut-by-4-bytes": (lambda p: p.write_bytes(p.read_bytes()[:-4]) and None, "voxels cannot be read"),
    "checksum-wrong": (lambda p: p.write_bytes(p.read_bytes()[:-8] + bytes(8)) and None, "voxels cannot be read"),
    # values
    "constant": (image(np.full(SHAPE, 7, np.float32)), "constant"),
    "all-nan": (image(np.full(SHAPE, np.nan, np.float32)), "constant|NaN"),
    "all-infinite": (image(np.full(SHAPE, np.inf, np.float32)), "constant|infinite"),
    "beyond-float32-everywhere": (image(np.full(SHAPE, 1e300)), "constant|infinite"),
}
"""Name to damage and the words of the message."""

ODD: dict[str, Damage] = {
    "big-endian": big_endian,
    "slope-0": field(112, "2f", 0.0, 0.0),
    "slope-nan": field(112, "2f", float("nan"), 0.0),
    "slope-infinite": field(112, "2f", float("inf"), 0.0),
    "wrong-header-size": field(0, "i", 349),
    "some-nan": with_values(np.nan),
    "some-infinite": with_values(np.inf),
    "beyond-float32": with_values(1e300),
    "near-the-end-of-float32": with_values(3e38),
    "below-0": with_values(-500.0),
    "int64": image(IMAGE.astype(np.int64) * 10**6),
    "uint64": image(IMAGE.astype(np.uint64)),
    "float64": image(IMAGE.astype(np.float64)),
    "int8": image((IMAGE / 4).astype(np.int8)),
    "bytes-of-0-and-1": image((IMAGE > 0).astype(np.uint8)),
    "nifti-2": image(IMAGE, LPS, nib.Nifti2Image),
    "trailing-axes-of-1": image(IMAGE[..., None, None]),
    "qform-elsewhere": qform_elsewhere,
    "no-form-at-all": field(252, "2h", 0, 0),
    "units-of-nothing": field(123, "b", 0),
    "zeros-behind": bomb_behind,
    "several-gzip-members": lambda p: p.write_bytes(p.read_bytes() + gzip.compress(b"", mtime=0)) and None,
}
"""Unusual and valid: must be read (alone, its case may well be refused for another reason, such as its grid)."""

LABELS: dict[str, tuple[Damage, str]] = {
    "floats": (image(np.where(IMAGE > 0, 0.5, 0).astype(np.float32)), "values such as 0.5"),
    "a-scan": (image(IMAGE + np.float32(0.25)), "values such as"),
    "huge-labels": (image(np.where(IMAGE > 0, 70_000, 0).astype(np.int32)), "values such as 70000"),
    "labels-below-0": (image(np.where(IMAGE > 0, -1, 0).astype(np.int16)), "values such as -1"),
    "labels-nan": (image(np.where(IMAGE > 0, np.nan, 0).astype(np.float32)), "values such as nan"),
    "unknown-label": (image(np.where(IMAGE > 0, 99, 0).astype(np.uint8)), r"label 99"),
    "other-grid": (image((IMAGE > 0).astype(np.uint8), TURNED), "both must share one grid"),
}
