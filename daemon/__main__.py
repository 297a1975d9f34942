"""`python -m daemon` is `dfld`; also where the installed command begins.

Until the command line is ready to say a sentence about it, Ctrl-C simply ends the process: Python's own
KeyboardInterrupt would come out of the middle of an import, as a traceback.
"""

from __future__ import annotations

import signal
import sys


def start() -> None:
    """Run `dfld` as a process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daemon.cli import main

    code = main()
    # The work is done and its outcome told: a late signal must not change the exit code while Python ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    start()
