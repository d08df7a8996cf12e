# %% [markdown]
# # Train on a BraTS folder, and compare
#
# Two networks on the same patients for the same time, scored on patients that neither has seen, by a challenge's own
# rules. Phantoms in the layout of BraTS 2021 stand in for the data set: put your folder in place of `DATA`.

# %%
import os
import tempfile
from pathlib import Path

import glioscope
from glioscope.cases import check_dataset
from glioscope.evaluation import as_markdown, compare_methods
from glioscope.experiment.compare import compare_runs, run_rows
from glioscope.experiment.judge import validate_run
from glioscope.experiment.train import TrainOptions
from glioscope.phantom import PhantomConfig

MINUTES = float(os.environ.get("GLIOSCOPE_EXAMPLE_MINUTES", "2"))  # of training, for each network
WORK = Path(tempfile.mkdtemp())
DATA = WORK / "BraTS2021"
glioscope.write_phantoms(
    DATA, 10, layout="brats2021", config=PhantomConfig(shape=(60, 60, 39), spacing_mm=(4.0, 4.0, 4.0))
)

# %% [markdown]
# ## Check
#
# What is in the folder, and what is wrong with it? Missing files, differing grids and odd labels turn up here and not
# after a night of training.

# %%
found = check_dataset(DATA)
for name, value in found.summary().items():
    print(f"{name}: {value}")

# %% [markdown]
# ## Train
#
# A run is a folder: settings, folds, history, weights, and where they came from. Here both networks work at 4 mm; on
# real data leave these settings away.

# %%
coarse = ("preprocessing.spacing_mm=4.0", "training.window=brain", "training.minimum_tumour=0")
own = {
    "original": ("training.learning_rate=1e-3",),
    "standard": (
        "training.stages=[{share = 1.0}]",
        "training.learning_rate=3e-3",
        "network.widths=[16, 32, 64]",
        "network.blocks=[1, 1, 1]",
    ),
}
for name, settings in own.items():
    options = TrainOptions(config=name, overrides=(*coarse, *settings), minutes=MINUTES)
    glioscope.train(DATA, WORK / name, options=options)

# %% [markdown]
# ## Score
#
# The held-out fifth goes through the path that `segment` takes. A missing prediction would be a row with the worst
# score, not an absence.

# %%
for name in own:
    evaluation = validate_run(WORK / name)[0]
    scores = {region: evaluation.summary["brats2021"][region]["dice"].mean for region in ("WT", "TC", "ET")}
    print(name, {region: round(value, 3) for region, value in scores.items()})

# %% [markdown]
# ## Compare
#
# The same patients, pair by pair. With two patients held out the intervals are wide, and the table says so: such a
# comparison decides nothing. `comparison.html` has the same numbers as pictures.

# %%
page = compare_runs([WORK / name for name in own], WORK / "comparison")
print(page.name, *sorted(path.name for path in page.parent.iterdir() if path != page))

# %%
print(as_markdown(compare_methods({name: run_rows(WORK / name) for name in own}, protocol="brats2021")))
