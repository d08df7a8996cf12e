"""Brain MRI into measured tumours. Research use only; not a medical device."""

from importlib.metadata import version

__version__ = version("glioscope")
