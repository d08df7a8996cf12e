"""`glioscope-bids`: the program as an app of BIDS, called as all of them are.

glioscope-bids IN OUT participant --participant-label 01 02
glioscope-bids IN OUT group
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from glioscope import __version__
from glioscope.errors import CaseError, GlioscopeError, printable


def command() -> NoReturn:
    """Be the program `glioscope-bids`."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one level of the app; return 0, or 2 for wrong use and 3 if some cases failed."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.analysis_level == "group":
            from glioscope.segmentation.derivative import write_group

            print(f"{write_group(asked.output_dir)}: every case")
            return 0
        return _participants(asked)
    except GlioscopeError as error:
        print(f"glioscope-bids: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="glioscope-bids", description="Tumours segmented in a data set of BIDS. Research use only."
    )
    parser.add_argument("bids_dir", type=Path, help="the data set")
    parser.add_argument("output_dir", type=Path, help="the derivative; made if need be")
    parser.add_argument("analysis_level", choices=("participant", "group"))
    parser.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="such as 01",
    )
    parser.add_argument(
        "--session-label", "--session_label", nargs="+", default=[], metavar="LABEL", help="with or without ses-"
    )
    parser.add_argument("--n-cpus", "--n_cpus", type=int, default=None, help="threads; default: all cores")
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the network in the package")
    parser.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true", help="nothing is run")
    parser.add_argument("-v", "--version", action="version", version=__version__)
    return parser


def _participants(asked: argparse.Namespace) -> int:
    from glioscope.cli.terminal import Watch
    from glioscope.segmentation import SegmentOptions, segment
    from glioscope.segmentation.cohort import find_inputs
    from glioscope.segmentation.derivative import WORK, write_derivative

    cases, problems = find_inputs(asked.bids_dir)
    chosen = [case for case in cases if _wanted(case.case_id, asked)]
    wrong = {name: why for name, why in problems.items() if _wanted(name, asked)}
    missing = [p for p in asked.participant_label if not any(_is_of(p, name) for name in (*_ids(cases), *problems))]
    if missing:
        raise CaseError(f"{asked.bids_dir}: has no participant {', '.join(missing)}; check the labels")
    for why in wrong.values():
        print(f"glioscope-bids: {printable(why)}", file=sys.stderr)
    failed = len(wrong)
    if chosen:
        options = SegmentOptions(threads=asked.n_cpus, scheme="brats2023")
        with Watch("segment") as watch:
            result = segment(chosen, asked.output_dir / WORK, model=asked.model, options=options, progress=watch)
        failed += len(result.with_status("failed"))
        maps = write_derivative(asked.output_dir, source=asked.bids_dir)
        print(f"{asked.output_dir}: {len(maps)} label maps, {failed} failed")
    return 3 if failed or not chosen else 0


def _ids(cases: Sequence[object]) -> list[str]:
    return [str(getattr(case, "case_id", "")) for case in cases]


def _is_of(label: str, case_id: str) -> bool:
    return case_id.split("_", maxsplit=1)[0] == f"sub-{label.removeprefix('sub-')}"


def _wanted(case_id: str, asked: argparse.Namespace) -> bool:
    sessions = {f"ses-{label.removeprefix('ses-')}" for label in asked.session_label}
    of_session = not sessions or bool(sessions & set(case_id.split("_")[1:]))
    labels = asked.participant_label
    return of_session and (not labels or any(_is_of(label, case_id) for label in labels))
