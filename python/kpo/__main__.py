"""The command line: ``python -m kpo``, and the script ``kpo``."""

import sys

from kpo import _kpo


def main() -> int:
    """Runs the command line with the process's arguments; returns its exit code."""
    return _kpo.main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
