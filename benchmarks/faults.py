"""The fault list in its long form: more of each.

    python benchmarks/faults.py [NAME…]        all of them take about an hour

The same tests as in tests/, with larger numbers, one after another, each on a quiet machine; a table at the end.
Mounting small filesystems needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

FAULTS: dict[str, tuple[str, dict[str, str]]] = {
    "service-kills": ("tests/faults/test_kills.py -k service", {"DFLD_SERVICE_KILLS": "500"}),
    "worker-kills": ("tests/faults/test_kills.py -k worker", {"DFLD_WORKER_KILLS": "200"}),
    "faceset-job-kills": ("tests/faults/test_faceset_job_kills.py", {"DFLD_FACESET_JOB_KILLS": "100"}),
    "real-kills": ("tests/faults/test_real_kills.py -k service_killed", {"DFLD_REAL_KILLS": "500"}),
    "real-stops": ("tests/faults/test_real_kills.py -k told_to_stop", {"DFLD_REAL_STOPS": "200"}),
    "real-worker-kills": ("tests/faults/test_real_kills.py -k killed_worker", {"DFLD_REAL_WORKER_KILLS": "100"}),
    "arrivals": ("tests/faults/test_arrivals.py", {"DFLD_FILES_A_WAY": "50"}),
    "many-files": ("tests/faults/test_many_files.py", {"DFLD_DROPPED": "10000", "DFLD_OVERFLOWING": "100000"}),
    "places": ("tests/faults/test_places.py", {}),
    "hostile-videos": ("tests/faults/test_hostile_videos.py", {"DFLD_MUTANTS": "2000"}),
    "reloads": ("tests/faults/test_reloads.py", {"DFLD_RELOADS": "1000"}),
    "mutated-replies": ("tests/sync/test_hostile_machines.py -k mutated", {"DFLD_MUTATED_REPLIES": "50000"}),
    "faulty-calls": ("tests/sync/test_hostile_machines.py -k any_call", {"DFLD_FAULTY_CALLS": "960"}),
    "manual-changes": (
        "tests/engine/results/test_manual_changes.py tests/engine/results/test_removal.py",
        {"DFLD_MANUAL_CHANGES_EXAMPLES": "1000"},
    ),
    "renames": (
        "tests/engine/facesets/changing/test_renames.py tests/engine/results/test_own_moves.py",
        {"DFLD_RENAME_EXAMPLES": "2000", "DFLD_MANUAL_CHANGES_EXAMPLES": "1000"},
    ),
    "faceset-kills": ("tests/faults/test_faceset_kills.py", {"DFLD_FACESET_KILLS": "100"}),
    "refine-kills": ("tests/faults/test_refine_kills.py", {"DFLD_REFINE_KILLS": "100"}),
    "mutated-packs": (
        "tests/engine/facesets/packs/test_packing.py tests/dfl/test_metadata_copy.py -k mutated",
        {"DFLD_PACK_MUTANTS": "2000"},
    ),
    "originals": ("tests/core/test_files.py tests/daemon/test_killed_originals.py tests/daemon/test_originals.py", {}),
    "parts-of-footage": (
        "tests/engine/footage/test_proof.py tests/engine/footage/test_verdict.py",
        {"DFLD_PROOF_PLACES": "100"},
    ),
    "mutated-pictures": ("tests/engine/pictures/test_decoding.py -k damaged_picture", {"DFLD_PICTURE_MUTANTS": "2000"}),
    "mask-kills": ("tests/engine/test_mask_faceset.py -k kill", {"DFLD_MASK_KILLS": "100"}),
    "mutated-faces": ("tests/engine/test_mask_faceset.py -k mutated", {"DFLD_MASK_MUTANTS": "2000"}),
    "mutated-xseg": ("tests/dfl/test_xseg_weights.py -k mutated", {"DFLD_XSEG_MUTANTS": "2000"}),
    "model-kills": ("tests/faults/test_model_kills.py", {"DFLD_MODEL_KILLS": "200"}),
    "mutated-files": ("tests/faults/test_mutated_files.py", {"DFLD_FILE_MUTANTS": "2000"}),
    "round-kills": ("tests/sync/rounds/test_crash.py", {"DFLD_KILL_POINTS": "all"}),
    "round-exceptions": ("tests/sync/rounds/test_rounds_exceptions.py", {"DFLD_EXCEPTIONS": "40"}),
    "config": ("tests/faults/test_config_mutations.py", {"DFLD_CONFIG_MUTATIONS": "2000"}),
}


def run(name: str) -> tuple[bool, float, str]:
    """Run one fault; return whether it passed, how long it took, and the last line of pytest."""
    selection, numbers = FAULTS[name]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection.split()],
        cwd=ROOT,
        env={**os.environ, **numbers},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    lines = done.stdout.strip().splitlines()
    return done.returncode == 0, time.monotonic() - begun, lines[-1] if lines else done.stderr.strip()


def main() -> int:
    names = sys.argv[1:] or list(FAULTS)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        print(f"no fault is called {unknown[0]}; there are {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    passed = True
    print(f"{'fault':16} {'numbers':52} {'seconds':>8}  outcome")
    for name in names:
        ok, seconds, told = run(name)
        passed = passed and ok
        numbers = " ".join(f"{key.removeprefix('DFLD_').lower()}={value}" for key, value in FAULTS[name][1].items())
        print(f"{name:16} {numbers or 'as in the tests':52} {seconds:8.0f}  {told}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
