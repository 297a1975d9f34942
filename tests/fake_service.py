"""`dfld run` with the pretended engine of tests/fake_worker.py: python tests/fake_service.py CONFIG"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from daemon.config.load import read_config
from daemon.log import start_logging
from daemon.service import run_service
from tests.daemon_rig import FAKE_WORKER, PICTURE_WORKER

if __name__ == "__main__":
    path = Path(sys.argv[1])
    worker = PICTURE_WORKER if os.environ.get("DFLD_TEST_WORKER") == "pictures" else FAKE_WORKER
    start_logging(sys.stderr, level="debug")
    sys.exit(run_service(read_config(path).config, config_path=path, worker_command=worker))
