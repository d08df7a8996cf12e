import gzip
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.errors import CaseError, GeometryError, LabelError, RunError
from glioscope.files import atomic_path, remove_scratch, write_text
from glioscope.space import grid as geometry
from glioscope.space.grid import Grid
from glioscope.space.volumes import VolumeFile, read_grid, read_labels, read_volume, read_volumes, write_volume

GRID = Grid((3, 4, 5), np.array([[-1.0, 0, 0, 7], [0, 2, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]]))
DATA = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def save(path: Path, data: np.ndarray, affine: np.ndarray = GRID.affine) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / name, DATA, GRID)
    volume = read_volume(tmp_path / name)
    assert volume.grid.matches(GRID)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, DATA)
    assert read_grid(tmp_path / name).matches(GRID)


def test_masks_are_stored_as_bytes_and_the_header_says_millimetres(tmp_path: Path) -> None:
    write_volume(tmp_path / "m.nii.gz", DATA > 30, GRID)
    image = nib.load(tmp_path / "m.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["sform_code"] == image.header["qform_code"] == 1


def test_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2, 10)
    nib.save(image, tmp_path / "s.nii.gz")
    on_disk = nib.load(tmp_path / "s.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "s.nii.gz").data, on_disk.get_fdata())


def test_one_volume_of_a_4d_file(tmp_path: Path) -> None:
    path = save(tmp_path / "d.nii.gz", np.stack([DATA, DATA + 100], axis=-1))
    np.testing.assert_array_equal(read_volume(VolumeFile(path, 1)).data, DATA + 100)
    with pytest.raises(CaseError, match=r"d\.nii\.gz: has shape \(3, 4, 5, 2\); one 3-D volume is needed"):
        read_volume(path)
    with pytest.raises(CaseError, match="channel 2 of a 4-D file was wanted"):
        read_volume(VolumeFile(path, 2))


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "t.nii.gz", DATA[..., None])).data.shape == (3, 4, 5)


def test_several_files_in_order(tmp_path: Path) -> None:
    files = [VolumeFile(save(tmp_path / f"{n}.nii.gz", DATA + n)) for n in range(3)]
    assert [v.data[0, 0, 0] for v in read_volumes(files)] == [0, 1, 2]
    assert len(read_volumes(files[:1])) == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no such file"):
        read_volume(tmp_path / "absent.nii.gz")


# Fixed names, and no time of writing in the gzip header: each worker must collect the same tests.
@pytest.mark.parametrize(
    "content",
    [b"", b"not nifti at all", gzip.compress(b"nor is this", mtime=0)],
    ids=["empty", "text", "text-in-gzip"],
)
def test_files_that_are_not_nifti(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.nii.gz").write_bytes(content)
    with pytest.raises(CaseError, match="not a readable NIfTI file"):
        read_volume(tmp_path / "x.nii.gz")


def test_truncated_gzip(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    path = save(tmp_path / "cut.nii.gz", noise)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CaseError, match=r"cut\.nii\.gz: voxels cannot be read .*truncated or damaged, copy it again"):
        read_volume(path)


def test_complex_voxels(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="voxels are complex64, not real numbers"):
        read_volume(save(tmp_path / "c.nii.gz", DATA.astype(np.complex64)))


def test_another_format(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(DATA, GRID.affine), tmp_path / "x.mgz")
    with pytest.raises(CaseError, match=r"is MGHImage, not NIfTI; convert it to \.nii\.gz"):
        read_volume(tmp_path / "x.mgz")


def test_an_impossible_header_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "MAX_VOXELS", 59)
    with pytest.raises(GeometryError, match=r"big\.nii\.gz: grid has shape \(3, 4, 5\), 0 million voxels; at most"):
        read_volume(save(tmp_path / "big.nii.gz", DATA))


def test_a_singular_affine_names_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "flat.nii.gz", DATA)
    image = nib.load(path)
    image.header["srow_y"] = 0
    nib.save(nib.Nifti1Image(DATA, None, image.header), path)
    with pytest.raises(GeometryError, match=r"flat\.nii\.gz: grid has a singular affine"):
        read_volume(path)


