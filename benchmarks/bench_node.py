"""The node under load: nothing lost or doubled while it and its archive are killed; rate; time to the result; memory.

    python benchmarks/bench_node.py soak --studies 200 --senders 4 --node-kills 20 --archive-kills 5
    python benchmarks/bench_node.py soak --studies 200 --senders 4                 without kills: memory over time
    python benchmarks/bench_node.py rate --megabytes 1000                          beside DCMTK's storescp
    python benchmarks/bench_node.py latency --studies 5 --kind brats               the network in the package
    python benchmarks/bench_node.py latency --studies 5 --kind raw

Needs Orthanc and DCMTK; everything stays on this machine's own address. Studies are phantoms. In the soak they are a
FLAIR series of 12 slices, and `tests/stand_in.py` makes the results in the place of `segment` (the same files, without
a network), so that what is tested is the node: some seconds a study instead of a minute. `--program segment` puts the
real program there. An association that breaks off is opened again by its sender, who sends what was not acknowledged,
and that only: an object acknowledged and not stored would be missing at the end. Prints JSON, and adds it to
results/node.json.
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import psutil
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

import stand_in
import synthetic_dicom as made
from archive import Orthanc, free_port, storescu
from glioscope.machine import processor
from glioscope.node.outbox import Outbox
from glioscope.node.store import Store
from glioscope.phantom import PhantomConfig, phantom

RESULTS = Path(__file__).parent / "results" / "node.json"
STAND_IN = (str(Path(stand_in.__file__)),)
SEGMENT = ("-m", "glioscope", "segment")
RUN = """
import signal, sys, threading
from pathlib import Path
from glioscope.node.service import Node
from glioscope.node.settings import NodeConfig, peer
from glioscope.node.telling import log_as_json
log_as_json()
data, port, archive, quiet, workers, *program = sys.argv[1:]
node = Node(NodeConfig(data=Path(data), port=int(port), send_to=(peer(archive),), quiet_seconds=float(quiet),
                       workers=int(workers), program=tuple(program), first_wait_seconds=0.5, longest_wait_seconds=5.0))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
