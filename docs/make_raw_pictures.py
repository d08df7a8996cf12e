"""Draw `docs/images/raw_*.png`: a synthetic patient's way from four scans with the skull on to clinical files.

Run from the root of the repository: ``python docs/make_raw_pictures.py [FOLDER]``; about a minute on two cores. The
scans are written as DICOM, `segment` does the rest, and every picture is drawn from the files it wrote. FOLDER keeps
them; without it they are removed.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import highdicom
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import synthetic_dicom
from glioscope import segment
from glioscope.dicom.reading import read_dicom
from glioscope.dicom.scans import RawScan
from glioscope.phantom import PhantomConfig, phantom
from glioscope.segmentation import SegmentOptions
from glioscope.space.grid import Grid
from glioscope.space.resampling import resample
from glioscope.space.volumes import Volume, read_volume

IMAGES = Path(__file__).parent / "images"
SEED = 7
TITLES = {"t1n": "T1", "t1c": "T1 with contrast", "t2w": "T2", "t2f": "FLAIR"}
LABELS = {2: ("oedema", "#4cc9f0"), 1: ("necrotic / non-enhancing", "#f72585"), 3: ("enhancing", "#ffd60a")}
REGIONS = {"WT": "#4cc9f0", "TC": "#f72585", "ET": "#ffd60a"}
BACKGROUND, TEXT, OUTLINE = "#0b0d10", "#e6e8eb", "#7ae582"
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
"""World axes that run across and up a picture; across always falls, so the patient's right or face is on the left."""
HALF_MM = {0: 88.0, 1: 112.0, 2: 100.0}
"""What a picture shows to each side of its centre, along x, y and z."""

