"""The command line: ``python -m kpo``, and the script ``kpo``."""

import signal
import sys

from kpo import _kpo


def main() -> int:
    """Runs the command line with the process's arguments; returns its exit code."""
    # The command line catches Ctrl-C itself. Python's handler would be called beside, and raise KeyboardInterrupt when all is over; where Ctrl-C
    # is ignored, it stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _kpo.main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
