"""The API under /api: cases in, segmentations, versions, measurements and reports out. /docs lists it."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import glioscope
from glioscope.results import CaseSummary
from glioscope.results.stored import as_json
from glioscope.results.summary import without_folders
from glioscope.segmentation.clicks import Click
from glioscope.web import doubt, results
from glioscope.web.answers import (
    CaseAnswer,
    CasesAnswer,
    ChangeAnswer,
    Compare,
    PlaceAnswer,
    Problem,
    Refine,
    RefineAnswer,
    Start,
    StatusAnswer,
    VersionAnswer,
    case_answer,
    case_line,
    version_answer,
)
from glioscope.web.guard import REPORT_POLICY
from glioscope.web.service import Desk, Service
from glioscope.web.uploads import UploadError

router = APIRouter()
Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Key of the case")]
Version = Annotated[int | None, Query(ge=1, description="Default: the newest")]
_LATER: dict[int | str, dict[str, object]] = {404: {"model": Problem, "description": "No such case, or nothing yet"}}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "The scans; a file name may hold folders",
                        },
                        "title": {"type": "string", "description": "Name of the case"},
                        "start": {
                            "type": "string",
                            "description": "1: segment at once what is recognised without doubt",
                        },
                    },
                }
            }
        },
    }
}
_SEGMENTATION_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/api/status")
def status(service: Desk) -> StatusAnswer:
    """The server: version, queue, limits."""
    limits = service.config
    return StatusAnswer(
        version=glioscope.__version__,
        waiting=service.store.waiting(),
        can_compare=service.can_compare,
        max_upload_bytes=limits.max_upload_bytes,
        max_file_bytes=limits.max_file_bytes,
        max_files=limits.max_files,
    )


@router.post(
    "/api/uploads",
    status_code=201,
    openapi_extra=_UPLOAD_BODY,
    responses={n: {"model": Problem} for n in (400, 413, 415, 422, 503, 507)},
)
async def upload(service: Desk, request: Request) -> list[CaseAnswer]:
    """Upload scans: NIfTI files, a folder, DICOM, or a zip."""
    rows = await service.upload(request)
    return [case_answer(service, row) for row in rows]


@router.get("/api/cases")
def cases(
    service: Desk, limit: Annotated[int, Query(ge=1, le=500)] = 100, offset: Annotated[int, Query(ge=0)] = 0
) -> CasesAnswer:
    """All cases, the newest first."""
    rows = service.store.cases(limit=limit, offset=offset)
    lines = [case_line(service, row) for row in rows]
    return CasesAnswer(cases=lines, total=service.store.count(), waiting=service.store.waiting())


@router.get("/api/cases/{key}", responses=_LATER)
def case(service: Desk, key: Key) -> CaseAnswer:
    """One case: sequences, progress, versions."""
    return case_answer(service, service.case(key))


@router.post(
    "/api/cases/{key}/start",
    status_code=202,
    responses={**_LATER, 409: {"model": Problem}, 422: {"model": Problem}},
)
def start(service: Desk, key: Key, wanted: Start) -> CaseAnswer:
    """Segment a case with these sequences."""
    row = service.begin(key, wanted.choice, raw=wanted.raw, title=wanted.title)
    return case_answer(service, row)


@router.post("/api/cases/{key}/restore", responses={**_LATER, 409: {"model": Problem}})
def restore(service: Desk, key: Key) -> CaseAnswer:
    """Bring back the result before the last segmentation, with all its versions; the present one is put by."""
    return case_answer(service, service.restore(key))


@router.delete("/api/cases/{key}", status_code=204, responses=_LATER)
def delete(service: Desk, key: Key) -> None:
    """Delete a case and all its files."""
    service.remove(key)


@router.post(
    "/api/cases/{key}/change",
    status_code=202,
    responses={**_LATER, 409: {"model": Problem}},
)
def compare(service: Desk, key: Key, wanted: Compare) -> ChangeAnswer:
    """Compare with an earlier scan of the same patient."""
    service.compare(key, wanted.earlier)
    return _change(service, key, wanted.earlier)


@router.get("/api/cases/{key}/change/{earlier}", responses=_LATER)
def change(service: Desk, key: Key, earlier: Key) -> ChangeAnswer:
    """How far a comparison is."""
    service.case(key)
    return _change(service, key, earlier)


@router.get("/api/cases/{key}/change/{earlier}/page", responses=_LATER)
def change_page(service: Desk, key: Key, earlier: Key) -> Response:
    """The page of a comparison."""
    path = service.change_page(service.case(key).key, earlier)
    if not path.is_file():
        raise HTTPException(404, "there is no such comparison")
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


def _change(service: Service, key: str, earlier: str) -> ChangeAnswer:
    job = service.store.last_job(key, "change", other=earlier)
    return ChangeAnswer(earlier=earlier, state=job.state if job else "none", message=job.message if job else "")


def _versioned(service: Service, key: str, version: int | None) -> tuple[str, int]:
    row = service.case(key)
    number = version or row.version
    if not 1 <= number <= row.version:
        raise HTTPException(404, f"there is no version {number}" if row.version else "there is no segmentation yet")
    return row.case_id, number


@router.get("/api/cases/{key}/images/{sequence}.nii.gz", responses=_LATER)
def image(service: Desk, key: Key, sequence: Annotated[str, Path(pattern="^t[12][ncwf]$")]) -> Response:
    """A sequence as the viewer gets it."""
    _versioned(service, key, None)
    return FileResponse(results.view_file(service.store, key, sequence), media_type="application/gzip")


@router.get("/api/cases/{key}/segmentation.nii.gz", responses=_LATER)
def segmentation(
    service: Desk,
    key: Key,
    version: Version = None,
    view: Annotated[bool, Query(description="Only the part around the brain, as the viewer shows it")] = False,
) -> Response:
    """A version of the segmentation."""
    name, number = _versioned(service, key, version)
    if view:
        return FileResponse(results.view_labels(service.store, key, number), media_type="application/gzip")
    path = results.segmentation_file(service.store, key, number)
    return FileResponse(path, media_type="application/gzip", filename=f"{name}_{path.name}")


@router.get("/api/cases/{key}/summary.json", responses=_LATER, response_model=CaseSummary)
def summary(service: Desk, key: Key, version: Version = None) -> Response:
    """Measurements, flags, provenance; files by their names alone."""
    _, number = _versioned(service, key, version)
    return JSONResponse(as_json(without_folders(results.read_summary(service.store, key, number))))


@router.get("/api/cases/{key}/files/{name:path}", responses=_LATER)
def file(service: Desk, key: Key, name: str, version: Annotated[int, Query(ge=1)] = 1) -> Response:
    """What else was written, by its name in the summary's outputs: DICOM files, labels on the scans' own grids.

    DICOM files of a corrected version (dicom/segmentation.v2.dcm) are made when they are first asked for.
    """
    case_id, number = _versioned(service, key, version)
    try:
        path = service.clinical_file(key, number, name)
    except KeyError:
        raise HTTPException(404, "there is no such file") from None
    return FileResponse(path, media_type="application/octet-stream", filename=f"{case_id}_{path.name}")


@router.get("/api/cases/{key}/report.html", responses=_LATER)
def report(service: Desk, key: Key, version: Version = None, download: bool = False) -> Response:
    """The report of a version, one file."""
    name, number = _versioned(service, key, version)
    path = results.report_file(service.store, key, number)
    filename = f"{name}_{path.name}" if download else None
    headers = {"content-security-policy": REPORT_POLICY}
    return FileResponse(path, media_type="text/html", filename=filename, headers=headers)


@router.get("/api/cases/{key}/measurements.csv", responses=_LATER)
def measurements(service: Desk, key: Key) -> Response:
    """Measurements of all versions."""
    name, _ = _versioned(service, key, None)
    row = service.case(key)
    found = {(key, row.title, n): results.read_summary(service.store, key, n) for n in range(1, row.version + 1)}
    return _csv(results.measurements_csv(found), f"{name}_measurements.csv")


@router.get("/api/measurements.csv")
def all_measurements(service: Desk) -> Response:
    """Measurements of all cases, newest versions."""
    rows = [row for row in service.store.cases(limit=10_000) if row.version]
    found = {
        (row.key, row.title, row.version): results.read_summary(service.store, row.key, row.version) for row in rows
    }
    return _csv(results.measurements_csv(found), "glioscope_measurements.csv")


@router.post(
    "/api/cases/{key}/versions",
    status_code=201,
    openapi_extra=_SEGMENTATION_BODY,
    responses={**_LATER, **{n: {"model": Problem} for n in (409, 413, 422, 507)}},
)
async def save(
    service: Desk,
    request: Request,
    key: Key,
    based_on: Annotated[int, Query(ge=1, description="The version that was corrected")],
    content: Annotated[str, Query(pattern="^[0-9a-f]{32}$", description="Its mark, as the case's versions tell it")],
    branch: Annotated[bool, Query(description="Save it beside a newer version")] = False,
    note: Annotated[str, Query(max_length=1000, description="What was corrected")] = "",
) -> VersionAnswer:
    """Save a corrected segmentation as a new version.

    The body is NIfTI on the grid of the case (or the part that ?view=true gives), packed or not. Nothing is ever
    overwritten: if a newer version than `based_on` exists, or the case was segmented again, the answer is 409.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > results.MOST_UPLOADED:
            raise UploadError(413, "the segmentation is too large; nothing was saved")
    sent = results.Correction(body=bytes(body), based_on=based_on, content=content, note=note, branch=branch)
    made = await run_in_threadpool(service.save, key, sent)
    return version_answer(service, key, made)


