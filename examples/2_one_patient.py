# %% [markdown]
# # One patient, from files to a report
#
# Four files go in; labels, volumes, flags and a page to look at come out. The patient is synthetic, the network is the
# one that comes with the package. Put your own files in place of `files`: any of the four sequences will do.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import glioscope
from glioscope.phantom import PhantomConfig
from glioscope.space.volumes import read_labels

WORK = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The files
#
# As BraTS prepares them: on one grid, without the skull. For raw scans there is `glioscope prepare` first.

# %%
config = PhantomConfig(shape=(96, 96, 62), spacing_mm=(2.5, 2.5, 2.5))
(folder,) = glioscope.write_phantoms(WORK / "patients", 1, seed=5, config=config)
files = {name: folder / f"{folder.name}-{name}.nii.gz" for name in ("t1n", "t1c", "t2w", "t2f")}
for name, path in files.items():
    print(name, path.name)

# %% [markdown]
# ## Segment

# %%
result = glioscope.segment(files, WORK / "out")
(outcome,) = result.outcomes
print(outcome.case_id, outcome.status, *sorted(path.name for path in (WORK / "out" / outcome.case_id).iterdir()))

# %% [markdown]
# ## What was found
#
# The same numbers stand in `summary.json`, with checksums of all that went in, so that the result can be made again.

# %%
measured = outcome.summary.measurements
for region, volume in measured.volumes_ml.items():
    print(f"{region}: {volume:.1f} ml in {measured.lesion_count[region]} parts")
if measured.diameters:
    print(f"diameters: {measured.diameters.longest_mm:.0f} x {measured.diameters.perpendicular_mm:.0f} mm")

# %% [markdown]
# ## How far to trust it
#
# Flags say what looked odd in the images or in the result. A phantom is no patient, and the network was trained on
# patients: it is right to be unsure here.

# %%
for flag in outcome.summary.flags:
    print(f"{flag.severity}: {flag.message}")

# %% [markdown]
# ## Look at it
#
# A segmentation is a proposal. `report.html` opens from disk in any browser, without a network: three planes, the
# measurements, the flags, and all that the result rests on. Here is one slice of it, against the truth that only a
# phantom has.

# %%
labels = read_labels(WORK / "out" / outcome.case_id / "segmentation.nii.gz").data
truth = glioscope.load_case(folder)
k = int((truth.reference > 0).sum((0, 1)).argmax())
figure, axes = plt.subplots(1, 3, figsize=(11, 4))
for axis, title, shown in zip(axes, ("FLAIR", "Segmentation", "Truth"), (None, labels, truth.reference), strict=True):
    axis.imshow(truth.images["t2f"][:, :, k].T, cmap="gray", origin="lower")
    if shown is not None:
        axis.imshow(np.ma.masked_equal(shown[:, :, k].T, 0), cmap="cool", alpha=0.6, origin="lower", vmin=1, vmax=4)
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %%
page = WORK / "out" / outcome.case_id / "report.html"
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB, one file")
