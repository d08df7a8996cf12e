"""Fuzz one target with atheris: `python fuzz/run.py TARGET SECONDS [CORPUS]`.

Coverage of Glioscope, nibabel, pydicom and the standard library's readers steers the mutations. A defect stops the run
with its traceback, and libFuzzer leaves the bytes beside as `crash-…`.
"""

import random
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["glioscope", "nibabel", "pydicom", "zipfile", "gzip", "tomllib"]):
    import corpus
    import targets


def main() -> None:
    """Read the arguments and fuzz."""
    name, seconds = sys.argv[1], sys.argv[2]
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else targets.place(f"{name}-corpus")
    corpus.write(name, folder)
    seeds = corpus.CORPORA[name]()
    warnings.simplefilter("ignore")

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.9:
            if rng.random() < 0.5:  # libFuzzer keeps the smallest; depth is found from whole records
                data = rng.choice(seeds)
            for _ in range(rng.randint(1, 3)):
                data = targets.mutated_json(data, rng.randrange)
            return data[:largest]
        return atheris.Mutate(data, largest)

    options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=30", "-max_len=200000", str(folder)]
    extra = {"custom_mutator": mutate} if name in targets.JSON_TARGETS else {}
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[name], **extra)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
