"""Files as data sets have them: found, named, joined by person; what is not read is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from glioscope.cases import SEQUENCES, case_of_files, load_case, scan_cases, subject_of, survey, with_subjects
from glioscope.cases.schemes import naming_schemes
from glioscope.errors import CaseError
from glioscope.labels import GLIOMA_SCHEMES
from glioscope.space.grid import Grid
from glioscope.space.volumes import read_grid, read_volume, write_volume
from tiny import tiny_images, write_tiny_case


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Case id to role to file, below the folder."""
    found = survey(folder)
    assert found.problems == {}
    return {
        case.case_id: {
            **{code: file.path.relative_to(folder).as_posix() for code, file in case.sequences.items()},
            **({"seg": case.reference.path.relative_to(folder).as_posix()} if case.reference else {}),
        }
        for case in found.cases
    }


def people(folder: Path) -> dict[str, str]:
    return {case.case_id: case.subject_id for case in survey(folder).cases}


def schemes(folder: Path) -> set[tuple[str, ...]]:
    return {naming_schemes(case) for case in survey(folder).cases}


def test_ucsf(tmp_path: Path) -> None:
    case = "UCSF-PDGM-0429"
    names = ("T1", "T1_bias", "T1c", "T1c_bias", "T2", "FLAIR", "FLAIR_bias", "DWI", "SWI", "ADC", "DTI_eddy_FA")
    names += ("brain_segmentation", "brain_parenchyma_segmentation", "tumor_segmentation")
    touch(tmp_path, *[f"{case}_nifti/{case}_{name}.nii.gz" for name in names])
    touch(tmp_path, f"{case}_FU003d_nifti/{case}_FU003d_T1.nii.gz")
    files = read(tmp_path)
    stem = f"{case}_nifti/{case}_"
    assert files[case] == {
        "t1n": f"{stem}T1.nii.gz",
        "t1c": f"{stem}T1c.nii.gz",
        "t2w": f"{stem}T2.nii.gz",
        "t2f": f"{stem}FLAIR.nii.gz",
        "seg": f"{stem}tumor_segmentation.nii.gz",
    }
    assert set(people(tmp_path).values()) == {case}
    assert schemes(tmp_path) == {("brats2018",)}
    unused = {path.name: why for path, why in survey(tmp_path).unused.items()}
    assert len(unused) == 9
    assert unused[f"{case}_ADC.nii.gz"] == "ADC, none of the four sequences"
    assert unused[f"{case}_T1_bias.nii.gz"] == f"also t1n of case {case}; {case}_T1.nii.gz is read"


def test_upenn_with_its_segmentations_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for visit in ("UPENN-GBM-00007_11", "UPENN-GBM-00007_21"):
        for name in ("T1", "T1GD", "T2", "FLAIR"):
            touch(tmp_path, f"images_structural/{visit}/{visit}_{name}.nii.gz")
            touch(tmp_path, f"images_structural_unstripped/{visit}/{visit}_{name}_unstripped.nii.gz")
    touch(tmp_path, "images_segm/UPENN-GBM-00007_11_segm.nii.gz")
    touch(tmp_path, "automated_segm/UPENN-GBM-00007_21_automated_approx_segm.nii.gz")
    files = read(tmp_path)
    assert files["UPENN-GBM-00007_11"]["seg"] == "images_segm/UPENN-GBM-00007_11_segm.nii.gz"
    assert files["UPENN-GBM-00007_11"]["t1c"] == "images_structural/UPENN-GBM-00007_11/UPENN-GBM-00007_11_T1GD.nii.gz"
    assert "seg" not in files["UPENN-GBM-00007_21"]
    assert set(people(tmp_path).values()) == {"UPENN-GBM-00007"}
    reasons = {path.name: why for path, why in survey(tmp_path).unused.items()}
    automatic = reasons["UPENN-GBM-00007_21_automated_approx_segm.nii.gz"]
    assert automatic == "an automatic segmentation, which is no reference"
    assert len(reasons) == 9


def test_lumiere(tmp_path: Path) -> None:
    for visit in ("Patient-001/week-000-1", "Patient-001/week-044", "Patient-002/week-000-1"):
        touch(tmp_path, *[f"Imaging/{visit}/{name}.nii.gz" for name in ("CT1", "T1", "T2", "FLAIR")])
    inside = "Imaging/Patient-001/week-044/HD-GLIO-AUTO-segmentation/registered"
    touch(tmp_path, f"{inside}/CT1_r2s_bet_reg.nii.gz", f"{inside}/segmentation_CT1_origspace.nii.gz")
    assert people(tmp_path) == {
        "Patient-001_week-000-1": "Patient-001",
        "Patient-001_week-044": "Patient-001",
        "Patient-002_week-000-1": "Patient-002",
    }
    assert read(tmp_path)["Patient-002_week-000-1"]["t1c"] == "Imaging/Patient-002/week-000-1/CT1.nii.gz"
    assert len(survey(tmp_path).unused) == 2


