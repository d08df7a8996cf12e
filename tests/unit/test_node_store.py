"""The node's list: no object is lost, none is done twice, whatever comes in whatever order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

from glioscope.errors import RunError
from glioscope.node.outbox import Outbox
from glioscope.node.records import Parcel, Received, VersionRow
from glioscope.node.store import ATTEMPTS, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    yield found
    found.close()


def received(sop: str, *, study: str = "1.2", digest: str = "a", patient: str = "p") -> Received:
    return Received(
        key=f"k{study}",
        study_uid=study,
        sop_uid=sop,
        digest=digest,
        file=f"{sop}-{digest}.dcm",
        patient=patient,
        calling="MR1",
        address="127.0.0.1",
        description="",
        station="",
    )


def parcels(count: int = 2, *, peer: str = "A@h:1", start: int = 0) -> list[Parcel]:
    return [Parcel(peer=peer, file=f"{n}.dcm", sop_class="1.9", sop_uid=f"9.{n}") for n in range(start, start + count)]


def taken(store: Store) -> VersionRow:
    version = store.take()
    assert version is not None
    return version


def states(store: Store, key: str = "k1.2") -> list[str]:
    return [version.state for version in store.versions(key)]


def test_a_study_is_done_once_and_late_images_make_a_new_version(store: Store) -> None:
    assert store.receive(received("1"))
    assert store.receive(received("2"))
    assert store.open_studies() == {"k1.2": 2}
    assert store.complete("k1.2") == 1
    assert store.complete("k1.2") == 0
    version = taken(store)
    assert store.take() is None
    assert store.used_files(version) == ["1-a.dcm", "2-a.dcm"]
    assert Outbox(store).made(version, [])
    assert states(store) == ["done"]
    store.receive(received("3"))
    assert store.complete("k1.2") == 2
    assert store.used_files(taken(store)) == ["1-a.dcm", "2-a.dcm", "3-a.dcm"]


def test_the_same_object_again_changes_nothing(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    assert not store.receive(received("1"))
    assert store.open_studies() == {}


def test_another_content_under_one_uid_is_kept_but_not_used(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    assert store.receive(received("1", digest="b"))
    assert store.open_studies() == {}
    assert store.twins("k1.2") == 1
    assert store.files("k1.2") == {"1-a.dcm", "1-b.dcm"}
    assert store.used_files(taken(store)) == ["1-a.dcm"]


def test_another_patient_under_one_uid_is_looked_at(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    store.receive(received("1", digest="b", patient="q"))
    assert store.open_studies() == {"k1.2": 2}
    assert store.patients("k1.2") == 2


def test_images_that_come_before_a_version_is_begun_join_it(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    store.receive(received("2"))
    assert store.complete("k1.2") == 1
    assert taken(store).objects == 2


def test_images_that_come_while_a_version_is_made_supersede_it(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    first = taken(store)
    store.receive(received("2"))
    store.complete("k1.2")
    assert store.take() is None  # one of a study at a time
    assert not Outbox(store).made(first, parcels())
    assert states(store) == ["superseded", "queued"]
    assert Outbox(store).of("k1.2") == []


def test_what_an_older_version_has_not_sent_is_not_sent(store: Store) -> None:
    outbox = Outbox(store)
    store.receive(received("1"))
    store.complete("k1.2")
    outbox.made(taken(store), parcels(2))
    store.receive(received("2"))
    store.complete("k1.2")
    outbox.made(taken(store), parcels(2, start=2))
    assert states(store) == ["superseded", "sending"]
    assert [one.sop_uid for one in outbox.due("A@h:1", 1e12)] == ["9.2", "9.3"]


def test_a_kill_puts_the_version_back_three_times(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.receive(received("1"))
    store.complete("k1.2")
    for n in range(1, ATTEMPTS):
        assert taken(store).attempts == n
        store.close()
        store = Store(tmp_path)
        assert store.requeue() == []
    taken(store)
    store.close()
    store = Store(tmp_path)
    assert [version.key for version in store.requeue()] == ["k1.2"]
    assert states(store) == ["failed"]
    assert store.again("k1.2") == "queued"
    assert taken(store).attempts == 1
    store.close()


def test_a_stop_of_the_node_is_no_attempt(store: Store) -> None:
    store.receive(received("1"))
    store.complete("k1.2")
    store.put_back(taken(store))
    assert taken(store).attempts == 1


def test_a_version_is_done_when_every_archive_has_everything(store: Store) -> None:
    outbox = Outbox(store)
    store.receive(received("1"))
    store.complete("k1.2")
    outbox.made(taken(store), [*parcels(2), *parcels(1, peer="B@h:2")])
    first, second = outbox.due("A@h:1", 1e12)
    outbox.sent(first, confirms=False)
    outbox.sent(second, confirms=True)
    outbox.sent(outbox.due("B@h:2", 1e12)[0], confirms=False)
    assert states(store) == ["sending"]
    outbox.asked(outbox.due("A@h:1", 1e12, "sent"), "T1", 0)
    assert outbox.answered("T2", [second.sop_uid], []) == 0
    assert outbox.answered("T1", [second.sop_uid], []) == 1
    assert states(store) == ["done"]
    assert [one.state for one in outbox.of("k1.2", 1)] == ["stored", "confirmed", "stored"]


def test_what_an_archive_lost_is_sent_again_but_not_for_ever(store: Store) -> None:
    outbox = Outbox(store)
    store.receive(received("1"))
    store.complete("k1.2")
    outbox.made(taken(store), parcels(1))
    for _ in range(50):
        found = outbox.due("A@h:1", 1e12)
        if not found:
            break
        outbox.sent(found[0], confirms=True)
        outbox.asked(outbox.due("A@h:1", 1e12, "sent"), "T", 0)
        outbox.answered("T", [], [found[0].sop_uid])
    assert states(store) == ["failed"]
    assert "does not have it" in store.versions("k1.2")[0].reason


def test_what_was_refused_can_be_sent_again(store: Store) -> None:
    outbox = Outbox(store)
    store.receive(received("1"))
    store.complete("k1.2")
    outbox.made(taken(store), parcels(2))
    first, second = outbox.due("A@h:1", 1e12)
    outbox.refused(first, "A refused it")
    outbox.sent(second, confirms=False)
    assert states(store) == ["failed"]
    assert store.versions("k1.2")[0].reason == "A refused it"
    assert store.again("k1.2") == "sending"
    assert [one.sop_uid for one in outbox.due("A@h:1", 1e12)] == [first.sop_uid]
    assert store.again("k1.2") == ""


def test_a_wrong_clock_delays_nothing_for_ever(store: Store) -> None:
    """A result that was postponed while the clock was a year ahead is due when the clock is right again."""
    outbox = Outbox(store)
    store.receive(received("1"))
    store.complete("k1.2")
    outbox.made(taken(store), parcels(1))
    (one,) = outbox.due("A@h:1", 1e12)
    outbox.postpone(one, "later", 2e9)
    assert outbox.due("A@h:1", 2e9 - 10) == []
    assert len(outbox.due("A@h:1", 1.9e9)) == 1


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another --data folder"):
        Store(tmp_path / "file")
