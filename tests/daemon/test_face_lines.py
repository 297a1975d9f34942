"""How commands count and name faces."""

from __future__ import annotations

from daemon.commands.face_lines import SHOWN_MAX, counted_faces, first_lines


def test_one_face_is_no_faces() -> None:
    assert [counted_faces(count) for count in (0, 1, 2)] == ["0 faces", "1 face", "2 faces"]


def test_the_first_faces_are_named_and_the_others_counted() -> None:
    lines = [f"{number}.jpg" for number in range(SHOWN_MAX + 2)]
    assert list(first_lines(lines[:SHOWN_MAX])) == [f"  {one}" for one in lines[:SHOWN_MAX]]
    assert list(first_lines(lines))[-1] == "  and 2 more; --json has them all"


def test_a_name_of_a_stranger_forges_no_line() -> None:
    assert list(first_lines(["a\nb\x1b[2J.jpg"])) == ["  a\\x0ab\\x1b[2J.jpg"]