# The patient moves between the scans; the headers do not know.
SCANS: Mapping[str, tuple[Mapping[str, object], PhantomConfig]] = {
    "t1n": (
        synthetic_dicom.T1,
        PhantomConfig(shape=(240, 256, 30), spacing_mm=(0.9, 0.9, 5.0), orientation="LPS", skull=True),
    ),
    "t2w": (
        synthetic_dicom.T2,
        PhantomConfig(
            shape=(240, 256, 30), spacing_mm=(0.9, 0.9, 5.0), orientation="LPS", skull=True,
            rotation_degrees=(-14.0, 0.0, 0.0), pose_mm=(5.0, -4.0, 3.0), pose_degrees=(3.0, 0.0, -5.0),
        ),
    ),
    "t2f": (
        synthetic_dicom.FLAIR,
        PhantomConfig(
            shape=(224, 224, 40), spacing_mm=(1.0, 1.0, 5.0), orientation="LIP", skull=True,
            pose_mm=(-9.0, 6.0, 5.0), pose_degrees=(6.0, 4.0, 11.0),
        ),
    ),
    "t1c": (
        synthetic_dicom.T1C,
        PhantomConfig(
            shape=(224, 224, 160), spacing_mm=(1.1, 1.1, 1.2), orientation="PIR", skull=True,
            pose_mm=(2.0, 3.0, -4.0), pose_degrees=(-4.0, 2.0, 3.0),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Done:
    """What `segment` read and wrote."""

    scans: Mapping[str, RawScan]
    matrices: Mapping[str, NDArray[np.float64]]
    prepared: Mapping[str, Volume]
    brain: Volume
    labels: Volume
    folder: Path
    centre: NDArray[np.float64]
    """Millimetres: of the tumour's core, on the common grid."""

    def head(self, code: str, *, by_header: bool = False) -> Volume:
        """Return a scan on a wide common grid, skull on: where it was found to lie, or where its header says."""
        grid = Grid((200, 240, 220), np.array(self.brain.grid.affine))
        middle = self.brain.grid.affine[:3, :3] @ (np.array(self.brain.grid.shape) - grid.shape) / 2
        affine = np.array(grid.affine)
        affine[:3, 3] += middle
        wide = Grid(grid.shape, affine)
        scan = self.scans[code]
        return Volume(resample(Volume(scan.image, scan.grid), wide, None if by_header else self.matrices[code]), wide)


def make(folder: Path) -> Done:
    """Scan the patient, write DICOM, and run the program on it."""
    source, output = folder / "patient", folder / "out"
    if not source.is_dir():
        for number, (code, (tags, config)) in enumerate(SCANS.items(), 1):
            made = phantom(SEED, config)
            image = np.clip(np.rint(made.images[code]), 0, 32767).astype(np.uint16)
            synthetic_dicom.write_series(source, image, made.grid.affine, tags, number=number)
    segment(source, output, options=SegmentOptions(dicom=("seg", "rtstruct", "sr")))
    case = next(path.parent for path in output.glob("*/summary.json"))
    sequences = json.loads((case / "prepared" / "prepare.json").read_text("utf-8"))["sequences"]
    labels = read_volume(case / "segmentation.nii.gz")
    core = np.argwhere(np.isin(labels.data, (1, 3))).mean(axis=0)
    return Done(
        scans=read_dicom(source).scans,
        matrices={code: np.array(sequences[code]["registration"]["matrix_ras_mm"]) for code in sequences},
        prepared={code: read_volume(next((case / "prepared").glob(f"*-{code}.nii.gz"))) for code in sequences},
        brain=read_volume(next((case / "prepared").glob("*-brain.nii.gz"))),
        labels=labels,
        folder=case,
        centre=labels.grid.affine[:3] @ np.append(core, 1),
    )


def cut(volume: Volume, plane: str, centre: NDArray[np.float64], *, nearest: bool = False) -> NDArray[np.float64]:
    """Return one plane of a volume through a point, rows downwards, as radiologists read it; one sample a millimetre.

    Up and down, left and right are taken about the middle of the volume, so that all pictures show the same place.
    """
    middle = (volume.grid.affine @ np.append((np.array(volume.grid.shape) - 1) / 2, 1))[:3]
    across, up = PLANES[plane]
    wide, high = HALF_MM[across], HALF_MM[up]
    points = np.empty((int(2 * high), int(2 * wide), 3))
    points[:] = centre
    points[..., across] = middle[across] + np.linspace(wide, -wide, points.shape[1])
    points[..., up] = middle[up] + np.linspace(high, -high, points.shape[0])[:, None]
    affine = np.eye(4)
    grid = Grid((*points.shape[:2], 1), affine)
    step = np.zeros((4, 4))
    step[:3, 0] = points[1, 0] - points[0, 0]
    step[:3, 1] = points[0, 1] - points[0, 0]
    step[:3, 2] = np.cross(step[:3, 0], step[:3, 1])
    step[:3, 3], step[3, 3] = points[0, 0], 1
    return resample(volume, Grid(grid.shape, step), interpolation="nearest" if nearest else "linear")[..., 0]


def sheet(rows: int, columns: int, *, wide: float, high: float, title: str) -> tuple[Figure, NDArray[np.object_]]:
    """Return a dark figure with a line of text above and axes without frames."""
    figure, axes = plt.subplots(rows, columns, figsize=(wide, high), facecolor=BACKGROUND, squeeze=False)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=1 - 0.62 / high, wspace=0.02, hspace=0.12)
    figure.text(0.008, 1 - 0.08 / high, title, fontsize=11, color=TEXT, weight="bold", va="top")
    for one in axes.flat:
        one.set_axis_off()
        one.set_anchor("N")
    return figure, axes


def show(axes: Axes, image: NDArray[np.floating], *, top: float, title: str = "", aspect: float = 1.0) -> None:
    """Draw a grey picture."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=top, aspect=aspect, interpolation="lanczos")
    axes.set_title(title, fontsize=9, color=TEXT, pad=4)


def tint(axes: Axes, labels: NDArray[np.integer], *, aspect: float = 1.0) -> None:
    """Lay the labels over a picture, voxel for voxel."""
    colours = ListedColormap([LABELS[value][1] for value in (1, 2, 3)])
    masked = np.ma.masked_equal(labels, 0)
    axes.imshow(masked, cmap=colours, vmin=1, vmax=3, alpha=0.55, aspect=aspect, interpolation="nearest")


def sides(axes: Axes, left: str = "R", right: str = "L") -> None:
    """Write which side of the patient is where."""
    for x, text, align in ((0.03, left, "left"), (0.97, right, "right")):
        axes.text(x, 0.5, text, transform=axes.transAxes, color=TEXT, alpha=0.7, fontsize=8, ha=align, va="center")


def legend(figure: Figure, entries: Mapping[str, str]) -> None:
    """Write what the colours mean, at the top right."""
    handles = [Line2D([], [], color=colour, linewidth=3, label=name) for name, colour in entries.items()]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, labelcolor=TEXT, fontsize=9)


def palette() -> Image.Image:
    """Return 96 greys, and 40 shades of each colour over greys: a small file, and grey stays grey."""
    greys = [(level, level, level) for level in np.linspace(0, 255, 95).round().astype(int)]
    shades = [tuple(np.array(to_rgb(BACKGROUND)) * 255)]
    for colour in (*(colour for _, colour in LABELS.values()), OUTLINE):
        over = np.linspace(0, 255, 10)[:, None]
        for share in (0.3, 0.55, 0.8, 1.0):
            shades += [tuple(row) for row in share * 255 * np.array(to_rgb(colour)) + (1 - share) * over]
    image = Image.new("P", (1, 1))
    image.putpalette([round(float(value)) for colour in (*greys, *shades) for value in colour])
    return image


def save(figure: Figure, name: str) -> None:
    """Write a picture of few colours: small, and the same each time."""
    path = IMAGES / f"raw_{name}.png"
    figure.savefig(path, dpi=100, facecolor=BACKGROUND, metadata={"Software": None})
    plt.close(figure)
    with Image.open(path) as full:
        full.convert("RGB").quantize(palette=palette(), dither=Image.Dither.NONE).save(path, optimize=True)


def own_slice(done: Done, code: str) -> tuple[int, float]:
    """Return the slice of a scan that holds most of the tumour's core, and its pixels' height over their width."""
    labels = read_volume(done.folder / "native" / f"{code}.nii.gz").data
    spacing = done.scans[code].grid.spacing_mm
    return int(np.isin(labels, (1, 3)).sum(axis=(0, 1)).argmax()), spacing[1] / spacing[0]


def bright(image: NDArray[np.floating]) -> float:
    """Return what is drawn white in a head: fat may burn out, the brain must not be dark."""
    return float(np.percentile(image[image > np.percentile(image, 60)], 96))


def _behind(scan: RawScan) -> tuple[NDArray[np.floating], float]:
    """Return axial slices cut coronally: row is slice, the highest first; and a voxel's height over its width."""
    return scan.image[:, scan.grid.shape[1] // 2, ::-1].T, scan.grid.spacing_mm[2] / scan.grid.spacing_mm[0]


def _above(scan: RawScan) -> tuple[NDArray[np.floating], float]:
    """Return sagittal slices cut axially: column is slice, the rightmost first."""
    return scan.image[:, scan.grid.shape[1] // 2, ::-1], scan.grid.spacing_mm[0] / scan.grid.spacing_mm[2]


def _beside(scan: RawScan) -> tuple[NDArray[np.floating], float]:
    """Return coronal slices cut sagittally: column is slice, the foremost first."""
    return scan.image[scan.grid.shape[0] // 2], scan.grid.spacing_mm[1] / scan.grid.spacing_mm[2]


ACROSS = {"axial": _behind, "sagittal": _above, "coronal": _beside}


def draw_scanned(done: Done) -> None:
    """As scanned: each scan in the plane it was taken in, and across its slices."""
    figure, axes = sheet(
        2, 4, wide=13.0, high=7.4, title="As scanned: four grids, four directions of slices, the skull on"
    )
    for column, code in enumerate(TITLES):
        scan = done.scans[code]
        index, aspect = own_slice(done, code)
        top = bright(scan.image)
        plane = {"t1c": "sagittal", "t2f": "coronal", "t2w": "oblique axial"}.get(code, "axial")
        edges = " × ".join(f"{edge:.1f}" for edge in scan.grid.spacing_mm)
        show(
            axes[0, column],
            scan.image[:, :, index].T,
            top=top,
            aspect=aspect,
            title=f"{TITLES[code]}, {plane}\n{edges} mm",
        )
        across, tall = ACROSS[plane.split()[-1]](scan)
        axes[1, column].imshow(across, cmap="gray", vmin=0, vmax=top, aspect=tall, interpolation="nearest")
        axes[1, column].set_title("across the slices", fontsize=9, color=TEXT, pad=4)
    save(figure, "1_scanned")


def draw_aligned(done: Done) -> None:
    """Aligned: squares of T1 with contrast and of each other scan, by the header and by the images."""
    figure, axes = sheet(2, 3, wide=9.6, high=8.6, title="Aligned: squares of T1 with contrast and of another scan")
    reference = cut(done.head("t1c"), "axial", done.centre)
    rows, columns = np.indices(reference.shape) // 22
    other = (rows + columns) % 2 == 1
    for row, by_header in enumerate((True, False)):
        for column, code in enumerate(("t1n", "t2w", "t2f")):
            moved = cut(done.head(code, by_header=by_header), "axial", done.centre)
            mixed = np.where(other, moved / bright(moved), reference / bright(reference))
            where = "by the scanner's coordinates" if by_header else "as the images were found to lie"
            show(axes[row, column], mixed, top=1.0, title=f"{TITLES[code]}, {where}")
            sides(axes[row, column])
    save(figure, "2_aligned")


def draw_brain(done: Done) -> None:
    """Brain found: its outline on the scans it was found in, and carried to another."""
    figure, axes = sheet(
        2, 3, wide=9.6, high=8.4, title="Brain found in T1 with and without contrast, carried to FLAIR"
    )
    for row, code in enumerate(("t1c", "t2f")):
        head = done.head(code)
        mask = Volume(resample(done.brain, head.grid), head.grid)
        for column, plane in enumerate(PLANES):
            image = cut(head, plane, done.centre)
            show(axes[row, column], image, top=bright(image), title=f"{TITLES[code]}, {plane}")
            axes[row, column].contour(cut(mask, plane, done.centre), [0.5], colors=OUTLINE, linewidths=1.2)
            sides(axes[row, column], *(("A", "P") if plane == "sagittal" else ("R", "L")))
    save(figure, "3_brain")


def draw_segmented(done: Done) -> None:
    """Prepared: one grid, brain only; segmented: the labels on it."""
    figure, axes = sheet(
        2, 4, wide=13.0, high=8.6, title="Prepared: one 1 mm grid, brain only. Segmented: labels on that grid"
    )
    labels = cut(done.labels, "axial", done.centre, nearest=True)
    for column, (code, title) in enumerate(TITLES.items()):
        image = cut(done.prepared[code], "axial", done.centre)
        top = float(np.percentile(image[image > 0], 99.5))
        for row in (0, 1):
            show(axes[row, column], image, top=top, title=title if row == 0 else "")
            sides(axes[row, column])
        for value, (_, colour) in LABELS.items():
            axes[1, column].contour(labels == value, [0.5], colors=colour, linewidths=1.1)
    legend(figure, dict(LABELS.values()))
    save(figure, "4_segmented")


def draw_native(done: Done) -> None:
    """The way back: labels on each scan's own slices."""
    figure, axes = sheet(1, 4, wide=13.0, high=4.2, title="Back on each scan's own slices, voxel for voxel")
    for column, code in enumerate(TITLES):
        scan = done.scans[code]
        index, aspect = own_slice(done, code)
        labels = read_volume(done.folder / "native" / f"{code}.nii.gz").data
        title = f"{TITLES[code]}, slice {index + 1} of {scan.grid.shape[2]}"
        show(axes[0, column], scan.image[:, :, index].T, top=bright(scan.image), aspect=aspect, title=title)
        tint(axes[0, column], labels[:, :, index].T, aspect=aspect)
    legend(figure, dict(LABELS.values()))
    save(figure, "5_native")


def draw_clinical(done: Done) -> None:
    """Clinical files, each read back by a library that did not write it here."""
    figure, axes = sheet(
        1, 3, wide=13.0, high=4.9, title="Clinical files, read back: DICOM SEG, RTSTRUCT, structured report"
    )
    scan = done.scans["t1c"]
    index, aspect = own_slice(done, "t1c")
    for one, title in zip(axes[0], ("SEG: segments WT, TC, ET", "RTSTRUCT: contours WT, TC, ET"), strict=False):
        show(one, scan.image[:, :, index].T, top=bright(scan.image), aspect=aspect, title=title)
    assert scan.source is not None
    seg = highdicom.seg.segread(done.folder / "dicom" / "segmentation.dcm")
    masks = seg.get_pixels_by_source_instance(
        [scan.source.instances[index]], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )[0]
    for number, colour in enumerate(REGIONS.values()):
        shown = np.ma.masked_equal(masks[..., number], 0)
        axes[0, 0].imshow(shown, cmap=ListedColormap([colour]), alpha=0.5, aspect=aspect, interpolation="nearest")
    inverse = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.grid.affine)
    contours = dcmread(done.folder / "dicom" / "contours.dcm").ROIContourSequence
    for item, colour in zip(contours, REGIONS.values(), strict=True):
        for contour in item.get("ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            i, j, k = (inverse[:3] @ np.c_[points, np.ones(len(points))].T).round(3)
            if round(k[0]) == index:
                axes[0, 1].plot([*i, i[0]], [*j, j[0]], color=colour, linewidth=1.1)
    report = highdicom.sr.srread(done.folder / "dicom" / "measurements.dcm")
    lines = ["Structured report", ""]
    for group in report.content.get_volumetric_roi_measurement_groups():
        lines.append(f"{group.finding_type.meaning}  ({group.tracking_identifier.split()[-1]})")
        lines += [f"    {m.name.meaning:<30}{m.value:>8.1f} {m.unit.value}" for m in group.get_measurements()]
    axes[0, 2].text(0.0, 0.92, "\n".join(lines), color=TEXT, fontsize=8.5, family="DejaVu Sans Mono", va="top",
                    linespacing=1.6, transform=axes[0, 2].transAxes)  # fmt: skip
    legend(figure, REGIONS)
    save(figure, "6_clinical")


def main() -> None:
    """Draw all pictures."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": TEXT})
    with tempfile.TemporaryDirectory() as scratch:
        done = make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch))
        for draw in (draw_scanned, draw_aligned, draw_brain, draw_segmented, draw_native, draw_clinical):
            draw(done)


if __name__ == "__main__":
    main()
