"""The node's list under any order of events, kills among them: nothing lost, nothing done twice, nothing sent twice."""

import shutil
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from glioscope.node.outbox import Outbox
from glioscope.node.records import Parcel, Received, VersionRow
from glioscope.node.store import ATTEMPTS, Store

STUDIES = st.sampled_from(["a", "b"])
PEERS = ("P@h:1", "Q@h:2")


class Queue(RuleBasedStateMachine):
    """A model of plain sets beside the list in SQLite."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="queue-"))
        self.store = Store(self.folder)
        self.outbox = Outbox(self.store)
        self.acknowledged: dict[str, set[str]] = {"a": set(), "b": set()}
        self.waiting: dict[str, set[str]] = {"a": set(), "b": set()}
        """Received, and in no version yet."""
        self.running: dict[str, VersionRow] = {}
        self.results = 0
        self.taken: list[tuple[str, str]] = []
        """Archive and UID of what archives have, as often as they took it."""

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(key=STUDIES, sop=st.integers(0, 5))
    def receive(self, key: str, sop: int) -> None:
        new = self.store.receive(
            Received(
                key=key,
                study_uid=f"1.{key}",
                sop_uid=str(sop),
                digest="d",
                file=f"{sop}.dcm",
                patient="p",
                calling="MR",
                address="",
                description="",
                station="",
            )
        )
        assert new == (str(sop) not in self.acknowledged[key])
        if new:
            self.acknowledged[key].add(str(sop))
            self.waiting[key].add(str(sop))

    @rule(key=STUDIES)
    def complete(self, key: str) -> None:
        number = self.store.complete(key)
        assert bool(number) == bool(self.waiting[key])
        self.waiting[key].clear()

    @rule()
    def take(self) -> None:
        version = self.store.take()
        if version is not None:
            assert version.key not in self.running  # of one study only one is under way
            assert version.attempts <= ATTEMPTS
            self.running[version.key] = version
            files = self.store.used_files(version)
            assert len(files) == len(set(files))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        version = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        if fails:
            self.store.end(version, "failed", "no head")
            return
        newest = max(one.number for one in self.store.versions(version.key))
        self.results += 1
        uid = f"9.{self.results}"
        parcels = [Parcel(peer=peer, file="seg.dcm", sop_class="1", sop_uid=uid) for peer in PEERS]
        assert self.outbox.made(version, parcels) == (version.number == newest)

    @rule(peer=st.sampled_from(PEERS), end=st.sampled_from(["stored", "confirmed", "refused", "later", "lost"]))
    def deliver(self, peer: str, end: str) -> None:
        for one in self.outbox.due(peer, 1e12):
            assert one.state == "waiting"
            if end == "refused":
                self.outbox.refused(one, "no")
            elif end == "later":
                self.outbox.postpone(one, "later", 0)
            else:
                self.taken.append((peer, one.sop_uid))
                self.outbox.sent(one, confirms=end != "stored")
        if end in ("confirmed", "lost"):
            batch = self.outbox.due(peer, 1e12, "sent")
            self.outbox.asked(batch, "T", 0)
            uids = [one.sop_uid for one in batch]
            self.outbox.answered("T", uids if end == "confirmed" else [], uids if end == "lost" else [])
            if end == "lost":
                self.taken = [entry for entry in self.taken if entry[1] not in uids or entry[0] != peer]

    @rule(key=STUDIES)
    def again(self, key: str) -> None:
        versions = self.store.versions(key)
        expected = bool(versions) and versions[-1].state in ("failed", "ignored")
        assert bool(self.store.again(key)) == expected

    @rule()
    def kill(self) -> None:
        """The program ends without a word; what was under way begins again, or is given up with a reason."""
        self.store.close()
        self.store = Store(self.folder)
        self.outbox = Outbox(self.store)
        for lost in self.store.requeue():
            assert lost.attempts >= ATTEMPTS
        self.running.clear()

    @invariant()
    def every_object_is_in_a_version_or_waits(self) -> None:
        for key, sops in self.acknowledged.items():
            assert self.store.count_objects(key) == len(sops)
            waiting = self.store.open_studies()
            assert (key in waiting) == bool(self.waiting[key])
            versions = self.store.versions(key)
            assert sum(version.objects for version in versions) == len(sops) - len(self.waiting[key])
            assert sum(version.state == "queued" for version in versions) <= 1

    @invariant()
    def a_version_is_done_when_all_its_results_are(self) -> None:
        for key in self.acknowledged:
            for version in self.store.versions(key):
                states = {one.state for one in self.outbox.of(key, version.number)}
                if version.state == "done":
                    assert states <= {"stored", "confirmed"}
                if version.state == "sending":
                    assert states & {"waiting", "sent"}

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert len(self.taken) == len(set(self.taken))


Queue.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestQueue = Queue.TestCase
