"""The node put together: what is received becomes complete, is made into results, and is sent."""

import logging
import threading
import time
from collections.abc import Sequence

from glioscope.errors import GlioscopeError
from glioscope.node.couriers import Carrier, Courier
from glioscope.node.dicomweb import WebCarrier
from glioscope.node.keeping import Keeper
from glioscope.node.outbox import Outbox
from glioscope.node.receiving import Receiver
from glioscope.node.sending import DimseCarrier
from glioscope.node.settings import NodeConfig, Peer, WebPeer
from glioscope.node.store import Store
from glioscope.node.working import Workers

log = logging.getLogger(__name__)
_PAUSE = 0.2
"""Seconds between two looks at whether a study is complete."""


class Node:
    """One node, on one folder.

    Parameters
    ----------
    config : NodeConfig
        Everything that can be set.

    Raises
    ------
    RunError
        The folder cannot be used.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.store = Store(config.data)
        self.outbox = Outbox(self.store)
        self.keeper = Keeper(self.store, config)
        self.receiver = Receiver(config, self.keeper, self._arrived, self.outbox.answered)
        self.couriers = [
            Courier(str(peer), self._carrier(peer), self.store, self.outbox, config) for peer in config.send_to
        ]
        self.workers = Workers(self.store, self.outbox, config, map(str, config.send_to), self._made)
        self.received = 0
        self._last: dict[str, float] = {}
        """Study to when its last object came, by a clock that nobody sets."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch")

    def _carrier(self, peer: Peer | WebPeer) -> Carrier:
        return WebCarrier(peer) if isinstance(peer, WebPeer) else DimseCarrier(peer, self.config, self.outbox.answered)

    def start(self) -> None:
        """Begin: take up what the last stop left, then listen.

        Raises
        ------
        RunError
            The address cannot be listened at.
        """
        found = self.keeper.recover()
        if found:
            log.info("objects found again", extra={"objects": found})
        now = time.monotonic()
        self._last = dict.fromkeys(self.store.open_studies(), now)
        self.receiver.start()
        self.workers.start()
        for courier in self.couriers:
            courier.start()
        self._watcher.start()
        log.info("listening", extra={"ae": self.config.ae, "port": self.receiver.port})

    def stop(self) -> None:
        """Stop; what is under way is done at the next start."""
        self.receiver.stop()
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.workers.stop()
        for courier in self.couriers:
            courier.stop()
        self.store.close()
        log.info("stopped")

    def troubles(self) -> Sequence[str]:
        """Return what is wrong with the node; nothing if it is well."""
        found = []
        if not self._watcher.is_alive() or not self.workers.alive or not all(c.alive for c in self.couriers):
            found.append("a part of the node has ended; start it again")
        if not self.keeper.room():
            found.append("the disk is nearly full: nothing is received")
        return found

    def _arrived(self, key: str, new: bool) -> None:
        with self._lock:
            self.received += 1
            if new or key in self._last:
                self._last[key] = time.monotonic()

    def _made(self) -> None:
        for courier in self.couriers:
            courier.wake()

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            limit = time.monotonic() - self.config.quiet_seconds
            with self._lock:
                quiet = [key for key, last in self._last.items() if last <= limit]
            for key in quiet:
                self._complete(key, limit)

    def _complete(self, key: str, limit: float) -> None:
        """Take a study as complete, unless an object of it came in this moment."""
        with self._lock:
            if self._last.get(key, limit + 1) > limit:
                return
            del self._last[key]
        try:
            number = self.store.complete(key)
        except GlioscopeError as error:  # a full disk: try again later
            log.warning("the list cannot be written", extra={"study": key, "reason": str(error)})
            with self._lock:
                self._last.setdefault(key, time.monotonic())
            return
        if number:
            log.info("study complete", extra={"study": key, "version": number})
            self.workers.wake()
