"""`refine`: a case, its segmentation and clicks in, the corrected segmentation out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope.cases import Case, LoadedCase, load_case, naming_scheme
from glioscope.errors import GeometryError
from glioscope.inference import InferenceConfig, load_ensemble, predict_case
from glioscope.labels import scheme_named
from glioscope.model import model_folders, read_ensemble
from glioscope.prepare.preprocessing import prepare, restore
from glioscope.segmentation.clicks import Click, Scene, eight_bits, refine_scene
from glioscope.segmentation.logits import logits_of, read_logits
from glioscope.segmentation.worker import default_model
from glioscope.space.volumes import Volume, read_labels


def refine(
    case: Case | LoadedCase | Path | str,
    segmentation: Path | str | Volume,
    clicks: Sequence[Click],
    *,
    logits: Path | str | None = None,
    model: Path | str | None = None,
    scheme: str | None = None,
) -> Volume:
    """Return a segmentation with clicks answered: what was missed or is too much, set right in 3-D.

    Parameters
    ----------
    case : Case, LoadedCase or path
        The scans, on one grid.
    segmentation : Path or Volume
        Label map to correct, on the grid of the scans; it is left as it is.
    clicks : sequence of Click
        In voxels of that grid; answered in their order.
    logits : Path, optional
        What ``segment --logits`` wrote; without it the network runs again, which takes seconds.
    model : Path, optional
        Network for that; the one in the package by default.
    scheme : str, optional
        Label scheme of the segmentation; that of the year the scans are named for by default.

    Raises
    ------
    CaseError
        A scan, a click or the file of logits cannot be used.
    GeometryError
        Segmentation and scans lie on different grids.
    LabelError
        The segmentation does not fit the scheme.
    """
    loaded = case if isinstance(case, LoadedCase) else load_case(Path(case) if isinstance(case, str) else case)
    before = segmentation if isinstance(segmentation, Volume) else read_labels(Path(segmentation))
    if not before.grid.matches(loaded.grid):
        raise GeometryError(
            f"the segmentation lies on a grid of {before.grid.describe()}, the scans on {loaded.grid.describe()}; "
            "correct it on the grid of the scans"
        )
    told = scheme_named(scheme or naming_scheme(loaded.case))
    kept = (
        read_logits(Path(logits), loaded.grid) if logits else _predicted_logits(loaded, Path(model) if model else None)
    )
    images = {code: eight_bits(image) for code, image in loaded.images.items()}
    scene = Scene(grid=loaded.grid, images=images, logits=kept)
    return Volume(refine_scene(scene, before.data.astype(np.uint8), told, clicks), before.grid)


def _predicted_logits(loaded: LoadedCase, model: Path | None) -> NDArray[np.int8]:
    folders = model_folders(model or default_model())
    spec = read_ensemble(folders)
    prepared = prepare(loaded, spec.preprocessing)
    config = InferenceConfig(**{**spec.inference, "temperature": spec.temperature})
    probabilities = predict_case(load_ensemble(folders), prepared, spec.outputs, config)
    return logits_of(restore(probabilities, prepared))
