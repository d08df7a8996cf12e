"""Cases: one imaging session of one subject, found on disk in the layouts of BraTS and of the data sets around it.

Layouts read (design: whoever has the data should not have to rename it):

- BraTS 2017–2020: ``<case>/<case>_{t1,t1ce,t2,flair,seg}.nii[.gz]``; case 355 of 2020 with ``W39_1998.09.19_Segm.nii``
- BraTS 2021: the same names
- BraTS 2023–2025: ``<case>/<case>-{t1n,t1c,t2w,t2f,seg}.nii.gz``; ``BraTS-GLI-01234-100`` is subject 01234
- plain names: ``<case>/{t1n,t1c,t2w,t2f,seg}.nii.gz`` and ``<case>/{t1,t1ce,t2,flair,seg}.nii.gz``
- Medical Segmentation Decathlon: ``imagesTr/BRATS_001.nii.gz``, 4-D, FLAIR/T1w/T1gd/T2w, ``labelsTr``

"Sequence" is what BraTS calls a modality.
"""

from glioscope.cases.case import SEQUENCES, Case, LoadedCase
from glioscope.cases.check import Fingerprint, check_dataset
from glioscope.cases.examine import CaseRecord, check_case
from glioscope.cases.find import Survey, case_of_files, find_cases, scan_cases, survey, unused_in_words
from glioscope.cases.folds import Fold, make_folds, make_split
from glioscope.cases.loading import load_case, load_scans
from glioscope.cases.names import subject_of
from glioscope.cases.schemes import naming_scheme, naming_schemes, scheme_of_reference, schemes_of_id, with_scheme
from glioscope.cases.subjects import with_subjects

__all__ = [
    "SEQUENCES",
    "Case",
    "CaseRecord",
    "Fingerprint",
    "Fold",
    "LoadedCase",
    "Survey",
    "case_of_files",
    "check_case",
    "check_dataset",
    "find_cases",
    "load_case",
    "load_scans",
    "make_folds",
    "make_split",
    "naming_scheme",
    "naming_schemes",
    "scan_cases",
    "scheme_of_reference",
    "schemes_of_id",
    "subject_of",
    "survey",
    "unused_in_words",
    "with_scheme",
    "with_subjects",
]
