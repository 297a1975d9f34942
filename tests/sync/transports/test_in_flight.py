"""Hashing beside a transfer, and cutting what is sent: the bytes are all there, in order, whoever is slower."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sync.transports.in_flight import PIECES_WAITING, Arriving, HashBeside, Leaving
from sync.transports.ssh.channel import cut
from sync.transports.transport import ignore_bytes

PIECE = 4096


def test_pieces_in_the_room_are_hashed_in_order_though_buffers_go_round() -> None:
    content = os.urandom(PIECE * PIECES_WAITING * 5 + 7)
    with HashBeside() as sha256:
        for start in range(0, len(content), PIECE):
            piece = content[start : start + PIECE]
            room = sha256.room()
            room[: len(piece)] = piece
            sha256.update(room[: len(piece)])
        assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()


def test_a_piece_from_elsewhere_is_copied_so_that_its_buffer_may_change_at_once() -> None:
    with HashBeside() as sha256:
        mine = bytearray(b"abc")
        sha256.update(memoryview(mine))
        mine[:] = b"xyz"
        assert sha256.hexdigest() == hashlib.sha256(b"abc").hexdigest()


def test_a_room_not_yet_taken_over_is_given_again(tmp_path: Path) -> None:
    with HashBeside() as sha256:
        rooms = {id(sha256.room().obj) for _ in range(PIECES_WAITING * 3)}
    assert len(rooms) == 1


def test_a_file_sent_again_from_an_earlier_place_is_hashed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(PIECE * 40 + 5))
    sent = bytearray()
    with path.open("rb", buffering=0) as file, HashBeside() as sha256:
        leaving = Leaving(file.fileno(), sha256, ignore_bytes)
        for again_from in (None, 3 * PIECE, 30 * PIECE, 0):
            if again_from is not None:
                leaving.go_to(again_from)
                del sent[again_from:]
            for _ in range(32 if again_from != 0 else 10**9):
                piece = leaving.next_piece(PIECE)
                if not piece:
                    break
                sent += piece
        assert sha256.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bytes(sent) == path.read_bytes()


def test_what_arrives_is_written_and_hashed(tmp_path: Path) -> None:
    content = os.urandom(PIECE * 30 + 1)
    with (tmp_path / "file").open("wb", buffering=0) as file, HashBeside() as sha256:
        arriving = Arriving(file.fileno(), sha256, ignore_bytes)
        for start in range(0, len(content), PIECE):
            piece = content[start : start + PIECE]
            room = sha256.room()[: len(piece)]
            room[:] = piece
            arriving.take(room)
        assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "file").read_bytes() == content


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 40))
def test_cutting_keeps_every_byte_and_fills_every_piece_but_the_last(parts: list[bytes], size: int) -> None:
    pieces = list(cut(parts, size))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)
