"""How the server bears load: uploads in a row and at once, then several clients for some minutes; time, memory, losses.

    python benchmarks/bench_server.py [--row 20] [--once 4] [--clients 8] [--minutes 5] [--case FOLDER] [--model MODEL]

Starts a server of its own, feeds it one case (a phantom, or that of --case) again and again, and
ends it afterwards. Needs the extra `web`.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glioscope.files import write_json
from glioscope.machine import processor
from glioscope.phantom import write_phantoms

JobList = list[dict[str, Any]]


class Client:
    """Asks one server, and counts what failed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.failures: Counter[str] = Counter()
        self.requests = 0

    def ask(self, path: str, *, body: bytes | None = None, kind: str = "application/json") -> bytes:
        headers = {"content-type": kind} if body is not None else {}
        request = urllib.request.Request(self._address + path, data=body, headers=headers)
        self.requests += 1
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            self.failures[f"{error.code}"] += 1
            raise
        except OSError as error:
            self.failures[type(error).__name__] += 1
            raise

    def upload(self, folder: Path, title: str) -> str:
        boundary = uuid.uuid4().hex
        parts = [field(boundary, f'name="{n}"', v.encode()) for n, v in (("start", "1"), ("title", title))]
        parts += [field(boundary, f'name="files"; filename="{p.name}"', p.read_bytes()) for p in scans(folder)]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        answer = self.ask("/api/uploads", body=body, kind=f"multipart/form-data; boundary={boundary}")
        return str(json.loads(answer)[0]["key"])

    def cases(self) -> JobList:
        found: JobList = json.loads(self.ask("/api/cases?limit=500"))["cases"]
        return found


def field(boundary: str, disposition: str, body: bytes) -> bytes:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + body + b"\r\n"


def scans(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if "seg" not in path.name]


class Watch(threading.Thread):
    """The server's memory over time, and that of it with its jobs."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.server_mb: list[float] = []
        self.job_mb = 0.0
        self.all_mb = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            resident = {pid: mb for pid, parent, mb in processes() if self._process in (pid, parent)}
            self.all_mb = max(self.all_mb, sum(resident.values()))
            self.server_mb.append(resident.pop(self._process, 0.0))
            self.job_mb = max([self.job_mb, *resident.values()])


def processes() -> list[tuple[int, int, float]]:
    """Number, parent and resident memory in MB of each process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        found.append((int(entry.parent.name), int(fields[1]), int(fields[21]) * 4096 / 1e6))
    return found


def wait_for_all(client: Client, keys: list[str]) -> dict[str, str]:
    while True:
        states = {case["key"]: case["state"] for case in client.cases() if case["key"] in keys}
        if all(state in ("done", "failed", "review") for state in states.values()):
            return states
        time.sleep(0.5)


def timed(work: Callable[[], list[str]], client: Client, wanted: int) -> dict[str, Any]:
    """Return what became of `wanted` uploads; one that was refused is lost as much as one that failed."""
    start = time.perf_counter()
    keys = work()
    sent = time.perf_counter() - start
    states = wait_for_all(client, keys)
    seconds = time.perf_counter() - start
    count = Counter(states.values())
    return {
        "cases": wanted,
        "states": dict(count),
        "lost": wanted - count["done"],
        "upload_seconds": round(sent, 2),
        "seconds_a_case": round(seconds / max(1, wanted), 2),
    }


def in_a_row(client: Client, folder: Path, count: int) -> list[str]:
    return [client.upload(folder, f"row-{n}") for n in range(count)]


def at_once(address: str, folder: Path, count: int) -> list[str]:
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: keys.append(Client(address).upload(folder, f"once-{n}")))
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return keys


def reader(address: str, keys: list[str], ends: float, clients: list[Client]) -> None:
    """What a browser asks for, over and over: the list, a case, its images, labels, summary, table."""
    client = Client(address)
    clients.append(client)
    turn = 0
    while time.monotonic() < ends:
        key = keys[turn % len(keys)]
        turn += 1
        paths = ("/", "/api/cases", f"/cases/{key}", f"/api/cases/{key}", f"/api/cases/{key}/summary.json")
        paths += tuple(f"/api/cases/{key}/{p}" for p in ("images/t1c.nii.gz", "segmentation.nii.gz?view=true"))
        for path in paths:
            try:
                client.ask(path)
            except OSError:
                continue  # counted


def crowd(address: str, keys: list[str], count: int, minutes: float) -> dict[str, Any]:
    clients: list[Client] = []
    ends = time.monotonic() + 60 * minutes
    threads = [threading.Thread(target=reader, args=(address, keys, ends, clients)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests = sum(client.requests for client in clients)
    failures = sum((client.failures for client in clients), Counter())
    return {
        "clients": count,
        "minutes": minutes,
        "requests": requests,
        "requests_a_second": round(requests / (60 * minutes), 1),
        "failed": dict(failures),
    }


def load(server: "subprocess.Popen[bytes]", address: str, case: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Do everything to a server that is starting, and return what was seen."""
    client = Client(address)
    while True:
        try:
            client.cases()
            break
        except OSError:
            time.sleep(0.2)
    watch = Watch(server.pid)
    watch.start()
    size = sum(path.stat().st_size for path in scans(case))
    found: dict[str, Any] = {"processor": asdict(processor()), "case_mb": round(size / 1e6, 1)}
    found["in_a_row"] = timed(lambda: in_a_row(client, case, options.row), client, options.row)
    found["at_once"] = timed(lambda: at_once(address, case, options.once), client, options.once)
    keys = [one["key"] for one in client.cases() if one["state"] == "done"]
    if options.minutes:
        found["crowd"] = crowd(address, keys, options.clients, options.minutes)
    watch.ended.set()
    watch.join()
    quarter = len(watch.server_mb) // 4
    early, late = sorted(watch.server_mb[:quarter]), sorted(watch.server_mb[-quarter:])
    found["memory"] = {
        "server_mb_at_most": round(max(watch.server_mb)),
        "server_mb_median_first_quarter": round(early[len(early) // 2]),
        "server_mb_median_last_quarter": round(late[len(late) // 2]),
        "job_mb_at_most": round(watch.job_mb),
        "server_and_jobs_mb_at_most": round(watch.all_mb),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", type=int, default=20)
    parser.add_argument("--once", type=int, default=4)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0, help="of several clients at once; 0: none")
    parser.add_argument("--case", type=Path, help="folder of a case; default: a phantom")
    parser.add_argument("--model", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/server.json"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended too
    with tempfile.TemporaryDirectory() as folder:
        case = options.case or write_phantoms(Path(folder) / "phantoms", 1)[0]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "glioscope", "serve", "--port", str(port), "--data", f"{folder}/data"]
        command += ["--model", str(options.model)] if options.model else []
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            found = load(server, f"http://127.0.0.1:{port}", case, options)
        finally:
            server.terminate()
            server.wait()
    write_json(options.output, found)
    print(json.dumps({name: value for name, value in found.items() if name != "processor"}, indent=1))


if __name__ == "__main__":
    main()
