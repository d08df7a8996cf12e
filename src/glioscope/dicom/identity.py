"""Who a patient is, said so that nobody learns it: codes for messages, and the words that must not be written."""

import hashlib
from typing import Any

from glioscope.dicom.words import plain


def identity_of(header: Any) -> str:
    """Return what tells this patient from others: the number, else the name; empty where both were removed."""
    for keyword in ("PatientID", "PatientName"):
        text = " ".join(_text(header, keyword).split()).casefold()
        if text:
            return text
    return ""


def _text(header: Any, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").replace("^", " ")
    except Exception:  # noqa: BLE001 (whatever the parser of foreign bytes raises, they name nobody)
        return ""


def patient_of(header: Any) -> str:
    """Return the code of the patient that a header belongs to; empty where nothing tells."""
    identity = identity_of(header)
    return patient_code(identity) if identity else ""


def patient_code(identity: str) -> str:
    """Return a code of four hexadecimal digits: enough to tell two patients apart, too short to find one by.

    A longer code of a hospital number could be undone by trying all numbers; of any four digits, there are many.
    """
    return "P-" + hashlib.sha256(identity.encode()).hexdigest()[:4]


def identity_words(header: Any) -> set[str]:
    """Return the words that name the patient; none where a pseudonym stands for both name and number."""
    name, number = (plain(_text(header, keyword)) for keyword in ("PatientName", "PatientID"))
    if name == number or _text(header, "PatientIdentityRemoved").upper() == "YES":
        return set()
    words = {word for word in (*name.split(), *number.split()) if len(word) > 3}
    return words | {text for text in (name, number) if len(text) > 2}
