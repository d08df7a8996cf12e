"""Synthetic patients: anatomy, tumour growth, MR signal equations. The data set that needs no download.

In: a seed and a `PhantomConfig`. Out: a `Phantom` (four sequences, labels, brain mask, grid), or a folder of cases in
any layout that `cases` reads. Nothing is taken from anybody's scan.

Inside, in order of dependence: `fields` (signed distances, noise), `anatomy` and `head` (surfaces), `tumour` (growth
and mass effect), `signal` (equations and constants, with sources), `scan` (configuration, grid), `painting` (surfaces
to signals), `artefacts` (what the scanner adds), `patient` (all together), `dataset` (files).
"""

from glioscope.phantom.dataset import LAYOUTS, Layout, write_phantoms
from glioscope.phantom.patient import Phantom, phantom
from glioscope.phantom.scan import PhantomConfig

__all__ = ["LAYOUTS", "Layout", "Phantom", "PhantomConfig", "phantom", "write_phantoms"]
