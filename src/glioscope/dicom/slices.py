"""Slices to a volume: order, spacing, tilt, gaps and doubles of one DICOM series, from the headers alone.

DICOM space is LPS+, millimetres; everything returned here is RAS+. Columns of an image are axis i, rows axis j, slices
axis k, k growing along the cross product of the row and column directions (so a right-handed grid).

The affine is built from the positions of the slices themselves. A tilted gantry therefore gives a sheared affine,
which is the truth; SimpleITK resamples through a sheared direction matrix correctly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.errors import CaseError

MIN_SLICES = 5
"""A series of fewer slices is a localiser or a snapshot, not a volume."""
MAX_FRAMES = 20_000
"""A header that claims more frames than this is damaged."""
SAME_PLACE_MM = 0.02
"""Slices nearer to each other than this are the same slice twice."""
UNEVEN = 0.05
"""Deviation from even spacing, as a share of the spacing, that is taken as even without a word."""
TOO_UNEVEN = 0.25
"""Deviation beyond which the slices are no volume."""
TILT_DEGREES = 0.5
MAX_MISSING = 0.34
"""Share of slices that may be missing; with more, most of the volume would be invented."""

Vector = NDArray[np.float64]
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


class Tags:
    """The tags of one frame, wherever they stand: per frame, shared by all frames, or in the instance itself."""

    def __init__(self, header: Any, frame: int = 0) -> None:
        self._layers = []
        for name, n in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            try:
                groups = header.get(name)
                if groups and n < len(groups):
                    self._layers += [element.value[0] for element in groups[n] if element.VR == "SQ" and element.value]
            except Exception:  # noqa: BLE001 (whatever the parser of foreign bytes raises, they tell nothing)
                continue
        self._layers.append(header)

    def get(self, *keywords: str) -> Any:
        """Return the first value there is among `keywords`, or None; a value that cannot be parsed is none."""
        for keyword in keywords:
            for layer in self._layers:
                try:
                    value = layer.get(keyword)
                except Exception:  # noqa: BLE001 (as above)
                    continue
                if value is not None and value not in ("", []):
                    return value
        return None

    def private(self, group: int, element: int) -> float | None:
        """Return the first number of a private tag of the instance, or None."""
        try:
            value = self._layers[-1][group, element].value
            return float(value if isinstance(value, int | float | str) else value[0])
        except Exception:  # noqa: BLE001 (as above)
            return None

    def text(self, *keywords: str) -> str:
        """Return the value as text; several values are joined by a space."""
        value = self.get(*keywords)
        if value is None:
            return ""
        try:
            return (
                str(value) if isinstance(value, str) or not isinstance(value, Sequence) else " ".join(map(str, value))
            )
        except Exception:  # noqa: BLE001 (a list of damaged items is parsed here)
            return ""

    def numbers(self, *keywords: str) -> tuple[float, ...]:
        """Return the finite numbers of a value; none if it is missing or not a number."""
        value = self.get(*keywords)
        values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
        try:
            found = tuple(float(v) for v in values)
        except (TypeError, ValueError):
            return ()
        return found if np.isfinite(found).all() else ()

    def number(self, *keywords: str) -> float | None:
        """Return the first number of a value, or None."""
        found = self.numbers(*keywords)
        return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One slice: where it lies in space, and in which file."""

    path: Path
    number: int
    """Which frame of the file, from 0."""
    header: Any
    tags: Tags
    instance_uid: str
    order: tuple[float, ...]
    """Acquisition, time point and instance number: the order in which slices of one place were made."""
    position: Vector
    """(3,) LPS, centre of the first voxel."""
    axes: NDArray[np.float64]
    """(3, 2) LPS unit vectors: direction of growing column, of growing row."""
    spacing: tuple[float, float]
    """Between columns, between rows, in millimetres."""
    size: tuple[int, int]
    """Columns, rows."""
    contents: tuple[Any, ...]
    """What must agree within a volume besides geometry: echo time, diffusion weighting, part of the complex signal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Slices in order, evenly spaced; None where one is missing."""

    frames: tuple[Frame | None, ...]
    affine: NDArray[np.float64]
    """(4, 4), voxel index to RAS+ millimetres."""
    problems: tuple[str, ...]

    @property
    def first(self) -> Frame:
        """A slice that stands for all where they agree."""
        return next(frame for frame in self.frames if frame is not None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(i, j, k): columns, rows, slices."""
        return (*self.first.size, len(self.frames))


def frames_of(path: Path, header: Any) -> list[Frame]:
    """Return the slices of one file.

    Raises
    ------
    CaseError
        Position, orientation, spacing or size of a slice is missing or nonsense.
    """
    count = int(Tags(header).number("NumberOfFrames") or 1)
    if not 1 <= count <= MAX_FRAMES:
        raise CaseError(f"a file claims {count} frames, which no scan has; its header is damaged")
    return [_frame(path, header, n) for n in range(count)]


def _frame(path: Path, header: Any, number: int) -> Frame:
    tags = Tags(header, number)
    position, orientation = tags.numbers("ImagePositionPatient"), tags.numbers("ImageOrientationPatient")
    spacing, size = tags.numbers("PixelSpacing"), tags.numbers("Columns") + tags.numbers("Rows")
    if len(position) != 3 or len(orientation) != 6:
        raise CaseError("slices do not say where they lie in the patient")
    axes = np.array(orientation, np.float64).reshape(2, 3).T
    lengths = np.linalg.norm(axes, axis=0)
    if abs(lengths - 1).max() > 0.01 or abs(axes[:, 0] @ axes[:, 1]) > 0.01:
        raise CaseError("slices have directions that are not at right angles")
    if len(spacing) != 2 or min(spacing) <= 0 or len(size) != 2 or min(size) < 2:
        raise CaseError("slices have no usable pixel spacing or size")
    image_type = tags.text("FrameType", "ImageType").upper().split()
    contents = (
        round(tags.number("EchoTime", "EffectiveEchoTime") or 0, 1),
        round(tags.number("InversionTime", "InversionTimes") or 0),
        tags.number("DiffusionBValue") or 0,
        *component_of(tags),
        *(part for part in ("W", "F", "IP", "OP") if part in image_type),
    )
    order = [tags.number(k) or 0 for k in ("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")]
    return Frame(
        path=path,
        number=number,
        header=header,
        tags=tags,
        instance_uid=tags.text("SOPInstanceUID"),
        order=(*order, tags.number("InstanceNumber") or 0, number),
        position=np.array(position),
        axes=axes / lengths,
        spacing=(spacing[1], spacing[0]),
        size=(int(size[0]), int(size[1])),
        contents=contents,
    )


_COMPONENTS = {
    "M": "M", "MAGNITUDE": "M", "P": "P", "PHASE": "P", "R": "R", "REAL": "R", "I": "I", "IMAGINARY": "I",
}  # fmt: skip
_GE_COMPONENTS = {1: "P", 2: "R", 3: "I"}
"""Values of GE's own tag for the kind of image, which ImageType does not tell."""


def component_of(tags: Tags) -> tuple[str, ...]:
    """Return which part of the complex signal a frame shows: M, P, R or I; none if nothing says so.

    Told by ComplexImageComponent, of the frame or else of the file, by FrameType or ImageType (also as in ``P_FFE``),
    and by GE's own tag.
    """
    if part := _COMPONENTS.get(tags.text("ComplexImageComponent").upper()):
        return (part,)
    for word in tags.text("FrameType", "ImageType").upper().split():
        first, *rest = word.split("_")
        if (part := _COMPONENTS.get(first)) and (not rest or len(first) == 1):
            return (part,)
    number = tags.private(0x0043, 0x102F)
    return (_GE_COMPONENTS[int(number)],) if number in _GE_COMPONENTS else ()


def stacks(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of one series in groups that could each be a volume: same direction, size, echo, and so on.

    A copy of an instance that is there already is dropped: same UID, same place. Anonymisers give all slices of a
    series one UID; those differ in place. Groups keep the order of their first frame.
    """
    groups: list[list[Frame]] = []
    seen = set()
    for frame in sorted(frames, key=lambda f: f.order):
        what = (frame.instance_uid, frame.number, tuple(frame.position.round(3)), frame.contents, frame.order)
        if what in seen:
            continue
        seen.add(what)
        for group in groups:
            if _belong_together(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return [volume for group in groups for volume in _repetitions(group)]


def _belong_together(a: Frame, b: Frame) -> bool:
    return (
        a.size == b.size
        and a.contents == b.contents
        and np.allclose(a.spacing, b.spacing, rtol=1e-3)
        and np.allclose(a.axes, b.axes, atol=2e-3)
    )


def _places(group: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames by place along the normal, each place's in the order they were made."""
    normal = np.cross(group[0].axes[:, 0], group[0].axes[:, 1])
    heights = np.array([frame.position @ normal for frame in group])
    places: list[list[Frame]] = []
    last = -np.inf
    for n in np.argsort(heights, kind="stable"):
        if heights[n] - last > SAME_PLACE_MM:
            places.append([])
            last = heights[n]
        places[-1].append(group[n])
    return places


def _repetitions(group: list[Frame]) -> list[list[Frame]]:
    """Split a group that holds every place equally often: a series of several volumes (time points, say)."""
    places = _places(group)
    count = len(places[0])
    if count == 1 or len(places) < MIN_SLICES or any(len(place) != count for place in places):
        return [group]
    return [[place[n] for place in places] for n in range(count)]


def stack(group: Sequence[Frame]) -> Stack:
    """Return the slices in order along the normal, with the affine that places them.

    Parameters
    ----------
    group : sequence of Frame
        One of the groups that `stacks` returns.

    Raises
    ------
    CaseError
        Fewer than `MIN_SLICES` places, or spacing too uneven to be a volume, or too many slices missing.
    """
    places = _places(group)
    if len(places) < MIN_SLICES:
        n = len(places)
        raise CaseError(f"{n} slice{'s' if n > 1 else ''}; a volume needs at least {MIN_SLICES}")
    problems = []
    if doubles := len(group) - len(places):
        problems.append(f"{doubles} slice(s) are there twice with different content; the first of each is used")
    chosen = [place[0] for place in places]
    slots = _slots(chosen)
    frames: list[Frame | None] = [None] * (slots[-1] + 1)
    for slot, frame in zip(slots, chosen, strict=True):
        frames[slot] = frame
    if missing := [n + 1 for n, frame in enumerate(frames) if frame is None]:
        if len(missing) > MAX_MISSING * len(frames):
            raise CaseError(f"{len(missing)} of {len(frames)} slices are missing; export the series again")
        listed = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        problems.append(
            f"{len(missing)} of {len(frames)} slices are missing (counted from below: {listed}) and were interpolated "
            "from their neighbours; measurements there are not to be trusted"
        )
    affine, more = _affine(chosen, slots)
    return Stack(frames=tuple(frames), affine=affine, problems=(*problems, *more))


def _slots(frames: Sequence[Frame]) -> list[int]:
    """Return the index of each slice on an even lattice, its spacing the smallest step that occurs."""
    normal = np.cross(frames[0].axes[:, 0], frames[0].axes[:, 1])
    heights = np.array([frame.position @ normal for frame in frames])
    steps = np.diff(heights)
    usual = float(np.median(steps[steps < 1.5 * steps.min()]))
    whole = np.rint(steps / usual).astype(int)
    if whole.min() < 1 or abs(steps - whole * usual).max() > TOO_UNEVEN * usual:
        raise CaseError(f"slices lie {steps.min():.2f} to {steps.max():.2f} mm apart; an even spacing is needed")
    return [0, *np.cumsum(whole).tolist()]


def _affine(frames: Sequence[Frame], slots: Sequence[int]) -> tuple[NDArray[np.float64], list[str]]:
    """Return the affine by least squares over all positions, and what is unusual about it."""
    positions = np.array([frame.position for frame in frames])
    design = np.stack([np.ones(len(slots)), np.array(slots, float)], axis=1)
    (origin, step), *_ = np.linalg.lstsq(design, positions, rcond=None)
    problems = []
    distance = float(np.linalg.norm(step))
    worst = float(np.linalg.norm(positions - design @ np.array([origin, step]), axis=1).max())
    if worst > UNEVEN * distance:
        problems.append(f"slices lie up to {worst:.2f} mm off an even spacing of {distance:.2f} mm")
    axes = frames[0].axes
    tilt = float(np.degrees(np.arccos(np.clip(step @ np.cross(axes[:, 0], axes[:, 1]) / distance, -1, 1))))
    if tilt > TILT_DEGREES:
        problems.append(f"slices are stacked at {tilt:.1f} degrees off their normal (tilted gantry); geometry is kept")
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack([axes * frames[0].spacing, step])
    affine[:3, 3] = _LPS_TO_RAS @ origin
    return affine, problems
