"""How long a case's page takes to make, how large it is, and how soon a browser shows it.

    python benchmarks/bench_report.py [--cases 3] [--rounds 3] [-o benchmarks/results/report.json]

Synthetic patients at 1 mm on the grid of BraTS, four sequences, with a reference and an uncertainty: everything that a
page can hold. Processor seconds are given beside seconds by the clock, since the latter grow on a busy machine. First
view: from opening the file to the three planes drawn; all sequences: until each can be switched to.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import LoadedCase, load_case
from glioscope.files import write_json
from glioscope.labels import LabelScheme, scheme_named
from glioscope.machine import processor
from glioscope.measure import measure
from glioscope.phantom import write_phantoms
from glioscope.report import write_case_report
from glioscope.results import CaseSummary
from glioscope.results.summary import EngineRecord, GridRecord, ModelRecord, ProcessorRecord, SchemeRecord


def summary_of(loaded: LoadedCase, labels: NDArray[np.uint8], scheme: LabelScheme) -> CaseSummary:
    """Return what `segment` would tell of a case."""
    grid = loaded.grid
    return CaseSummary(
        case_id=loaded.case.case_id,
        subject_id=loaded.case.subject_id,
        inputs={},
        missing_sequences=(),
        grid=GridRecord(shape=grid.shape, spacing_mm=grid.spacing_mm, orientation=grid.orientation),
        scheme=SchemeRecord(name=scheme.name, labels={str(v): name for v, name in scheme.meanings.items()}),
        model=ModelRecord(name="none", folder="", sha256=""),
        settings={},
        engine=EngineRecord(name="none", precision="none", description="none"),
        processor=ProcessorRecord(model="any", cores=1),
        versions={},
        measurements=measure(labels, grid, scheme),
        flags=(),
    )


def make_pages(folder: Path, cases: int, rounds: int) -> list[dict[str, Any]]:
    """Write a page for each phantom; each is timed without the first, which loads the modules."""
    rows = []
    for case in write_phantoms(folder / "cases", cases):
        loaded = load_case(case)
        assert loaded.reference is not None
        labels = np.roll(loaded.reference, 2, axis=0)
        scheme = scheme_named("brats2023")
        summary = summary_of(loaded, labels, scheme)
        unsure = np.where(labels > 0, np.float32(0.3), np.float32(0.01))
        page = folder / case.name / "report.html"
        clock, busy = [], []
        for _ in range(rounds + 1):
            began, used = time.perf_counter(), time.process_time()
            write_case_report(page, loaded, labels, scheme, summary, uncertainty=unsure)
            clock.append(time.perf_counter() - began)
            busy.append(time.process_time() - used)
        rows.append(
            {
                "page": page,
                "megabytes": round(page.stat().st_size / 1e6, 2),
                "seconds": round(median(clock[1:]), 2),
                "processor_seconds": round(median(busy[1:]), 2),
            }
        )
    return rows


def time_views(pages: list[Path], chromium: str) -> list[dict[str, float]]:
    """Open each page in a browser that is offline; seconds to the first view and to the last sequence."""
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for page in pages:
            view = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
            began = time.perf_counter()
            view.goto(page.resolve().as_uri(), wait_until="commit")
            view.wait_for_selector("#viewer[data-ready]")
            first = time.perf_counter() - began
            view.wait_for_selector("#viewer[data-ready=all]")
            rows.append({"first_view": round(first, 2), "all_sequences": round(time.perf_counter() - began, 2)})
        browser.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/report.json"))
    options = parser.parse_args()
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").is_file() else None
    with tempfile.TemporaryDirectory() as scratch:
        made = make_pages(Path(scratch), options.cases, options.rounds)
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        pages = [row.pop("page") for row in made]
        views = time_views(pages, chromium) if chromium else [{} for _ in pages]
    rows = [{**a, **b} for a, b in zip(made, views, strict=True)]
    write_json(options.output, {"processor": asdict(processor()), "load_average_at_start": load, "cases": rows})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
