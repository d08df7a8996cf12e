"""Every command: its arguments, the room that does the work, what is printed at the end."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from glioscope import __version__
from glioscope.cli.change import change
from glioscope.cli.networks import compare, demo, export, train
from glioscope.cli.node import node
from glioscope.cli.scores import evaluate
from glioscope.cli.terminal import Output, Watch, print_table

app = typer.Typer(
    name="glioscope",
    help="Brain MRI into measured tumours. Research use only; not a medical device.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU that torch finds, else the CPU.")
]
Precision = Annotated[
    Literal["auto", "bf16", "int8", "fp32"], typer.Option(help="auto takes what this processor is quickest at.")
]


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


Series = Annotated[
    str | None,
    typer.Option(help="With DICOM: the series to take (number, UID, words). Else: a file.", show_default=False),
]


@app.command()
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
    model: Annotated[
        Path | None, typer.Option(help="Model folder; default: the network in the package.", show_default=False)
    ] = None,
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
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what an earlier run did.")] = False,
    cluster: Annotated[
        str, typer.Option(help="Share the cases: local processes, or the address of a Ray cluster.", show_default=False)
    ] = "",
    workers: Annotated[
        int | None, typer.Option(help="With --cluster; default: what the processors hold.", min=1, show_default=False)
    ] = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--no-raw",
            help="NIfTI as the scanner left it, or as BraTS has it; default: told by grids and skull.",
            show_default=False,
        ),
    ] = None,
    dicom: Annotated[
        str, typer.Option(help="Clinical files of DICOM input: seg,rtstruct,sr.", show_default=False)
    ] = "",
    identity: Annotated[
        bool, typer.Option("--keep-identity", help="Leave name, number and dates in clinical files.")
    ] = False,
) -> int:
    """Segment a case or a cohort: labels, volumes, flags and a report for each case.

    Any subset of the four sequences will do; what is missing is flagged. Raw scans are prepared first, and get the
    result on their own grids too. A second run goes on where the first stopped.
    """
    from glioscope.cli.raw import clinical_files, explanation, places
    from glioscope.segmentation import SegmentOptions
    from glioscope.segmentation import segment as run

    named = {code: value for code, value in (("t1n", t1n), ("t1c", t1c), ("t2w", t2w), ("t2f", t2f)) if value}
    found = places(inputs or [], named)
    options = SegmentOptions(
        scheme=scheme,
        device=device,
        precision=precision,
        threads=threads,
        mirror=mirror,
        save_probabilities=probabilities,
        report=report,
        overwrite=overwrite,
        raw=raw,
        dicom=clinical_files(dicom),
        identity=identity,
    )
    crew = None
    if cluster:
        from glioscope.segmentation.cluster import crew_at

        crew = crew_at(cluster, output, model=model, options=options, workers=workers)
    with Watch("segment") as watch:
        result = run(found, output, model=model, options=options, crew=crew, progress=watch)
    if len(result.outcomes) == 1:
        for line in explanation(result.outcomes[0]):
            print(line)
    failed = result.with_status("failed")
    done, skipped = len(result.with_status("done")), len(result.with_status("skipped"))
    print(f"{output}: {done} segmented, {skipped} already done, {len(failed)} failed")
    if failed:
        print(f"{output / 'failures.csv'}: why", file=sys.stderr)
    return 3 if failed else 0


@app.command()
def prepare(
    output: Output,
    raw: Annotated[
        Path | None, typer.Argument(metavar="RAW", help="One patient: a folder or zip of DICOM, or a folder of NIfTI.")
    ] = None,
    t1n: Series = None,
    t1c: Series = None,
    t2w: Series = None,
    t2f: Series = None,
    case_id: Annotated[str | None, typer.Option(help="Name of the case; default: that of RAW.")] = None,
    reference: Annotated[str | None, typer.Option(help="Sequence whose grid is the common one.")] = None,
    brain: Annotated[
        Literal["builtin", "hd-bet", "synthstrip", "none"], typer.Option(help="Who finds the brain.")
    ] = "builtin",
    bias: Annotated[bool, typer.Option("--bias", help="Take out shading with N4.")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Write the scans with skull and the transforms too.")] = False,
    atlas: Annotated[bool, typer.Option("--atlas", help="Also write the case laid over MNI152: CASE-atlas.")] = False,
) -> None:
    """Bring a patient's raw scans onto one 1 mm grid, skull off: a case for segment. Offline."""
    from glioscope.cli.raw import case_name, over_atlas, read_raw
    from glioscope.prepare.patient import PrepareConfig, prepare_raw, write_prepared

    if atlas and brain == "none":
        raise typer.BadParameter("--atlas needs the brain alone, but --brain is none; leave one of them away")
    named = {code: value for code, value in (("t1n", t1n), ("t1c", t1c), ("t2w", t2w), ("t2f", t2f)) if value}
    patient = read_raw(raw, named)
    for choice in patient.choices:
        print(f"{choice.sequence}: {choice.series}: {choice.reason}")
    for left_out, reason in patient.left_out.items():
        print(f"{left_out}: not used: {reason}")
    prepared = prepare_raw(patient, PrepareConfig(reference=reference, brain=brain, bias=bias))
    name = case_id or case_name(raw)
    case = write_prepared(prepared, output / name, name, steps=steps)
    problems = [*prepared.problems, *(over_atlas(prepared, output, f"{name}-atlas") if atlas else ())]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{output / name}: {', '.join(case.sequences)} on one grid; next: glioscope segment {output / name} -o out")


