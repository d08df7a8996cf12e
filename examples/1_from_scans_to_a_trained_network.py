# %% [markdown]
# # From scans to a trained network
#
# The journey of the notebook that this project began from: load the scans, scale them, look, split, train the U-Net,
# draw its curves, look at its predictions. Synthetic patients stand in for the data, so nothing has to be downloaded.
# With a BraTS folder in place of `DATA` the same cells do the real thing.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import glioscope
from glioscope.experiment.train import TrainOptions
from glioscope.phantom import PhantomConfig
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare
from glioscope.report import draw_curves
from glioscope.space.volumes import read_labels

MINUTES = float(os.environ.get("GLIOSCOPE_EXAMPLE_MINUTES", "2"))  # of training; a real network takes hours
WORK = Path(tempfile.mkdtemp())
DATA = WORK / "patients"

# %% [markdown]
# ## Load
#
# Eight patients at 4 mm: coarse, so that training takes minutes. `find_cases` reads any layout of BraTS, and a case
# knows which file is which sequence.

# %%
glioscope.write_phantoms(DATA, 8, seed=5, config=PhantomConfig(shape=(60, 60, 39), spacing_mm=(4.0, 4.0, 4.0)))
cases = glioscope.find_cases(DATA)
loaded = glioscope.load_case(DATA / cases[0].case_id)
for name, image in loaded.images.items():
    print(f"{name}: {image.shape} voxels of {loaded.grid.spacing_mm} mm, {image.min():.0f} to {image.max():.0f}")
print("labels:", np.unique(loaded.reference))

# %% [markdown]
# ## Scale
#
# MRI has no unit: each scan is brought to [0, 1] by its own least and greatest value, as the notebook did with
# scikit-learn's `MinMaxScaler`. The three sequences become the channels of one array. (The project's own network takes
# z-scores inside the brain, which stray bright voxels disturb less.)

# %%
scaling = PreprocessingConfig(sequences=("t2f", "t1c", "t2w"), normalisation="min-max", spacing_mm=4.0)
prepared = prepare(loaded, scaling)
print(prepared.image.shape, "from", prepared.image.min(), "to", prepared.image.max())

# %% [markdown]
# ## Look
#
# Always. The reference holds three regions, each inside the one before: whole tumour, tumour core, enhancing tumour.


# %%
def show(axis, image, regions, title, k):
    """Draw slice k of an image with the outlines of its regions."""
    axis.imshow(image[:, :, k].T, cmap="gray", origin="lower")
    for region, colour in zip(regions, ("#648fff", "#dc267f", "#ffb000"), strict=True):
        if region[:, :, k].any():
            axis.contour(region[:, :, k].T, [0.5], colors=colour, linewidths=1.5)
    axis.set_title(title)
    axis.axis("off")


k = int(prepared.reference[0].sum((0, 1)).argmax())  # where the tumour is largest
figure, axes = plt.subplots(1, 3, figsize=(10, 4))
for axis, channel, name in zip(axes, prepared.image, ("FLAIR", "T1 with contrast", "T2"), strict=True):
    show(axis, channel, prepared.reference, name, k)
plt.show()

# %% [markdown]
# ## Split and train
#
# `train` deals the cases to five folds, by patient, so that no patient is on both sides; four fifths are trained on.
# `original` is the notebook's U-Net: Dice and focal loss, Adam, no augmentation. Only what differs here is named: a
# coarser grid, no fixed crop and a larger step, since minutes are few.

# %%
settings = ["preprocessing.spacing_mm=4.0", "training.window=brain"]
settings += ["training.minimum_tumour=0", "training.learning_rate=3e-3", "training.clip=1", "training.validations=10"]
run = glioscope.train(DATA, WORK / "run", options=TrainOptions(config="original", overrides=settings, minutes=MINUTES))
fold = run.folds()[0]
print(len(fold.train), "patients to train on;", "held out:", ", ".join(fold.validation))

# %% [markdown]
# ## Curves
#
# Accuracy is high from the start and says little: nearly all of a head is not tumour. Dice is what to watch.

# %%
draw_curves(run.fold(0) / "history.csv", WORK / "curves.png")
figure, axis = plt.subplots(figsize=(11, 6.4))
axis.imshow(plt.imread(WORK / "curves.png"))
axis.axis("off")
plt.show()

# %% [markdown]
# ## Predictions
#
# A patient that the network has not seen, by the path that `glioscope segment` takes: whole images in, labels on the
# grid of the input out.

# %%
held_out = fold.validation[0]
glioscope.segment(DATA / held_out, WORK / "out", model=run.fold(0) / "model")
seen = glioscope.load_case(DATA / held_out)
found = read_labels(WORK / "out" / held_out / "segmentation.nii.gz").data
k = int((seen.reference > 0).sum((0, 1)).argmax())
figure, axes = plt.subplots(1, 2, figsize=(8, 4))
for axis, title, labels in zip(axes, ("Reference", "Prediction"), (seen.reference, found), strict=True):
    show(axis, seen.images["t2f"], [labels > 0, (labels == 1) | (labels == 3), labels == 3], title, k)
plt.show()

# %% [markdown]
# The page `report.html` that `glioscope train` writes has all of this, and more: [how to train](../how-to/train.md).
