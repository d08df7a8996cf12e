"""`glioscope check`: what a data set holds, and what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from glioscope.cli.terminal import Watch, print_table, said


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
    print_table(str(dataset), ("what", "found"), [(name, said(value)) for name, value in summary.items()])
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
