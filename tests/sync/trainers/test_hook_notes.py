"""The notes between dfld and the line inside a trainer: read as far as they are what they should be."""

from __future__ import annotations

import json

import pytest

from sync.trainers.hook_notes import HookAnswer, HookRequest, SignOfLife


def test_a_request_stands_in_its_note_as_the_hook_reads_it() -> None:
    assert json.loads(HookRequest("save", "save 1").content()) == {"do": "save", "token": "save 1"}
    note = json.loads(HookRequest("load", "load 7", "round-000007", ("a_SAEHD_inter.npy",)).content())
    assert note == {"do": "load", "token": "load 7", "folder": "round-000007", "files": ["a_SAEHD_inter.npy"]}


def test_an_answer_and_a_sign_of_life_are_read() -> None:
    answer = HookAnswer.read(b'{"token": "load 7", "refused": ["x.npy"], "iteration": 9, "loaded": []}')
    assert answer == HookAnswer("load 7", "", ("x.npy",), 9)
    sign = SignOfLife.read(b'{"iteration": 9, "losses": [[0.5, 0.25], [0.5, 0.5]], "process": {}}')
    assert sign == SignOfLife(9, (0.75, 1.0), None)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"null", b"{", b'{"iteration": "9", "losses": 3, "token": 7, "refused": "x", "error": null}',
     b'{"losses": [["a"]]}', b'{"losses": [3]}'],
)  # fmt: skip
def test_what_is_of_another_kind_counts_as_not_there(content: bytes) -> None:
    assert HookAnswer.read(content) == HookAnswer()
    assert SignOfLife.read(content) == SignOfLife()
