"""`glioscope segment`: scans in, labels and measurements out."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from glioscope.cli.options import Device, Model, Output, Precision, Series
from glioscope.cli.terminal import Watch


def segment(
    output: Output,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT…", help="Folders of cases in any layout; folders or zips of DICOM."),
    ] = None,
    t1n: Series = None,
    t1c: Series = None,
    t2w: Series = None,
    t2f: Series = None,
    model: Model = None,
    scheme: Annotated[
        str | None,
        typer.Option(help="Label scheme of the result; default: that of the input's year.", show_default=False),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; default: all cores.", min=1, show_default=False)
    ] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Average with the mirror image: twice the time.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write a probability map per region.")] = False,
    logits: Annotated[
        bool, typer.Option("--logits", help="Write logits.npz, which corrections by clicks start from.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what an earlier run did.")] = False,
    cluster: Annotated[
        str, typer.Option(help="Share the cases: local processes, or the address of a Ray cluster.", show_default=False)
    ] = "",
    workers: Annotated[
        int | None, typer.Option(help="With --cluster; default: what the processors hold.", min=1, show_default=False)
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do part I of N of the cases: a job array's task.", show_default=False)
    ] = "",
    bids: Annotated[
        bool, typer.Option("--bids", help="Write a derivative of BIDS, its reports in OUT/glioscope.")
    ] = False,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--no-raw",
            help="NIfTI as the scanner left it, or as BraTS has it; default: told by grids and skull.",
            show_default=False,
        ),
    ] = None,
    dicom: Annotated[
        str, typer.Option(help="Clinical files of DICOM input: seg,rtstruct,sr,capture.", show_default=False)
    ] = "",
    identity: Annotated[
        bool, typer.Option("--keep-identity", help="Leave name, number and dates in clinical files.")
    ] = False,
    anatomy: Annotated[
        bool, typer.Option("--anatomy", help="Say where the tumour lies, in words too: report.txt, fhir.json.")
    ] = False,
    language: Annotated[Literal["en", "de"], typer.Option(help="Of the words of --anatomy.")] = "en",
    margins: Annotated[
        float | None,
        typer.Option(help="Margin around the tumour in mm: geometry, not a plan.", min=1, max=40, show_default=False),
    ] = None,
    radiomics: Annotated[bool, typer.Option("--radiomics", help="Count features of texture and shape.")] = False,
) -> int:
    """Segment a case or a cohort: labels, volumes, flags and a report for each case.

    Any subset of the four sequences will do; what is missing is flagged. Raw scans are prepared first, and get the
    result on their own grids too. A second run goes on where the first stopped.
    """
    from glioscope.cli.sources import clinical_files, explanation, places, shard_of
    from glioscope.segmentation import SegmentOptions
    from glioscope.segmentation import segment as run
    from glioscope.segmentation.derivative import WORK, write_derivative

    named = {code: value for code, value in (("t1n", t1n), ("t1c", t1c), ("t2w", t2w), ("t2f", t2f)) if value}
    found = places(inputs or [], named)
    options = SegmentOptions(
        scheme=scheme,
        device=device,
        precision=precision,
        threads=threads,
        mirror=mirror,
        save_probabilities=probabilities,
        save_logits=logits,
        report=report,
        overwrite=overwrite,
        raw=raw,
        dicom=clinical_files(dicom),
        identity=identity,
        shard=shard_of(shard),
        anatomy=anatomy,
        language=language,
        margin_mm=margins,
        radiomics=radiomics,
    )
    derivative, output = output, output / WORK if bids else output
    crew = None
    if cluster:
        from glioscope.segmentation.cluster import crew_at

        crew = crew_at(cluster, output, model=model, options=options, workers=workers)
    with Watch("segment") as watch:
        result = run(found, output, model=model, options=options, crew=crew, progress=watch)
    if len(result.outcomes) == 1:
        for line in explanation(result.outcomes[0]):
            print(line)
    if bids:
        maps = write_derivative(derivative, source=inputs[0] if inputs else None)
        print(f"{derivative}: a derivative of BIDS with {len(maps)} label maps")
    failed = result.with_status("failed")
    done, skipped = len(result.with_status("done")), len(result.with_status("skipped"))
    print(f"{output}: {done} segmented, {skipped} already done, {len(failed)} failed")
    if failed:
        print(f"{output / 'failures.csv'}: why", file=sys.stderr)
    if report and (done or skipped):
        one = result.outcomes[0].case_id if len(result.outcomes) == 1 else ""
        print(f"Open {output / one / 'report.html' if one else output / 'index.html'}")
    return 3 if failed else 0