def test_label_maps_are_whole_numbers(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.float32)
    labels[0, 0, 0] = 4
    assert read_labels(save(tmp_path / "l.nii.gz", labels)).data.dtype == np.uint8
    labels[1, 1, 1] = 0.5
    with pytest.raises(LabelError, match=r"p\.nii\.gz: 1 voxels hold values such as 0\.5"):
        read_labels(save(tmp_path / "p.nii.gz", labels))
    labels[1, 1, 1] = np.nan
    with pytest.raises(LabelError, match="such as nan"):
        read_labels(VolumeFile(save(tmp_path / "n.nii.gz", labels)))
    with pytest.raises(LabelError, match="such as 300"):
        read_labels(save(tmp_path / "i.nii.gz", np.full((2, 2, 2), 300, np.int16)))


def test_writing_refuses_another_shape(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"o\.nii\.gz: array has shape \(3, 4\) but its grid \(3, 4, 5\)"):
        write_volume(tmp_path / "o.nii.gz", DATA[..., 0], GRID)


def test_a_failed_write_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_text(path, None)  # type: ignore[arg-type]
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be written .* choose another output folder"):
        write_text(tmp_path / "file" / "x.txt", "x")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match=r"x\.txt: cannot be written \(No space left on device\); free space"):
        write_text(tmp_path / "x.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf8_comes_back_from_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")  # Latin-1, as old file servers have it
    write_text(tmp_path / "x.json", json.dumps({"file": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"file": name}


def test_values_whose_squares_overflow_are_infinite(tmp_path: Path) -> None:
    data = DATA.astype(np.float64)
    data[0, 0, :4] = (3e38, -2e18, np.nan, 9e17)
    read = read_volume(save(tmp_path / "v.nii.gz", data)).data
    np.testing.assert_array_equal(read[0, 0], np.array([np.inf, -np.inf, np.nan, 9e17, 4], np.float32))
    np.testing.assert_array_equal(read[1:], DATA[1:])


def test_only_a_file_is_opened(tmp_path: Path) -> None:
    """To open a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "loop.nii.gz").symlink_to("loop.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("pipe", "loop", "folder"):
        with pytest.raises(CaseError, match=rf"{name}\.nii\.gz: is not a file but a folder, a pipe or a link"):
            read_volume(tmp_path / f"{name}.nii.gz")


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(CaseError, match=r"x\.nii: cannot be reached \(Permission denied\)"):
        read_volume(tmp_path / "x.nii")


def test_too_little_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "m.nii.gz", DATA)

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nibabel.arrayproxy.ArrayProxy.__array__", no_memory)
    with pytest.raises(CaseError, match=r"m\.nii\.gz: not enough memory for shape \(3, 4, 5\)"):
        read_volume(path)


@pytest.mark.parametrize("channel", [None, 0, 1])
def test_one_wrong_bit_anywhere_in_a_compressed_file_is_found(tmp_path: Path, channel: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (8, 8, 8, 2) if channel is not None else (8, 8, 8))
    path = save(tmp_path / "bit.nii.gz", noise.astype(np.int16))
    sound = path.read_bytes()
    whole = read_volume(VolumeFile(path, channel)).data
    for place in range(10, len(sound), 23):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << place % 8]) + sound[place + 1 :])
        try:
            np.testing.assert_array_equal(read_volume(VolumeFile(path, channel)).data, whole)  # a bit that says nothing
        except CaseError as error:
            assert "bit.nii.gz" in str(error)  # noqa: PT017


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    kept = {".DS_Store", ".nfs000000000001", "segmentation.nii.gz", ".hidden.json"}
    for name in kept:
        (tmp_path / name).touch()
    for name in ("segmentation.nii.gz", "summary.json"):
        with atomic_path(tmp_path / name) as scratch:
            left = scratch.read_bytes(), scratch.name
        (tmp_path / left[1]).touch()  # as if the process had been killed before the renaming
    remove_scratch(tmp_path)
    remove_scratch(tmp_path / "absent")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"summary.json"}