def test_mu_glioma_post(tmp_path: Path) -> None:
    for visit in (1, 2):
        stem = f"PatientID_0003/Timepoint_{visit}/PatientID_0003_Timepoint_{visit}"
        touch(tmp_path, *[f"{stem}_brain_{code}.nii.gz" for code in SEQUENCES], f"{stem}_tumorMask.nii.gz")
    assert {len(files) for files in read(tmp_path).values()} == {5}
    assert set(people(tmp_path).values()) == {"PatientID_0003"}
    assert schemes(tmp_path) == {("brats2024",)}


def test_tcga(tmp_path: Path) -> None:
    stem = "TCGA-02-0006_1996.08.23"
    touch(tmp_path / stem, *[f"{stem}_{name}.nii.gz" for name in ("t1", "t1Gd", "t2", "flair", "GlistrBoost")])
    touch(tmp_path / stem, f"{stem}_GlistrBoost_ManuallyCorrected.nii.gz")
    (files,) = read(tmp_path).values()
    assert files["seg"].endswith("ManuallyCorrected.nii.gz")
    assert len(files) == 5
    assert people(tmp_path) == {stem: "TCGA-02-0006"}


@pytest.mark.parametrize(
    ("case_id", "wanted"),
    [
        ("BraTS-PED-00001-000", ("brats2024-ped", "brats2023")),
        ("BraTS-GLI-02062-101", ("brats2024",)),
        ("BraTS-GLI-00005-001", ("brats2023", "brats2024")),
        ("BraTS-MET-00086-000", ("brats2023", "brats2024")),
        ("BraTS-SSA-00002-000", ("brats2023", "brats2024")),
        ("BraTS-GoAT-00012", ("brats2023", "brats2024")),
        ("BraTS-MEN-RT-0001-1", ("brats2024-men-rt",)),
        ("BraTS20_Training_001", ("brats2018",)),
        ("anything", GLIOMA_SCHEMES),
    ],
)
def test_names_of_the_challenges_leave_these_schemes(tmp_path: Path, case_id: str, wanted: tuple[str, ...]) -> None:
    touch(tmp_path, f"{case_id}/{case_id}-t1c.nii.gz")
    assert schemes(tmp_path) == {wanted}


def test_meningioma_for_radiotherapy(tmp_path: Path) -> None:
    touch(tmp_path, "BraTS-MEN-RT-0001-1/BraTS-MEN-RT-0001-1_t1c.nii.gz")
    touch(tmp_path, "BraTS-MEN-RT-0001-1/BraTS-MEN-RT-0001-1_gtv.nii.gz")
    assert set(read(tmp_path)["BraTS-MEN-RT-0001-1"]) == {"t1c", "seg"}
    assert subject_of("BraTS-MEN-RT-0001-1") == "BraTS-MEN-RT-0001"


# --- BIDS -------------------------------------------------------------------------------------------------------------


def test_bids_raw_and_derivatives(tmp_path: Path) -> None:
    raw = "sub-A1/ses-2/anat/sub-A1_ses-2"
    touch(tmp_path, *[f"{raw}_{n}.nii.gz" for n in ("T1w", "ce-gad_T1w", "acq-fs_T2w", "run-1_FLAIR", "run-2_FLAIR")])
    touch(tmp_path, f"{raw}_part-phase_T2w.nii.gz", "sub-A1/ses-2/dwi/sub-A1_ses-2_dwi.nii.gz")
    made = "derivatives/prep/sub-A1/ses-2/anat/sub-A1_ses-2"
    touch(tmp_path, *[f"{made}_desc-{n}.nii.gz" for n in ("preproc_T1w", "tumor_dseg", "brain_mask")])
    assert read(tmp_path) == {
        "sub-A1_ses-2": {
            "t1n": f"{raw}_T1w.nii.gz",
            "t1c": f"{raw}_ce-gad_T1w.nii.gz",
            "t2w": f"{raw}_acq-fs_T2w.nii.gz",
            "t2f": f"{raw}_run-2_FLAIR.nii.gz",
            "seg": f"{made}_desc-tumor_dseg.nii.gz",
        }
    }
    assert people(tmp_path) == {"sub-A1_ses-2": "sub-A1"}
    assert len(survey(tmp_path).unused) == 5


