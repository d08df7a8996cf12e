"""Data sets without what names a person, by the Basic Application Level Confidentiality Profile of DICOM PS3.15.

The profile's table E.1-1 comes from the package dicom-anonymizer, which keeps it with its edition; here it is applied
at every depth, where the package's own function looks at the top alone. No option of the profile is taken: dates,
times, device and institution go too, and so does every private attribute. UIDs are replaced alike in one export.

What this cannot do: take a face out of a head, or words out of pixels. An object that says it has words in its pixels
is refused.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

from glioscope.errors import CaseError, DependencyError

EDITION = "2026c"
"""Of PS3.15, whose table is applied."""
_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")
_DUMMIES: Mapping[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "PN"), "ANONYMISED"),
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"), 0),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "http://anonymised.invalid",
}
"""Value representation to a value that says nothing."""


class Anonymiser:
    """Strips data sets of one export.

    Parameters
    ----------
    secret : bytes, optional
        Decides new UIDs and the pseudonym; kept by nobody when left out, so that nothing leads back.

    Raises
    ------
    DependencyError
        dicom-anonymizer is not installed.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._exact, self._groups = _table()

    def strip(self, data: Any) -> None:
        """Take what names a person out of a pydicom data set, in place.

        Raises
        ------
        CaseError
            The object says that words are burnt into its pixels.
        """
        if str(data.get("BurnedInAnnotation", "NO")).upper() == "YES":
            raise CaseError("object has words in its pixels, which cannot be taken out; leave its series out")
        patient = str(data.get("PatientID") or data.get("PatientName") or "")
        self._strip(data)
        name = f"A-{self._code(f'patient:{patient}')[:8]}" if patient else ""
        data.PatientName = data.PatientID = name
        data.PatientIdentityRemoved = "YES"
        data.DeidentificationMethod = f"Basic profile of DICOM PS3.15 {EDITION}, by Glioscope"
        from pydicom.dataset import Dataset

        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _CODE
        data.DeidentificationMethodCodeSequence = [code]
        if "file_meta" in data.__dict__:
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "PrivateInformation"):
                if keyword in data.file_meta:
                    delattr(data.file_meta, keyword)

    def _strip(self, data: Any) -> None:
        data.remove_private_tags()
        for element in list(data):
            action = self._action(element.tag)
            if action == "X":
                del data[element.tag]
            elif action == "Z":
                element.value = [] if element.VR == "SQ" else ""
            elif action == "D":
                self._blank(data, element)
            elif action == "U":
                self._replace(element)
            elif element.VR == "SQ":
                for item in element.value:
                    self._strip(item)

    def _action(self, tag: Any) -> str:
        """Return what the table says of an attribute: X, Z, D, U, or nothing."""
        if action := self._exact.get((tag.group, tag.element)):
            return action
        for group, element, group_mask, element_mask in self._groups:
            if tag.group & group_mask == group & group_mask and tag.element & element_mask == element & element_mask:
                return "X"
        return ""

    def _blank(self, data: Any, element: Any) -> None:
        if element.VR in _DUMMIES:
            element.value = _DUMMIES[element.VR]
        else:  # bytes and sequences: what they held cannot be told
            del data[element.tag]

    def _replace(self, element: Any) -> None:
        if element.VR == "SQ":
            for item in element.value:
                self._strip(item)
        elif element.value:
            several = not isinstance(element.value, str)
            element.value = [self._uid(uid) for uid in element.value] if several else self._uid(element.value)

    def _uid(self, uid: str) -> str:
        return f"2.25.{int(self._code(f'uid:{uid}')[:32], 16)}"

    def _code(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


@cache
def _table() -> tuple[dict[tuple[int, int], str], tuple[tuple[int, int, int, int], ...]]:
    """Return the profile's action for each attribute, and the masks of repeating groups, which are removed.

    Where the table leaves a choice by an attribute's type, what is safe for every type is taken: Z for X/Z, a dummy for
    the others.
    """
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ImportError as error:
        raise DependencyError(
            "anonymising needs dicom-anonymizer, which is not installed; pip install 'glioscope[node]'"
        ) from error
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    exact: dict[tuple[int, int], str] = {}
    masks: list[tuple[int, int, int, int]] = []
    choices = {"X_TAGS": "X", "Z_TAGS": "Z", "D_TAGS": "D", "U_TAGS": "U", "X_Z_TAGS": "Z", "Z_D_TAGS": "D"}
    choices |= {"X_D_TAGS": "D", "X_Z_D_TAGS": "D", "X_Z_U_STAR_TAGS": "U"}
    for name, action in choices.items():
        for tag in table[name]:
            if len(tag) == 2:
                exact[tag] = action
            else:
                masks.append(tag)
    return exact, tuple(masks)
