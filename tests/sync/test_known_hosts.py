"""Adding a key to known_hosts: nothing is lost, whoever else writes or reads meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync.transports.known_hosts import HostKey, trust_host_key


def key_of(number: int) -> HostKey:
    return HostKey(f"gpu{number}.lan", 22, "ssh-ed25519", f"AAAA{number}", "SHA256:x")


def test_many_at_once_all_get_their_line(tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: trust_host_key(key_of(number), known), range(40)))
    assert sorted(known.read_text().splitlines()) == sorted(key_of(n).known_hosts_line.strip() for n in range(40))
    assert [path.name for path in tmp_path.iterdir()] == ["known hosts"]


def test_a_key_that_is_there_is_not_written_twice(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    trust_host_key(key_of(1), known)
    trust_host_key(key_of(1), known)
    assert known.read_text() == key_of(1).known_hosts_line


def test_a_link_stays_a_link_and_its_file_keeps_its_mode(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("# mine")
    real.chmod(0o640)
    link = tmp_path / "known_hosts"
    link.symlink_to(real)
    trust_host_key(key_of(1), link)
    assert link.is_symlink()
    assert real.read_text() == "# mine\n" + key_of(1).known_hosts_line
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("gpu9 ssh-ed25519 AAAA\n")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        trust_host_key(key_of(1), known)
    assert known.read_text() == "gpu9 ssh-ed25519 AAAA\n"
    assert [path.name for path in tmp_path.iterdir()] == ["known_hosts"]
