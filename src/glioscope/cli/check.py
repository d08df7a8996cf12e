"""`glioscope check`: what a data set holds, and what is wrong with it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch, print_table, said


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of cases.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for fingerprint.json and .csv.", show_default=False)
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Scheme of the references; default: told by all of them.", show_default=False)
    ] = None,
    subjects: Annotated[
        Path | None, typer.Option(help="CSV of case_id,subject_id, where names do not tell.", show_default=False)
    ] = None,
) -> int:
    """Say what a data set holds and what is wrong with it; exit code 3 if anything is.

    Exit code 2 if the references may be in several label schemes: name one with --scheme.
    """
    from glioscope.cases import check_dataset, unused_in_words
    from glioscope.files import write_json, write_text

    with Watch("check") as watch:
        found = check_dataset(
            dataset,
            scheme=scheme,
            subjects=subjects,
            progress=lambda done, total, case_id: watch(done, total, case_id, news=False),
        )
    summary = found.summary()
    print_table(str(dataset), ("what", "found"), [(name, said(value)) for name, value in summary.items()])
    remarks = [*found.unusable.items(), *((r.case_id, problem) for r in found.records for problem in r.problems)]
    remarks += [(subject, f"several cases of one subject: {', '.join(c)}") for subject, c in found.same_subject.items()]
    remarks += [(group[0], f"the same images: {', '.join(group)}") for group in found.same_images]
    remarks += [(a, f"shows nearly the same head as {b}, of another subject") for a, b in found.same_heads]
    remarks += [("not read", line) for line in unused_in_words(found.unused)]
    if remarks:
        print_table("Remarks", ("case", "remark"), remarks)
    if output is not None:
        write_json(output / "fingerprint.json", found.as_dict())
        write_text(output / "fingerprint.csv", found.as_csv())
        print(f"{output / 'fingerprint.json'}, {output / 'fingerprint.csv'}: every case")
    for question in found.questions:
        print(f"glioscope: {question}", file=sys.stderr)
    if found.questions:
        return 2
    return 0 if found.sound else 3
