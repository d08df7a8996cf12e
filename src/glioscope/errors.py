"""Every error that Glioscope raises on purpose.

GlioscopeError(Exception)
├── CaseError(ValueError)         a scan is missing, doubled, damaged or unreadable
├── GeometryError(ValueError)     grids differ, an affine is singular, a spacing is not positive
├── LabelError(ValueError)        a label value that the scheme does not know
├── ConfigError(ValueError)       an unknown key, a wrong type, settings that clash
├── RunError(RuntimeError)        a run folder that cannot go on: mismatch, no space, interrupted
├── ModelError(RuntimeError)      a model folder or weight file that is missing, damaged or foreign
└── DependencyError(ImportError)  an optional package that this command needs is not installed

Messages follow one grammar: which thing, what it has, what it must have, what to do. The command line prints the
message on one line and exits with 2 (3 where other cases of a batch succeeded); any other exception is a defect.
"""

import unicodedata


class GlioscopeError(Exception):
    """Root of the tree: catching it catches every deliberate error of this package."""


class CaseError(GlioscopeError, ValueError):
    """A case cannot be used: a sequence is missing, doubled, damaged or unreadable."""


class GeometryError(GlioscopeError, ValueError):
    """Grids that must agree differ, or an affine does not describe a voxel grid."""


class LabelError(GlioscopeError, ValueError):
    """A label map holds a value outside its scheme, or values that are not whole numbers."""


class ConfigError(GlioscopeError, ValueError):
    """A setting is unknown, of the wrong type, or clashes with another."""


class RunError(GlioscopeError, RuntimeError):
    """A run or output folder cannot be written or continued."""


class ModelError(GlioscopeError, RuntimeError):
    """A model folder is missing, damaged, or does not fit this version."""


class DependencyError(GlioscopeError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""


_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def printable(text: str) -> str:
    """Return a text as it may stand on a terminal: what would move, colour, break or turn the line is an escape.

    A file's name may hold such characters, by accident or to deceive: line breaks, terminal commands, half characters
    of names that are not UTF-8, and commands to write from right to left.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNSHOWN or unicodedata.bidirectional(character) in _TURNING
        else character
        for character in text
    )
