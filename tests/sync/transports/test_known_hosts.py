"""known_hosts is read as OpenSSH reads it; when a key is added, nothing is lost, whoever else writes or reads."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.transports.ssh.known_hosts import (
    LARGEST_FILE_BYTES,
    HostKey,
    KnownKey,
    KnownKeys,
    find_keys,
    known_hosts_name,
    read_known_hosts,
    trust_host_key,
)
from tests.sync.sshd import make_key


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


# Reading, against ssh-keygen and ssh as the measure of what is right.


def blob_of(kind: bytes, *fields: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4) + part for part in (kind, *fields))


def line_of(name: str, number: int = 0, *, before: str = "") -> bytes:
    encoded = base64.b64encode(blob_of(b"ssh-ed25519", bytes([number]) * 32)).decode()
    return f"{before}{name} ssh-ed25519 {encoded} comment of {number}\n".encode()


def numbers_of(keys: Iterable[KnownKey]) -> list[int]:
    return [key.blob[-1] for key in keys]


BAD_LINES = {
    b"old.lan ssh-ed25519 AAAA%%%not-base64": "not base64",
    b"old.lan ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==": "cut off",
    b"old.lan ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgM=": "cut off",
    b"old.lan": "no name, kind and key",
    b"old.lan ssh-ed25519": "no name, kind and key",
    b"old.lan 1024 65537 1234567890": "kind of key is not known",
    b"old.lan ssh-future AAAAC3NzaC1lZDI1NTE5AAAAIA==": "kind of key is not known",
    b"@unheard-of old.lan ssh-ed25519 AAAA": "marker",
    b"@revoked": "no name, kind and key",
    b"caf\xe9.lan ssh-rsa AAAA": "cut off",
    b"\x00\xff\xfe": "no name, kind and key",
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_passed_over_by_its_number_and_the_others_count(bad: bytes) -> None:
    found = find_keys(b"# first\n" + bad + b"\n" + line_of("gpu1.lan", 7), "gpu1.lan", 22)
    assert numbers_of(found.keys) == [7]
    assert [one.line for one in found.passed_over] == [2]
    assert BAD_LINES[bad] in found.passed_over_text()


def test_comments_and_empty_lines_are_no_bad_lines() -> None:
    content = b"\n   \n# gpu1.lan ssh-ed25519 AAAA\n  # indented\n\t" + line_of("gpu1.lan", 7).replace(b"\n", b"\r\n")
    found = find_keys(content, "gpu1.lan", 22)
    assert (numbers_of(found.keys), found.passed_over) == ([7], ())


def test_a_revoked_key_counts_nowhere_and_only_for_the_machines_that_the_line_means() -> None:
    revoked = line_of("*.lan", 7, before="@revoked ")
    for content in (revoked + line_of("gpu1.lan", 7), line_of("gpu1.lan", 7) + revoked):
        found = find_keys(content, "gpu1.lan", 22)
        assert not found.keys
        assert found.revoked == {blob_of(b"ssh-ed25519", bytes([7]) * 32)}
    other = find_keys(revoked + line_of("gpu1", 7), "gpu1", 22)
    assert (numbers_of(other.keys), other.revoked) == ([7], frozenset())


def test_an_authority_is_no_key_of_the_machine_and_is_named_where_it_would_count() -> None:
    content = line_of("*.lan", 1, before="@cert-authority ") + line_of("*.org", 2, before="@cert-authority ")
    found = find_keys(content, "gpu1.lan", 22)
    assert not found.keys
    assert [one.line for one in found.passed_over] == [1]


def test_a_key_of_the_address_alone_is_good_at_a_port_without_a_line_of_its_own() -> None:
    plain, other = (blob_of(b"ssh-ed25519", bytes([number]) * 32) for number in (1, 2))
    assert find_keys(line_of("gpu1", 1), "gpu1", 2222).holds(plain)
    assert not find_keys(line_of("gpu1", 1), "gpu1", 2222).keys
    both = find_keys(line_of("gpu1", 1) + line_of("[gpu1]:2222", 2), "gpu1", 2222)
    assert both.holds(other)
    assert not both.holds(plain)
    assert not find_keys(line_of("[gpu1]:2222", 2), "gpu1", 22).holds(other)


@pytest.fixture(scope="module")
def real_line(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Kind and base64 of a real key: ssh-keygen passes over keys that are none."""
    made = make_key(tmp_path_factory.mktemp("key") / "key")
    return " ".join(Path(f"{made}.pub").read_text().split()[:2])


NAMES = (
    "gpu1", "GPU1", "gpu1.lan", "gpu10.lan", "10.0.0.7", "[gpu1]:2222", "[gpu1.lan]:22", "*", "!gpu1", "!*", "gpu?",
    "*.lan", "gpu1*", "g*1", "?*", "[g]pu1", "",
)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    address=st.sampled_from(["gpu1", "gpu1.lan", "GPU1.lan", "10.0.0.7"]),
    port=st.sampled_from([22, 2222]),
    hashed=st.booleans(),
)
def test_a_line_means_the_machines_that_it_means_to_ssh_keygen(
    patterns: list[str], address: str, port: int, hashed: bool, real_line: str, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"{','.join(patterns)} {real_line}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-H", "-f", str(known)], capture_output=True)
    name = known_hosts_name(address, port)
    asked = subprocess.run(["ssh-keygen", "-F", name.lower(), "-f", str(known)], capture_output=True)
    assert bool(read_known_hosts(known, address, port).keys) == (asked.returncode == 0)


@given(st.binary(max_size=400))
def test_no_bytes_raise(content: bytes) -> None:
    find_keys(content, "gpu1", 22)
    find_keys(line_of("gpu1") + content, "gpu1", 22)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_file_never_makes_another_key_good(data: st.DataObject) -> None:
    whole = bytearray(line_of("gpu1", 1) + line_of("gpu1", 2, before="@revoked ") + line_of("gpu2", 3))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for key in find_keys(bytes(whole), "gpu1", 22).keys:
        assert key.blob.startswith(b"\0\0\0\x0bssh-ed25519\0\0\0\x20")


def test_a_folder_or_a_huge_file_is_reported_and_an_absent_one_is_empty(tmp_path: Path) -> None:
    assert read_known_hosts(tmp_path / "absent", "gpu1", 22) == KnownKeys()
    with pytest.raises(OSError, match="directory"):
        read_known_hosts(tmp_path, "gpu1", 22)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    with pytest.raises(OSError, match="larger than"):
        read_known_hosts(tmp_path / "huge", "gpu1", 22)
