"""`glioscope fetch-study`: one study out of an archive, by DICOMweb."""

from typing import Annotated

import typer

from glioscope.cli.options import Output
from glioscope.cli.terminal import print_table
from glioscope.errors import DependencyError


def fetch_study(
    output: Output,
    dicomweb: Annotated[str, typer.Option(metavar="URL", help="DICOMweb root of the archive.")],
    uid: Annotated[
        str | None, typer.Argument(help="StudyInstanceUID; without one the archive's studies are listed.")
    ] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Strip by the basic profile of DICOM PS3.15, for research.")
    ] = False,
) -> int:
    """Fetch the MR images of a study from an archive into OUTPUT, for `segment`."""
    try:
        from glioscope.dicom.anonymising import Anonymiser
        from glioscope.node.dicomweb import WebArchive
    except ImportError as error:
        raise DependencyError(f"fetch-study needs {error.name}: pip install 'glioscope[node]'") from error
    archive = WebArchive(dicomweb)
    if uid is None:
        rows = [(one.uid, one.date, one.patient, one.modalities, one.description) for one in archive.studies()]
        print_table(archive.place, ("study", "date", "patient", "modalities", "description"), rows)
        return 0
    count = archive.fetch(uid, output, Anonymiser().strip if anonymise else None)
    print(f"{output}: {count} images{', anonymised' if anonymise else ''}; next: glioscope segment {output} -o out")
    return 0
