"""What the node says of itself: log lines as JSON, health, numbers for Prometheus. Studies are named by codes alone."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from glioscope.errors import RunError
from glioscope.node.service import Node

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A log line as one JSON object: time, level, event, and the values that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        told |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def log_as_json() -> None:
    """Send this package's log to standard error as JSON lines; the network library's, which quotes data, nowhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    ours = logging.getLogger("glioscope")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)
    for name in ("pynetdicom", "dicomweb_client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class _Numbers:
    """Numbers of a node, read when they are asked for."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Yield every number, as the client library asks for them."""
        node = self._node
        yield CounterMetricFamily("glioscope_objects_received", "Objects acknowledged", value=node.received)
        yield CounterMetricFamily(
            "glioscope_refusals", "Associations and objects refused", value=node.receiver.refusals
        )
        for name, text, counts in (
            ("glioscope_versions", "Versions of studies by state", node.store.count_versions()),
            ("glioscope_results", "Results for archives by state", node.outbox.counts()),
        ):
            family = GaugeMetricFamily(name, text, labels=["state"])
            for state, count in counts.items():
                family.add_metric([state], count)
            yield family
        reach = GaugeMetricFamily("glioscope_archive_up", "Whether an archive answered last", labels=["archive"])
        for courier in node.couriers:
            reach.add_metric([courier.name], float(courier.reachable))
        yield reach


class Teller:
    """The address of /healthz and /metrics, on this machine alone.

    Parameters
    ----------
    node : Node
        What they are about.
    port : int
        0 takes a free one.

    Raises
    ------
    RunError
        The port is taken.
    """

    def __init__(self, node: Node, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Numbers(node))

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "glioscope", ""
            timeout = 10

            def do_GET(self) -> None:
                troubles = node.troubles()
                if self.path == "/healthz":
                    status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
                    self._answer(status, "application/json", json.dumps({"troubles": list(troubles)}).encode())
                elif self.path == "/metrics":
                    self._answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz or /metrics")

            def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
                """Say nothing: every look at the numbers would be a line."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise RunError(f"node: cannot listen at 127.0.0.1:{port} ({error.strerror}); choose --http-port") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="tell", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
