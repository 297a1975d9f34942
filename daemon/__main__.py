"""`python -m daemon` is `dfld`; also where the installed command begins.

What numpy's BLAS multiplies here is small and comes from threads of our own, which BLAS threads would only fight.

Until the command line is ready to say a sentence about it, Ctrl-C simply ends the process: Python's own
KeyboardInterrupt would come out of the middle of an import, as a traceback.
"""

from __future__ import annotations

import os
import signal
import sys


def start() -> None:
    """Run `dfld` as a process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, when numpy is imported; workers inherit it
    from daemon.cli import main

    code = main()
    # The work is done and its outcome said: a late signal must not change the exit code while Python ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    start()
