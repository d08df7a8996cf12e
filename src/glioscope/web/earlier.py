"""The result that a case had before it was segmented anew: put by with all its versions, and brought back on request.

cases/<key>/earlier/earlier.json, output/, case/, view/, versions/        the one before; older ones are let go
"""

import shutil
from dataclasses import asdict
from pathlib import Path

from glioscope.files import read_json, write_json
from glioscope.web import results
from glioscope.web.store import CaseRow, Store, VersionRow

FOLDERS = ("output", "case", "view", "versions")
_RECORD = "earlier.json"


def folder_of(store: Store, key: str) -> Path:
    """Return where the earlier result of a case is, if it has one."""
    return store.folder(key) / "earlier"


def has_earlier(store: Store, key: str) -> bool:
    """Return whether a case has an earlier result."""
    return (folder_of(store, key) / _RECORD).is_file()


def put_by(store: Store, row: CaseRow) -> None:
    """Put a case's result by, in the place of one put by before; without a result only what is left of it goes."""
    home, place = store.folder(row.key), folder_of(store, row.key)
    if row.version:
        shutil.rmtree(place, ignore_errors=True)
        _move(home, place)
        write_json(place / _RECORD, _told(store, row))
    for name in FOLDERS:
        shutil.rmtree(home / name, ignore_errors=True)
    store.forget_versions(row.key)


def bring_back(store: Store, row: CaseRow) -> bool:
    """Exchange a case's result with the one put by; return whether there was one."""
    home, place, aside = store.folder(row.key), folder_of(store, row.key), store.folder(row.key) / "aside"
    if not has_earlier(store, row.key):
        return False
    told = read_json(place / _RECORD, what="record of the earlier result")
    now = _told(store, row) if row.version else None
    shutil.rmtree(aside, ignore_errors=True)
    _move(home, aside)
    _move(place, home)
    shutil.rmtree(place, ignore_errors=True)
    if now:
        aside.rename(place)
        write_json(place / _RECORD, now)
    else:
        shutil.rmtree(aside, ignore_errors=True)
    store.forget_versions(row.key)
    for version in told["versions"]:
        made = VersionRow(**version)
        store.add_version(row.key, made, results.result_of(results.read_summary(store, row.key, made.number)))
    fields = {name: told[name] for name in ("choice", "raw", "title", "case_id", "finished")}
    store.update(row.key, state="done", message="", **fields)
    return True


def _told(store: Store, row: CaseRow) -> dict[str, object]:
    return {
        "versions": [asdict(version) for version in store.versions(row.key)],
        "choice": dict(row.choice),
        "raw": row.raw,
        "title": row.title,
        "case_id": row.case_id,
        "finished": row.finished,
    }


def _move(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in FOLDERS:
        if (source / name).exists():
            (source / name).rename(target / name)
