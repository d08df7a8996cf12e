"""In `segment` each header is parsed once and the voxels of each file are read once."""

import gzip
from collections import Counter
from pathlib import Path

import nibabel as nib
import pytest

from glioscope.segmentation import SegmentOptions, segment
from glioscope.space.volumes import read_grid
from tiny import write_tiny_case, write_tiny_model


def test_each_header_is_parsed_and_each_file_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, model = write_tiny_case(tmp_path / "data", "p"), write_tiny_model(tmp_path / "model")
    parsed, unpacked = Counter[str](), Counter[str]()
    load, unpack = nib.load, gzip.open

    def counted_load(path: Path, **kwargs: object) -> object:
        parsed[Path(path).name] += 1
        return load(path, **kwargs)

    def counted_unpack(path: Path, *args: object, **kwargs: object) -> object:
        unpacked[Path(path).name] += 1
        return unpack(path, *args, **kwargs)

    monkeypatch.setattr(nib, "load", counted_load)
    monkeypatch.setattr(gzip, "open", counted_unpack)
    result = segment(tmp_path / "data", tmp_path / "out", model=model, options=SegmentOptions(report=False))
    assert result.outcomes[0].status == "done"
    once = dict.fromkeys((f"p-{code}.nii.gz" for code in ("t1c", "t1n", "t2f", "t2w")), 1)
    assert dict(parsed) == once
    assert dict(unpacked) == once
    assert case.is_dir()


def test_a_file_that_was_written_again_is_parsed_again(tmp_path: Path) -> None:
    case = write_tiny_case(tmp_path, "p")
    path = next(case.glob("*.nii.gz"))
    before = read_grid(path)
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata()[:-1].astype("float32"), image.affine), path)
    assert read_grid(path).shape == (before.shape[0] - 1, *before.shape[1:])