app.command()(change)


@app.command()
def phantoms(
    output: Output,
    count: Annotated[int, typer.Option("--count", "-n", help="How many patients.", min=1)] = 8,
    layout: Annotated[
        Literal["brats2018", "brats2021", "brats2023", "msd"], typer.Option(help="File names and labels of which year.")
    ] = "brats2023",
    seed: Annotated[int, typer.Option(help="Patient n is that of seed + n.", min=0)] = 0,
) -> None:
    """Write synthetic patients with tumours and references: a data set that needs no download."""
    from glioscope.phantom import write_phantoms

    written = write_phantoms(output, count, layout=layout, seed=seed)
    print(f"{output}: {len(written)} synthetic patients, layout {layout}")


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of cases.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for fingerprint.json and .csv.", show_default=False)
    ] = None,
) -> int:
    """Say what a data set holds and what is wrong with it; exit code 3 if anything is."""
    from glioscope.cases import check_dataset
    from glioscope.files import write_json, write_text

    with Watch("check") as watch:
        found = check_dataset(dataset, progress=lambda done, total, case_id: watch(done, total, case_id, news=False))
    summary = found.summary()
    print_table(str(dataset), ("what", "found"), [(name, _phrase(value)) for name, value in summary.items()])
    remarks = [*found.unusable.items(), *((r.case_id, problem) for r in found.records for problem in r.problems)]
    remarks += [(subject, f"several cases of one subject: {', '.join(c)}") for subject, c in found.same_subject.items()]
    remarks += [(group[0], f"the same images: {', '.join(group)}") for group in found.same_images]
    if remarks:
        print_table("Remarks", ("case", "remark"), remarks)
    if output is not None:
        write_json(output / "fingerprint.json", found.as_dict())
        write_text(output / "fingerprint.csv", found.as_csv())
        print(f"{output / 'fingerprint.json'}, {output / 'fingerprint.csv'}: every case")
    return 0 if found.sound else 3


def _phrase(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_phrase(entry)}" for name, entry in value.items()) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


app.command()(train)
app.command()(evaluate)
app.command()(export)
app.command()(compare)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="What segment, change, train or evaluate wrote.")],
    beside: Annotated[
        Path | None, typer.Option(help="For a run: another run to draw next to it.", show_default=False)
    ] = None,
) -> int:
    """Write the HTML again, from what is on disk; exit code 3 if that of some cases could not be."""
    from glioscope.report import write_change_report, write_evaluation_report, write_run_report
    from glioscope.segmentation import rewrite_reports

    failed = False
    if (folder / "config.json").is_file():
        written: tuple[Path, ...] = (write_run_report(folder, beside=beside),)
    elif (folder / "cases.csv").is_file():
        written = (write_evaluation_report(folder),)
    elif (folder / "change.json").is_file():
        written = (write_change_report(folder),)
    else:
        with Watch("report") as watch:
            found = rewrite_reports(folder, progress=watch)
        written, failed = found.pages, bool(found.problems)
    print(f"{written[0]}" + (f" and {len(written) - 1} more" if len(written) > 1 else ""))
    return 3 if failed else 0


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="What segment or train wrote, one case of it, or a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Take the checksums of inputs, models and outputs again; exit code 3 if any is not what was recorded."""
    from glioscope.results.verifying import verify as run

    with Watch("verify") as watch:
        found = run(folder, progress=lambda done, total, case_id: watch(done, total, case_id, news=False))
    rows = [(check.owner, check.what, check.state, str(check.path)) for check in found.mismatches]
    columns = ("case", "what", "state", "path")
    if as_json:
        mismatches = [dict(zip(columns, row, strict=True)) for row in rows]
        print(json.dumps({"checked": len(found.checks), "mismatches": mismatches, "notes": found.notes}, indent=1))
    else:
        if rows:
            print_table(str(folder), columns, rows)
        matching = len(found.checks) - len(rows)
        print(f"{folder}: {matching} files match, {len(rows)} {'does' if len(rows) == 1 else 'do'} not")
        for note in found.notes:
            print(note, file=sys.stderr)
    return 3 if rows else 0


app.command()(demo)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8000,
    data: Annotated[Path, typer.Option(help="Folder of the cases; made if need be.")] = Path("glioscope-data"),
    token: Annotated[
        str | None,
        typer.Option(
            help="Secret of at least 16 characters to log in with.", envvar="GLIOSCOPE_TOKEN", show_default=False
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; default: the network in the package.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Cases segmented at once.", min=1)] = 1,
) -> int:
    """Serve the web page: upload scans, look at the result, correct it, download it."""
    from glioscope.cli.serving import run_server

    return run_server(host=host, port=port, data=data, token=token, model=model, workers=workers)


app.command()(node)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, engines, processor features, and what comes with the package."""
    from glioscope.cli.information import gather

    found = gather()
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_table("Glioscope", ("what", "found"), [(name, _phrase(value)) for name, value in found.items()])