node.start()
stop.wait()
node.stop()
"""


class NodeProcess:
    """One node, killed and started again as often as a run wants."""

    def __init__(self, data: Path, archive: Orthanc, port: int, options: argparse.Namespace) -> None:
        self.data, self.port = data, port
        program = STAND_IN if options.program == "stand-in" else SEGMENT
        peer = f"ORTHANC@127.0.0.1:{archive.port}"
        self._command = [sys.executable, "-W", "ignore", "-c", RUN, str(data), str(port), peer]
        self._command += [str(options.quiet), str(options.workers), *program]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "node.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(60)

    def memory_mb(self) -> float:
        try:
            return psutil.Process(self.process.pid).memory_full_info().uss / 1024**2 if self.process else 0.0
        except psutil.Error:
            return 0.0


def write_small(folder: Path, number: int) -> list[Path]:
    """A FLAIR series of 12 slices with a bright box, of a patient of its own."""
    image = np.full((24, 20, 12), 100, np.uint16)
    image[8:14, 6:12, 4:8] = 300
    who = {"PatientID": f"SOAK-{number}", "PatientName": f"Soak^{number}", "StudyInstanceUID": generate_uid()}
    return made.write_series(folder, image, made.grid(), {**made.FLAIR, "StudyDescription": "MR brain", **who})


class Sender(threading.Thread):
    """Sends studies one after the other, each object until it is acknowledged."""

    def __init__(self, port: int, studies: list[list[Path]]) -> None:
        super().__init__()
        self.port, self.studies = port, studies
        self.acknowledged: set[str] = set()
        self.broken = 0

    def run(self) -> None:
        for paths in self.studies:
            left = list(paths)
            while left:
                before = len(left)
                left = self._send(left)
                if left:
                    self.broken += before != len(left)
                    time.sleep(0.2)

    def _send(self, paths: list[Path]) -> list[Path]:
        ae = AE("SENDER")
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 20
        ae.add_requested_context(MRImageStorage)
        association = ae.associate("127.0.0.1", self.port, ae_title="GLIOSCOPE")
        left = list(paths)
        try:
            while left and association.is_established:
                if association.send_c_store(left[0]).get("Status") != 0:
                    break
                self.acknowledged.add(left.pop(0).stem)
        except RuntimeError:  # broke off
            pass
        if association.is_established:
            association.release()
        return left


class Killer(threading.Thread):
    """Kills something at random moments and starts it again."""

    def __init__(self, thing: Any, times: int, every: float, seed: int) -> None:
        super().__init__()
        self.thing, self.times, self.every, self.chance = thing, times, every, random.Random(seed)
        self.done = 0
        self.ended = threading.Event()

    def run(self) -> None:
        for _ in range(self.times):
            if self.ended.wait(self.chance.uniform(0.4, 1.6) * self.every):
                return
            self.thing.kill()
            self.done += 1
            time.sleep(self.chance.uniform(0.1, 2.0))
            self.thing.start()


def soak(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    rng = random.Random(options.seed)
    studies = []
    for number in range(options.studies):
        paths = write_small(home / "in" / str(number), number)
        studies.append([path.rename(path.with_name(f"{dcmread(path).SOPInstanceUID}.dcm")) for path in paths])
    rng.shuffle(studies)
    port = free_port()
    archive = Orthanc(home / "orthanc", node_port=port)
    archive.start()
    node = NodeProcess(home / "data", archive, port, options)
    node.start()
    began = time.monotonic()
    senders = [Sender(port, studies[n :: options.senders]) for n in range(options.senders)]
    span = options.studies * options.seconds_a_study
    killers = [
        Killer(node, options.node_kills, span / max(1, options.node_kills), options.seed),
        Killer(archive, options.archive_kills, span / max(1, options.archive_kills), options.seed + 1),
    ]
    for thread in (*senders, *killers):
        thread.start()
    memory = watch(node, home / "data", options, senders, began)
    for killer in killers:
        killer.ended.set()
        killer.join()
    seconds = time.monotonic() - began
    found = audit(home / "data", archive, [path.stem for study in studies for path in study], senders)
    node.stop()
    archive.kill()
    return {
        "studies": options.studies,
        "senders": options.senders,
        "program": options.program,
        "node_kills": killers[0].done,
        "archive_kills": killers[1].done,
        "associations_cut": sum(sender.broken for sender in senders),
        "seconds": round(seconds, 1),
        **found,
        "memory_mb": memory,
    }


def watch(
    node: NodeProcess, data: Path, options: argparse.Namespace, senders: list[Sender], began: float
) -> list[dict[str, float]]:
    """Wait until every study is at its end; return the node's own memory on the way."""
    rows: list[dict[str, float]] = []
    while time.monotonic() - began < options.limit:
        time.sleep(2)
        try:
            store = Store(data)
        except Exception:  # noqa: BLE001 (the node is starting)
            continue
        counts, waiting = store.count_versions(), store.open_studies()
        store.close()
        done = counts.get("done", 0)
        if not rows or done >= rows[-1]["done"] + max(1, options.studies // 20):
            rows.append({"done": done, "mb": round(node.memory_mb(), 1)})
        busy = sum(counts.get(state, 0) for state in ("queued", "running", "sending"))
        if not any(sender.is_alive() for sender in senders) and not waiting and not busy:
            break
    return rows


def audit(data: Path, archive: Orthanc, sent: list[str], senders: list[Sender]) -> dict[str, Any]:
    """Count by the files and by the archive's own list, not by what the node says."""
    store = Store(data)
    outbox = Outbox(store)
    on_disk = Counter(str(dcmread(path).SOPInstanceUID) for path in data.glob("studies/*/objects/*.dcm"))
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    results: Counter[tuple[str, str]] = Counter()
    for study in archive.get("/studies?expand"):
        for series in study["Series"]:
            about = archive.get(f"/series/{series}")
            key = (study["MainDicomTags"]["StudyInstanceUID"], about["MainDicomTags"]["Modality"])
            results[key] += 1
    versions = {study.study_uid: store.versions(study.key) for study in store.studies(limit=100_000)}
    expected = {uid: sum(v.state == "done" for v in found) for uid, found in versions.items()}
    states = store.count_versions()
    deliveries = outbox.counts()
    store.close()
    kinds = ("SEG", "SR", "RTSTRUCT", "OT")
    return {
        "objects_sent": len(sent),
        "acknowledged": len(acknowledged),
        "acknowledged_not_stored": len(acknowledged - set(on_disk)),
        "objects_lost": len(set(sent) - set(on_disk)),
        "objects_doubled": sum(count > 1 for count in on_disk.values()),
        "studies_without_result": sum(not n for n in expected.values()),
        "results_lost": sum(results[uid, kind] < n for uid, n in expected.items() for kind in kinds),
        "results_doubled": sum(results[uid, kind] > n for uid, n in expected.items() for kind in kinds),
        "studies_in_two_versions": sum(len(found) > 1 for found in versions.values()),
        "versions": states,
        "deliveries": deliveries,
    }


def rate(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Receive a study of plain slices of 0.5 MB, and DCMTK's own receiver in turn."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4000, (512, 512, 100)).astype(np.uint16)
    for n in range(options.megabytes // 52):
        made.write_series(home / "in", image, made.grid((512, 512, 100), (0.5, 0.5, 1)), made.T1, number=n + 1)
    size = sum(path.stat().st_size for path in (home / "in").iterdir())
    archive, port = Orthanc(home / "orthanc"), free_port()
    options.quiet = 3600
    found: dict[str, list[float]] = {"node": [], "storescp": []}
    for _ in range(options.repeats):
        node = NodeProcess(home / "data", archive, port, options)
        node.start()
        wait_for(port)
        found["node"].append(timed(home / "in", port, size))
        node.stop()
        shutil.rmtree(home / "data")
        other = free_port()
        (home / "scp").mkdir()
        command = ["storescp", "-od", str(home / "scp"), "-aet", "GLIOSCOPE", "+B", "-pdu", "131072", str(other)]
        scp = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(other)
        found["storescp"].append(timed(home / "in", other, size))
        scp.terminate()
        scp.wait()
        shutil.rmtree(home / "scp")
    return {
        "megabytes": round(size / 1e6),
        "objects": len(list((home / "in").iterdir())),
        "mb_per_second": {name: [round(v, 1) for v in values] for name, values in found.items()},
    }


def timed(folder: Path, port: int, size: int) -> float:
    began = time.monotonic()
    code = storescu(folder, port, "-R", "--max-send-pdu", "131072")
    assert code == 0, code
    return size / 1e6 / (time.monotonic() - began)


def wait_for(port: int) -> None:
    for _ in range(300):
        command = ["echoscu", "-aec", "GLIOSCOPE", "127.0.0.1", str(port)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError("nobody answers")


BRATS = PhantomConfig()
RAW = PhantomConfig(shape=(192, 256, 160), spacing_mm=(0.94, 0.94, 1.0), skull=True, pose_degrees=(2.0, -3.0, 4.0))


def latency(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Time from the acknowledgement of the last image to the SEG in the archive, with the network in the package."""
    options.program = "segment"
    port = free_port()
    archive = Orthanc(home / "orthanc", node_port=port)
    archive.start()
    node = NodeProcess(home / "data", archive, port, options)
    node.start()
    wait_for(port)
    seconds = []
    for seed in range(options.studies + 1):  # the first pays for compiling the network
        folder, uid = home / "in" / str(seed), generate_uid()
        write_head(folder, seed, uid, BRATS if options.kind == "brats" else RAW)
        assert storescu(folder, port, "-R", "--max-send-pdu", "131072") == 0
        began = time.monotonic()
        while not has_seg(archive, uid):
            assert time.monotonic() - began < options.limit, (home / "data" / "node.log").read_text()[-2000:]
            time.sleep(0.05)
        seconds.append(time.monotonic() - began)
    node.stop()
    archive.kill()
    return {
        "kind": options.kind,
        "quiet_seconds": options.quiet,
        "seconds": [round(s, 1) for s in seconds[1:]],
        "median_seconds": round(statistics.median(seconds[1:]), 1),
        "first_seconds": round(seconds[0], 1),
    }


def write_head(folder: Path, seed: int, uid: str, config: PhantomConfig) -> None:
    one = phantom(seed, config)
    kinds = {"t1n": made.T1, "t1c": made.T1C, "t2w": made.T2, "t2f": made.FLAIR}
    for number, (code, image) in enumerate(one.images.items(), 1):
        pixels = np.clip(image, 0, 65535).astype(np.uint16)
        tags = {**kinds[code], "StudyInstanceUID": uid, "PatientID": f"L{seed}", "PatientName": f"Latency^{seed}"}
        made.write_series(folder, pixels, one.grid.affine, tags, number=number)


def has_seg(archive: Orthanc, uid: str) -> bool:
    found = archive.objects("SEG")
    studies = {archive.get(f"/studies/{one['ParentStudy']}")["MainDicomTags"]["StudyInstanceUID"] for one in found}
    return uid in studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("soak", "rate", "latency"))
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--node-kills", type=int, default=0)
    parser.add_argument("--archive-kills", type=int, default=0)
    parser.add_argument("--program", choices=("stand-in", "segment"), default="stand-in")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=5.0, help="quiet time of the node, seconds")
    parser.add_argument("--seconds-a-study", type=float, default=3.0, help="over which kills are spread")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which a run is given up")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=("brats", "raw"), default="brats")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--machine", default="", help="what else it was doing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-node-", ignore_cleanup_errors=True) as folder:
        found = {"soak": soak, "rate": rate, "latency": latency}[options.what](options, Path(folder))
    record = {"what": options.what, **found, "machine": options.machine, "processor": asdict(processor())}
    earlier = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else []
    RESULTS.write_text(json.dumps([*earlier, record], indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
