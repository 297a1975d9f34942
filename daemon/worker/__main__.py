"""`python -m daemon.worker`: the child process that `daemon.crew.local` starts."""

from daemon.worker.process import main
from daemon.worker.registry import worker_kinds

if __name__ == "__main__":
    main(worker_kinds())
