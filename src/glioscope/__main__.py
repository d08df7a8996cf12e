"""`python -m glioscope` is `glioscope`."""

from glioscope.cli import command

if __name__ == "__main__":
    command()