@router.post("/api/cases/{key}/refine", responses={**_LATER, 409: {"model": Problem}, 413: {"model": Problem}})
def refine(service: Desk, key: Key, wanted: Refine) -> RefineAnswer:
    """Correct a segmentation by clicks.

    Nothing is saved: the answer is the voxels that change, to be looked at first. Each click joins what hangs together
    with it to a region, or takes it out, within 48 mm.
    """
    clicks = [Click(at=click.at, region=click.region, add=click.add) for click in wanted.clicks]
    return RefineAnswer(runs=service.refine(key, wanted.content, wanted.changes, clicks))


@router.get("/api/cases/{key}/uncertainty.nii.gz", responses=_LATER)
def uncertainty(service: Desk, key: Key) -> Response:
    """How unsure the network was, 255 a coin toss, on the part that ?view=true gives."""
    _versioned(service, key, 1)
    return FileResponse(doubt.uncertainty_file(service.store, key), media_type="application/gzip")


@router.get("/api/cases/{key}/doubts", responses=_LATER)
def doubts(service: Desk, key: Key) -> list[PlaceAnswer]:
    """Where the network was most unsure, the largest place first."""
    _versioned(service, key, 1)
    return [PlaceAnswer(at_mm=p.at_mm, volume_ml=p.volume_ml) for p in doubt.doubtful_places(service.store, key)]


def _csv(text: str, filename: str) -> Response:
    return PlainTextResponse(
        text, media_type="text/csv", headers={"content-disposition": f'attachment; filename="{filename}"'}
    )
