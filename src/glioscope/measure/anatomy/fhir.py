"""The report as a FHIR R4 DiagnosticReport: the text, and each number as an Observation with its unit.

The resource is `preliminary`: an automatic text that nobody has signed. It has no `conclusion` and no code of a
disease, for it concludes nothing (https://hl7.org/fhir/R4/diagnosticreport.html).
"""

import base64
from html import escape

from glioscope.measure.anatomy.wording import Text
from glioscope.results.anatomy import Anatomy
from glioscope.results.measurements import Measurements

FHIR = "fhir.json"
"""Its name in a case's folder."""
Resource = dict[str, object]
"""As JSON has it."""
_LANGUAGES = {"en": "en-GB", "de": "de-DE"}
_UNITS = {"ml": "mL", "mm": "mm"}
"""As the text writes them, and as UCUM does."""


def diagnostic_report(
    text: Text, anatomy: Anatomy, *, subject_id: str, measurements: Measurements | None = None
) -> Resource:
    """Return a DiagnosticReport, JSON-ready, with its observations contained.

    Parameters
    ----------
    text : Text
        What `report_text` made of the same result.
    subject_id : str
        Name of the patient, as the case has it.
    """
    observations = _observations(anatomy, measurements)
    return {
        "resourceType": "DiagnosticReport",
        "language": _LANGUAGES[text.language],
        "text": {"status": "generated", "div": _narrative(text)},
        "contained": observations,
        "status": "preliminary",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")],
        "code": _concept("http://loinc.org", "24590-2", "MR Brain"),
        "subject": {"identifier": {"value": subject_id}},
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "presentedForm": [
            {
                "contentType": "text/plain; charset=utf-8",
                "language": _LANGUAGES[text.language],
                "data": base64.b64encode(text.plain().encode()).decode(),
                "title": text.title,
            }
        ],
    }


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _narrative(text: Text) -> str:
    """Return the text as the XHTML that FHIR wants."""
    parts = [f"<h1>{escape(text.title)}</h1>"]
    for heading, sentences in text.sections():
        parts += [f"<h2>{escape(heading)}</h2>", f"<p>{' '.join(escape(s.text) for s in sentences)}</p>"]
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(parts)}</div>'


def _observations(anatomy: Anatomy, measurements: Measurements | None) -> list[Resource]:
    found = []
    for place in anatomy.regions:
        found.append((f"volume-{place.region}", f"Volume of {place.region}", place.volume_ml, "ml"))
        gaps = place.distances
        for name, mm in (("ventricles", gaps.ventricles_mm), ("midline", gaps.midline_mm), ("cortex", gaps.cortex_mm)):
            if mm is not None:
                found.append((f"{name}-{place.region}", f"Distance of {place.region} to {name}", mm, "mm"))
    diameters = measurements.diameters if measurements is not None else None
    if diameters is not None:
        found.append(("longest", f"Longest axial diameter of {diameters.region}", diameters.longest_mm, "mm"))
        found.append(("perpendicular", f"Perpendicular of {diameters.region}", diameters.perpendicular_mm, "mm"))
    return [
        {
            "resourceType": "Observation",
            "id": key,
            "status": "preliminary",
            "code": {"text": name},
            "valueQuantity": {
                "value": value,
                "unit": unit,
                "system": "http://unitsofmeasure.org",
                "code": _UNITS[unit],
            },
        }
        for key, name, value, unit in found
    ]
