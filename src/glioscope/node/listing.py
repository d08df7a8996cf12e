"""What a node has, as its list and the server's page show it: studies by code, state, reason."""

from dataclasses import dataclass
from pathlib import Path

from glioscope.errors import RunError
from glioscope.node.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One study."""

    key: str
    since: float
    """When its first image came, seconds since 1970."""
    calling: str
    objects: int
    version: int
    """0 before the study is complete."""
    state: str
    told: str
    """Why it failed or was ignored, and remarks."""

    @property
    def can_be_repeated(self) -> bool:
        """Whether it may be done or sent again."""
        return self.state in ("failed", "ignored")


def open_list(data: Path) -> Store:
    """Return the list of a node's folder; the node may be running. Close it after use.

    Raises
    ------
    RunError
        The folder is none of a node.
    """
    if not (data / "node.sqlite3").is_file():
        raise RunError(f"{data}: is no folder of a node; name the one that 'glioscope node' was given with --data")
    return Store(data)


def entries(store: Store, *, limit: int = 500) -> tuple[Entry, ...]:
    """Return the studies of a list, newest first."""
    found = []
    for study in store.studies(limit=limit):
        version = next(reversed(store.versions(study.key)), None)
        told = "; ".join(text for text in (version.reason, version.remark) if text) if version else ""
        found.append(
            Entry(
                key=study.key,
                since=study.created,
                calling=study.calling,
                objects=store.count_objects(study.key),
                version=version.number if version else 0,
                state=version.state if version else "receiving",
                told=told,
            )
        )
    return tuple(found)