def test_bids_derivatives_alone_come_from_one_processing(tmp_path: Path) -> None:
    stem = "sub-1/anat/sub-1"
    touch(tmp_path, *[f"{stem}_space-MNI_{n}.nii.gz" for n in ("T1w", "acq-post_T1w", "T2w", "FLAIR")])
    touch(tmp_path, f"{stem}_desc-denoised_T1w.nii.gz")
    files = read(tmp_path)["sub-1"]
    assert {name.rsplit("/", 1)[1].startswith("sub-1_space-MNI") for name in files.values()} == {True}
    assert set(files) == set(SEQUENCES)


def test_results_of_segment_are_no_scans(tmp_path: Path) -> None:
    touch(tmp_path, "p/p-t1c.nii.gz", "out/p/summary.json", "out/p/segmentation.nii.gz", "out/p/prepared/p-t1c.nii.gz")
    touch(tmp_path, "derivatives/g/sub-1/anat/sub-1_desc-glioma_dseg.nii.gz")
    text = json.dumps({"GeneratedBy": [{"Name": "Glioscope"}]})
    (tmp_path / "derivatives/g/dataset_description.json").write_text(text)
    assert list(read(tmp_path)) == ["p"]
    assert set(survey(tmp_path).unused.values()) == {"a result of 'glioscope segment', not a scan"}


# --- nnU-Net and the Decathlon ----------------------------------------------------------------------------------------


def describe(folder: Path, channels: list[str], labels: dict[str, object], key: str = "channel_names") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = {key: {str(n): name for n, name in enumerate(channels)}, "labels": labels}
    (folder / "dataset.json").write_text(json.dumps(table))


def test_nnunet_by_its_description(tmp_path: Path) -> None:
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    labels["enhancing tumor"] = [3]
    describe(tmp_path, ["T2w", "FLAIR", "ADC", "T1", "T1ce"], labels)
    touch(tmp_path, *[f"imagesTr/case_7_000{n}.nii.gz" for n in range(5)], "labelsTr/case_7.nii.gz")
    touch(tmp_path, "imagesTs/case_8_0001.nii.gz", "labelsTs/case_8.nii.gz")
    files = read(tmp_path)
    assert files["case_7"]["t1c"] == "imagesTr/case_7_0004.nii.gz"
    assert files["case_7"]["t2w"] == "imagesTr/case_7_0000.nii.gz"
    assert files["case_8"] == {"t2f": "imagesTs/case_8_0001.nii.gz", "seg": "labelsTs/case_8.nii.gz"}
    assert schemes(tmp_path) == {("msd",)}
    assert [path.name for path in survey(tmp_path).unused] == ["case_7_0002.nii.gz"]


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ({"0": "background", "1": "necrotic core", "2": "edema", "3": "enhancing tumor"}, "brats2023"),
        ({"background": 0, "edema": 1, "non-enhancing": 2, "enhancing": 3}, "msd"),
        ({"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "resection cavity": 4}, "brats2024"),
        ({"background": 0, "ET": 1, "NET": 2, "cystic": 3, "ED": 4}, "brats2024-ped"),
        ({"background": 0, "liver": 1}, None),
    ],
)
def test_labels_of_a_description_tell_the_scheme(tmp_path: Path, labels: dict[str, object], scheme: str | None) -> None:
    describe(tmp_path, ["T1"], labels, key="modality")
    touch(tmp_path, "imagesTr/a_0000.nii.gz")
    (case,) = survey(tmp_path).cases
    assert case.scheme == scheme


def test_the_order_of_4d_channels_is_that_of_the_description(tmp_path: Path) -> None:
    describe(tmp_path, ["T1w", "T2w", "FLAIR", "t1gd"], {}, key="modality")
    touch(tmp_path, "imagesTr/HGG_01.nii.gz")
    (case,) = survey(tmp_path).cases
    assert {code: file.channel for code, file in case.sequences.items()} == {"t1n": 0, "t2w": 1, "t2f": 2, "t1c": 3}


def test_nnunet_without_description_says_what_it_needs(tmp_path: Path) -> None:
    _, problems = scan_cases(touch(tmp_path, "imagesTr/a_0000.nii.gz"))
    assert "dataset.json beside that folder must name" in problems["a"]


