"""How long `check` takes for a data set, and what of it is unpacking: CPU seconds a case, of phantoms of full size.

    python benchmarks/bench_check.py [--cases 8]

CPU seconds, since wall clock says nothing on a shared machine; a thousand cases on two idle cores take about 500 times
the first number. The goal is 60 s for those.
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

from glioscope.cases import survey
from glioscope.cases.examine import examine
from glioscope.machine import processor
from glioscope.phantom import write_phantoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=8)
    count = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as scratch:
        write_phantoms(Path(scratch), count)
        cases = survey(Path(scratch)).cases
        examine(cases[0])  # loads what is loaded late
        begun = time.process_time()
        for case in cases:
            examine(case)
        whole = (time.process_time() - begun) / count
        begun = time.process_time()
        for path in Path(scratch).rglob("*.nii.gz"):
            with gzip.open(path) as file:
                file.read()
        unpacking = (time.process_time() - begun) / count
    found = {"cases": count, "cpu_seconds_a_case": round(whole, 3), "unpacking_alone": round(unpacking, 3)}
    print(json.dumps({**found, "processor": processor().model}, indent=1))


if __name__ == "__main__":
    main()
