"""`python -m glioscope` is `glioscope`."""

import sys

from glioscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