# --- other files ------------------------------------------------------------------------------------------------------


def test_other_formats_hold_the_same_voxels_in_the_same_place(tmp_path: Path) -> None:
    folder = write_tiny_case(tmp_path, "p")
    image = sitk.ReadImage(str(folder / "p-t1c.nii.gz"))
    (folder / "p-t1c.nii.gz").unlink()
    for suffix in ("mha", "nrrd"):
        sitk.WriteImage(image, str(folder / f"p-t1c.{suffix}"))
        loaded = load_case(folder)
        np.testing.assert_array_equal(loaded.images["t1c"], tiny_images()["t1c"])
        (folder / f"p-t1c.{suffix}").unlink()
    sitk.WriteImage(image, str(folder / "p-t1c.hdr"))
    assert "p-t1c.img" in {path.name for path in folder.iterdir()}
    np.testing.assert_array_equal(load_case(folder).images["t1c"], tiny_images()["t1c"])


def test_oblique_metaimage_keeps_its_place(tmp_path: Path) -> None:
    affine = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 2.5, 11], [0, 0, 0, 1]], float)
    voxels = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    write_volume(tmp_path / "a.nii.gz", voxels, Grid((3, 4, 5), affine))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / "a.mha"))
    np.testing.assert_allclose(read_grid(tmp_path / "a.mha").affine, affine, atol=1e-5)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").data, voxels)


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "p/p-t1c.NII.GZ", "p/brain.mgz", "p/p-t2w.hdr", "p/odd.nii", "p/sub/x.img")
    found = survey(tmp_path)
    assert list(found.cases[0].sequences) == ["t1c"]
    assert {path.name: why for path, why in found.unused.items()} == {
        "brain.mgz": "FreeSurfer's format is not read; convert it to .nii.gz",
        "p-t2w.hdr": "a pair lacks its p-t2w.img",
        "odd.nii": "its name does not tell a sequence",
        "x.img": "has no .hdr beside it",
    }


def test_files_of_annex_are_named_by_their_links(tmp_path: Path) -> None:
    store = touch(tmp_path, ".git/annex/objects/MD5-1.nii.gz")
    links = tmp_path / "p7" / "scan"
    links.mkdir(parents=True)
    (links / "T1.nii.gz").symlink_to(store / ".git/annex/objects/MD5-1.nii.gz")
    (links / "gone.nii.gz").symlink_to("../../.git/annex/objects/MD5-2.nii.gz")
    assert case_of_files({"t1n": links / "T1.nii.gz"}).case_id == "scan"
    with pytest.raises(CaseError, match="kept by git-annex and its content is not here; fetch it with 'git annex get'"):
        case_of_files({"t1c": links / "gone.nii.gz"})


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    touch(tmp_path, "north/p1/t1.nii", "south/p1/t1.nii", "south/p2/baseline/t1.nii")
    assert people(tmp_path) == {"north_p1": "north_p1", "south_p1": "south_p1", "p2_baseline": "p2"}


# --- subjects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case_id", "subject"),
    [
        ("100114_time2", "100114"),
        ("UCSD-PTGBM-0002_01", "UCSD-PTGBM-0002"),
        ("P01_20190203", "P01"),
        ("P01-2019-02-03", "P01"),
        ("pat7_follow-up_2", "pat7"),
        ("pat7_preop", "pat7"),
        ("cohort_visit_3", "cohort_visit_3"),  # a number must be left
        ("site1_scan_003", "site1_scan_003"),
    ],
)
def test_visits_belong_to_a_person(case_id: str, subject: str) -> None:
    assert subject_of(case_id) == subject


def test_a_table_of_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "d/a/t1.nii", "d/b/t1.nii", "d/c/t1.nii")
    cases = survey(tmp_path / "d").cases
    table = tmp_path / "subjects.csv"
    table.write_text("\ufeffsubject_id,case_id,age\nX,a,50\nX,c,51\n", encoding="utf-8")
    assert [case.subject_id for case in with_subjects(cases, table)] == ["X", "b", "X"]
    for text, message in (
        ("case_id,subject_id\nz,X\n", "names 1 cases that are not there, z first"),
        ("case,subject\na,X\n", "must have the columns case_id and subject_id"),
        ("case_id,subject_id\na,X\na,Y\n", "gives case a two subjects, X and Y"),
        ("case_id,subject_id\na,\n", "lacks its case_id or subject_id"),
        ("", "has no line"),
    ):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(CaseError, match=message):
            with_subjects(cases, table)
