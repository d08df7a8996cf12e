"""Training one fold, and nothing else.

Read `loop` first: it joins the others. A sample (`samples`), a step and a validation (`steps`), the history and the
checkpoint (`records`), several devices (`team`), and what it is told (`settings`).

Random numbers depend on the seed and the step alone: the case of a step, its augmentation and its dropout are drawn
from generators seeded with both, so a run continued from a checkpoint takes the very steps it would have taken.
"""

from glioscope.training.loop import train_fold
from glioscope.training.settings import FoldFiles, FoldSettings, Progress, Stage, TrainingConfig
from glioscope.training.team import Team, first_process, joined

__all__ = [
    "FoldFiles",
    "FoldSettings",
    "Progress",
    "Stage",
    "Team",
    "TrainingConfig",
    "first_process",
    "joined",
    "train_fold",
]
