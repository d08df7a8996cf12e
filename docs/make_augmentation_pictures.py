"""Draw `docs/images/augmentation.png`: what a training does to a synthetic patient, before above and after below.

Run from the root of the repository: ``python docs/make_augmentation_pictures.py``; a quarter of a minute on two cores.
Each pair is one change alone, applied by the code that a training runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from make_raw_pictures import BACKGROUND, REGIONS, TEXT, palette
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from glioscope.cases import SEQUENCES, Case, LoadedCase
from glioscope.phantom import PhantomConfig, phantom
from glioscope.prepare.preprocessing import PreparedCase, PreprocessingConfig, prepare
from glioscope.space.volumes import VolumeFile
from glioscope.training.augment import AugmentParameters, apply
from glioscope.training.intensities import ChannelChange
from glioscope.training.lesions import Paste, lesion_of

IMAGE = Path(__file__).parent / "images" / "augmentation.png"
HOST, DONOR = 8, 4
AXIAL, CORONAL = "axial", "coronal"
Case3 = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Image (4, i, j, k) and regions (3, i, j, k)."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One change, and where it is seen best."""

    title: str
    sequence: str
    change: AugmentParameters
    plane: str = AXIAL
    outlines: bool = False


NOTHING = ChannelChange()


def parameters(channel: ChannelChange = NOTHING, **changes: object) -> AugmentParameters:
    """Return parameters that change what is named, and each sequence alike."""
    return AugmentParameters(**({"channels": (channel,) * 4, "presence": (True,) * 4} | changes))  # type: ignore[arg-type]


def rotation(degrees: float, zoom: float) -> tuple[tuple[float, ...], ...]:
    """Return what a turn about the long axis and a zoom are to `apply`."""
    c, s = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1 / zoom))


CURVE = ((0.0, 0.0), (0.25, 0.45), (0.5, 0.55), (0.75, 0.85), (1.0, 1.0))
PAIRS = (
    Pair(title="lesion of another patient\npaste", sequence="t2f", outlines=True,
         change=parameters(paste=Paste(donor="other", mirror=True, grow=2, match=0.8))),
    Pair(title="enhancement taken away\nunenhance", sequence="t1c", outlines=True,
         change=parameters(unenhance=(0, 1, 2))),
    Pair(title="slices of 6 mm, all sequences\nthick_slices", sequence="t2f", plane=CORONAL,
         change=parameters(ChannelChange(low_resolution=(2, 6)))),
    Pair(title="off the other sequences\nmisregister (here 4 mm)", sequence="t2w",
         change=parameters(ChannelChange(shift=(4.0, 2.0, 0.0)))),
    Pair(title="brain cut too tightly\ntight_brain", sequence="t1n", change=parameters(tight_brain=(5, 3))),
    Pair(title="any rising curve\ncurve", sequence="t1n", change=parameters(ChannelChange(curve=CURVE))),
    Pair(title="highlights cut off\nsaturate", sequence="t1c", change=parameters(ChannelChange(ceiling=1.2))),
    Pair(title="turned and enlarged\nspatial, flip", sequence="t2f", outlines=True,
         change=parameters(matrix=rotation(15, 1.15), flip=True)),
    Pair(title="bent\nelastic", sequence="t2w", outlines=True, change=parameters(elastic=(6.0, 1))),
    Pair(title="shading\nbias", sequence="t1n",
         change=parameters(ChannelChange(bias=tuple(np.linspace(-0.4, 0.4, 27).tolist())))),
    Pair(title="noise and blur\nnoise, blur", sequence="t2f",
         change=parameters(ChannelChange(noise=(0.35, 1), blur=1.0))),
    Pair(title="darker middle tones\ngamma, contrast", sequence="t1n", change=parameters(ChannelChange(gamma=1.6))),
)  # fmt: skip


def patient(seed: int) -> PreparedCase:
    """Return a synthetic patient as a training meets it."""
    made = phantom(seed, PhantomConfig(tumour="typical"))
    files = {code: VolumeFile(Path(f"{seed}-{code}.nii.gz")) for code in SEQUENCES}
    case = Case(case_id=str(seed), subject_id=str(seed), sequences=files, scheme="brats2023")
    return prepare(
        LoadedCase(case=case, grid=made.grid, images=made.images, reference=made.labels), PreprocessingConfig()
    )


def tensors(case: PreparedCase) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and regions of a case, to be augmented."""
    assert case.reference is not None
    return torch.from_numpy(case.image.copy()), torch.from_numpy(case.reference.astype(np.float32))


def draw(axes: Axes, case: Case3, pair: Pair, at: Sequence[int], window: tuple[float, float]) -> None:
    """Draw one slice, the patient's right on the left of an axial one."""
    image, regions = case
    index = (slice(None), slice(None), at[2]) if pair.plane == AXIAL else (slice(None), at[1], slice(None))
    shown = image[SEQUENCES.index(pair.sequence)][index].T[::-1, ::-1]
    axes.imshow(np.where(shown == 0, window[0], shown), cmap="gray", vmin=window[0], vmax=window[1])
    if pair.outlines:
        for region, colour in zip(regions, REGIONS.values(), strict=True):
            mask = region[index].T[::-1, ::-1]
            if mask.any():
                axes.contour(mask, [0.5], colors=colour, linewidths=0.9)


def busiest(mask: torch.Tensor) -> list[int]:
    """Return the slice along each axis that holds most of a mask."""
    return [int(mask.sum([a for a in range(3) if a != axis]).argmax()) for axis in range(3)]


def main() -> None:
    """Draw the sheet."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": TEXT})
    image, regions = tensors(patient(HOST))
    lesion = lesion_of(*tensors(patient(DONOR)))
    shape = tuple(image.shape[1:])
    at = busiest(regions[1])
    figure, axes = plt.subplots(
        5, 6, figsize=(13.0, 11.8), facecolor=BACKGROUND, gridspec_kw={"height_ratios": (1, 1, 0.16, 1, 1)}
    )
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.955, wspace=0.02, hspace=0.04)
    for number, pair in enumerate(PAIRS):
        row, column = 3 * (number // 6), number % 6
        changed, masks, _ = apply(image, regions, pair.change, shape=shape, lesion=lesion)
        before, after = (image.numpy(), regions.numpy()), (changed.numpy(), masks.numpy())
        channel = before[0][SEQUENCES.index(pair.sequence)]
        low, high = np.percentile(channel[channel != 0], (0.5, 99.5))
        for offset, case in enumerate((before, after)):
            shown = busiest((masks[0] > regions[0]).float()) if pair.change.paste else at
            draw(axes[row + offset, column], case, pair, shown, (float(low), float(high)))
        axes[row, column].set_title(pair.title, fontsize=9, color=TEXT, pad=4)
    for one in axes.flat:
        one.set_axis_off()
    figure.savefig(IMAGE, dpi=80, facecolor=BACKGROUND, metadata={"Software": None})
    plt.close(figure)
    with Image.open(IMAGE) as full:
        full.convert("RGB").quantize(palette=palette(), dither=Image.Dither.NONE).save(IMAGE, optimize=True)


if __name__ == "__main__":
    main()
