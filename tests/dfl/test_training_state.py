"""data.dat: iteration, options and losses are read; pictures are not; nothing is executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl import training_state
from dfl.byte_source import BufferSource
from dfl.errors import FormatError
from dfl.training_state import TrainingState, limits_of, read_training_state, read_training_state_source


def state_of(content: object, protocol: int = 4) -> TrainingState:
    return read_training_state_source(BufferSource(pickle.dumps(content, protocol)))


def data_dat(**changed: object) -> dict[str, object]:
    return {"iter": 3, "options": {}, "loss_history": [[1.0, 2.0]] * 3, "sample_for_preview": None, **changed}


def test_the_golden_machines_are_read_as_pickle_reads_them(shared: Path) -> None:
    for machine in ("machine_a", "machine_b", "machine_c", "machine_mismatch"):
        path = shared / "golden/models" / machine / "alice_SAEHD_data.dat"
        expected, found = pickle.loads(path.read_bytes()), read_training_state(path)
        assert found.iteration == expected["iter"]
        assert found.options == expected["options"]
        assert {type(value) for value in found.options.values()} <= {bool, int, float, str}
        np.testing.assert_array_equal(found.losses, np.array(expected["loss_history"], np.float32))
        assert found.losses_recorded == len(expected["loss_history"]) == found.iteration


def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alice_SAEHD_data.dat")

    with pytest.raises(FormatError, match="is a pipe, expected a regular file"):
        read_training_state(tmp_path / "alice_SAEHD_data.dat")


def test_pictures_are_not_read() -> None:
    class Watching(BufferSource):
        asked = 0

        def read_at(self, offset: int, length: int) -> bytes:
            self.asked += length
            return super().read_at(offset, length)

    pictures = [[np.ones((4, 256, 256, 3), np.float32)] * 4, [np.zeros((4, 256, 256, 3), np.float32)]]
    source = Watching(pickle.dumps(data_dat(sample_for_preview=pictures), 3))
    assert read_training_state_source(source).iteration == 3
    assert source.asked < 40_000 < source.size


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 3000), st.integers(1, 16), st.integers(2, 5))
def test_histories_of_any_length_and_width_are_read_whole(rows: int, columns: int, protocol: int) -> None:
    history = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    found = state_of(data_dat(loss_history=history.astype(np.float64).tolist()), protocol)
    assert found.losses_recorded == rows
    if rows:
        np.testing.assert_array_equal(found.losses, history)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=400), st.integers(2, 5))
def test_histories_in_which_rows_are_one_object_are_read_as_pickle_reads_them(
    picks: list[tuple[int, bool]], protocol: int
) -> None:
    rows = [[float(number), -0.5 * number] for number in range(41)]
    history = [rows[number] if same else list(rows[number]) for number, same in picks]
    found = state_of(data_dat(loss_history=history), protocol)
    assert found.losses_recorded == len(history)
    np.testing.assert_array_equal(found.losses, np.array(history, np.float32).reshape(-1, 2))


def test_a_row_named_by_a_number_that_was_never_given_is_refused() -> None:
    whole = pickle.dumps(data_dat(loss_history=[[1.0, 2.0], [3.0, 4.0], *[[5.0, 6.0]] * 2]), 4)
    assert whole.count(b"h\x08e") == 1
    for number in (9, 255):
        with pytest.raises(FormatError, match="recalled that was never remembered"):
            read_training_state_source(BufferSource(whole.replace(b"h\x08e", bytes([0x68, number, 0x65]))))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_values_after_a_long_history_are_still_found(protocol: int) -> None:
    """The memo numbers that the rows take must be counted, or later references go astray."""
    shared_text = "seen before and after"
    history = np.random.default_rng(0).random((5000, 2)).tolist()
    content = {"author_name": shared_text, "iter": 5000, "loss_history": history, "options": {"note": shared_text}}
    assert state_of(content, protocol).options == {"note": shared_text}


def test_rows_of_numpy_numbers_are_read_too() -> None:
    rows = [[np.float32(1.5), np.float64(2.5)], (1, 2.0), [np.float32(0.5), np.float32(0.25)]]
    found = state_of(data_dat(loss_history=rows))
    assert found.losses.tolist() == [[1.5, 2.5], [1.0, 2.0], [0.5, 0.25]]


def test_after_a_change_of_width_only_the_last_rows_count() -> None:
    found = state_of(data_dat(loss_history=[[1.0]] * 5 + [[2.0, 3.0]] * 4))
    assert found.losses.tolist() == [[2.0, 3.0]] * 4
    assert found.losses_recorded == 9


def test_only_the_tail_of_a_very_long_history_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_state, "LOSS_TAIL_ROWS", 100)
    history = [[float(number), 0.0] for number in range(2500)]
    found = state_of(data_dat(iter=2500, loss_history=history))
    assert found.losses[:, 0].tolist() == list(range(2400, 2500))
    assert found.losses_recorded == 2500


def test_numpy_numbers_in_options_become_plain_ones() -> None:
    options = {"resolution": np.int64(128), "gan_power": np.float64(0.1), "flag": np.bool_(True), "sizes": [1, 2]}
    found = state_of(data_dat(iter=np.int64(7), options={**options, "odd": {"a": 1}, "none": None})).options
    assert found == {
        "resolution": 128, "gan_power": 0.1, "flag": True, "sizes": (1, 2), "odd": "<dict>", "none": None
    }  # fmt: skip
    assert type(found["resolution"]) is int


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "expected a dict"),
        (data_dat(iter=None), "iter is None"),
        (data_dat(iter=-1), "iter is -1"),
        (data_dat(iter=True), "iter is True"),
        (data_dat(options=[]), "options is a list"),
        (data_dat(options={1: 2}), "no text"),
        (data_dat(options={str(number): 1 for number in range(1001)}), "at most 1000"),
        (data_dat(loss_history="abc"), "loss_history is a"),
        (data_dat(loss_history=[["a"]]), "not a number"),
        (data_dat(loss_history=[[]]), "not a number"),
        ({"iter": 3}, "options is a NoneType"),
    ],
)
def test_what_is_no_training_state_is_refused(content: object, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        state_of(content)


def test_a_file_zeroed_by_a_crash_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "alice_SAEHD_data.dat"
    path.write_bytes(bytes(3000))
    with pytest.raises(FormatError, match=r"alice_SAEHD_data\.dat is no usable data\.dat") as caught:
        read_training_state(path)
    assert "autobackups" in caught.value.hint


def test_a_cut_file_is_refused_wherever_it_is_cut() -> None:
    whole = pickle.dumps(data_dat(loss_history=[[1.0, 2.0]] * 50), 3)
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            read_training_state_source(BufferSource(whole[:length]))


@pytest.mark.parametrize("what", ["iter", "options", "loss_history", "an option", "a row"])
@pytest.mark.parametrize(
    "monster", [b"]" + b"\x85" * 100_000, b"]" + b"q\x05h\x05\x86" * 60], ids=["nested", "doubled"]
)
def test_a_monster_in_any_place_is_refused_or_left_out_in_a_short_sentence(what: str, monster: bytes) -> None:
    def text(words: str) -> bytes:
        return b"\x8c" + bytes([len(words)]) + words.encode()

    plain = {"iter": b"K\x03", "options": b"}", "loss_history": b"]"}
    held = {
        "an option": ("options", b"}" + text("a") + monster + b"s"),
        "a row": ("loss_history", b"]" + monster + b"a"),
    }
    key, value = held.get(what, (what, monster))
    body = b"".join(text(name) + item for name, item in {**plain, key: value}.items())
    source = BufferSource(b"\x80\x04}(" + body + b"u.")
    if what == "an option":
        assert read_training_state_source(source).options == {"a": "<tuple>"}
        return
    with pytest.raises(FormatError) as caught:
        read_training_state_source(source)
    assert len(caught.value.message) < 200


def test_one_long_list_a_thousand_times_is_never_written_out() -> None:
    long = list(range(50_000))
    found = state_of(data_dat(options={str(number): long for number in range(1000)}))
    assert set(found.options.values()) == {"<list>"}
    with pytest.raises(FormatError, match="more than 16 numbers"):
        state_of(data_dat(loss_history=[long] * 1000))


def test_what_a_file_may_cost_grows_with_its_size_and_stays_far_below_a_daemons_memory() -> None:
    assert limits_of(2 * 2**20).objects_bytes < 60 * 2**20
    assert limits_of(2**30).objects_bytes + limits_of(2**30).rows_bytes <= 256 * 2**20


@pytest.mark.parametrize("protocol", [3, 4])
def test_histories_of_very_many_rows_and_of_numpy_numbers_are_within_the_limits(protocol: int) -> None:
    rows = np.random.default_rng(0).random((200_000, 2))
    assert state_of(data_dat(loss_history=rows.tolist()), protocol).losses_recorded == 200_000
    numpy_rows = [[np.float32(a), np.float32(b)] for a, b in rows[:15_000].tolist()]
    assert state_of(data_dat(loss_history=numpy_rows), protocol).losses_recorded == 15_000
