"""Weight files: found without executing, whoever wrote them; refused by name when they are something else."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dfl.byte_source import BufferSource, FileSource
from dfl.errors import FormatError
from dfl.weights import TensorLayout, index_weight_source, index_weights, layout_digest, read_tensor


def small_model() -> dict[str, object]:
    """One of each kind of value that a weight or optimizer file may hold."""
    generator = np.random.default_rng(3)
    return {
        "iters:0": np.int64(4321),
        "down1/conv1/weight:0": generator.standard_normal((5, 5, 3, 2)).astype(np.float32),
        "down1/conv1/bias:0": generator.standard_normal(2).astype(np.float32),
        "dense/weight:0": np.asfortranarray(generator.standard_normal((7, 11)).astype(np.float32)),
        "half:0": generator.standard_normal(300).astype(np.float16),
        "double:0": generator.standard_normal((2, 300)),
        "scale:0": np.array(0.5, np.float32),
        "empty:0": np.empty((0, 3), np.float32),
        "large:0": generator.standard_normal((300, 400)).astype(np.float32),
    }


def as_numpy_1_would(content: bytes) -> bytes:
    """Protocol 2 and 3 bytes with numpy 1's module name; those protocols store it as a line, so lengths may change."""
    return content.replace(b"numpy._core.", b"numpy.core.")


def assert_same(source: BufferSource, layout: TensorLayout, expected: dict[str, object]) -> None:
    assert [tensor.name for tensor in layout.tensors] == list(expected)
    for tensor in layout.tensors:
        value = np.asarray(expected[tensor.name])
        found = read_tensor(source, tensor)
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_tensor_is_found_in_what_numpy_writes_under_protocols_2_to_5(protocol: int) -> None:
    source = BufferSource(pickle.dumps(small_model(), protocol))
    assert_same(source, index_weight_source(source), small_model())


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_module_names_of_numpy_1_are_known(protocol: int) -> None:
    source = BufferSource(as_numpy_1_would(pickle.dumps(small_model(), protocol)))
    assert_same(source, index_weight_source(source), small_model())


def test_the_golden_files_of_numpy_1_are_indexed_as_pickle_reads_them(shared: Path) -> None:
    files = sorted((shared / "golden/models/machine_a").glob("*.npy"))
    assert len(files) == 5
    for path in files:
        layout = index_weights(path)
        with FileSource(path) as source:
            assert_same(source, layout, pickle.loads(path.read_bytes()))


def test_the_streams_of_me_advanced_are_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pickle.dump(len(small_model()), stream)
    for name, value in small_model().items():
        pickle.dump({name: value}, stream)
    path = tmp_path / "alice_SAEHD_encoder.npy"
    path.write_bytes(stream.getvalue())
    layout = index_weights(path)
    assert layout.form == "stream"
    assert_same(BufferSource(stream.getvalue()), layout, small_model())


def test_arrays_made_of_a_read_only_buffer_are_read_under_protocol_5() -> None:
    frozen = np.arange(6, dtype=np.float32)
    frozen.flags.writeable = False
    source = BufferSource(pickle.dumps({"a:0": frozen}, 5))
    assert_same(source, index_weight_source(source), {"a:0": frozen})


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.text(max_size=60),
        npst.arrays(st.sampled_from(["<f2", "<f4", "<f8", "<i8", "|b1"]), npst.array_shapes(min_dims=0, max_side=6)),
        min_size=1,
        max_size=5,
    ),
    st.integers(2, 5),
)
def test_any_dict_of_arrays_is_found_as_pickle_reads_it(model: dict[str, np.ndarray], protocol: int) -> None:
    source = BufferSource(pickle.dumps(model, protocol))
    layout = index_weight_source(source)
    assert [tensor.name for tensor in layout.tensors] == list(model)
    for tensor in layout.tensors:
        found = read_tensor(source, tensor)
        assert found.dtype == model[tensor.name].dtype
        assert found.tobytes() == np.asarray(model[tensor.name]).tobytes()


def test_payloads_are_jumped_over_not_read() -> None:
    class Counting(BufferSource):
        read = 0

        def read_at(self, offset: int, length: int) -> bytes:
            content = super().read_at(offset, length)
            self.read += len(content)
            return content

    model = {f"tensor {number}:0": np.ones(2_000_000, np.float32) for number in range(4)}
    source = Counting(pickle.dumps(model, 4))
    index_weight_source(source)
    assert source.read < 50_000 < source.size


def test_a_zero_filled_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "alice_SAEHD_encoder.npy"
    path.write_bytes(bytes(5000))
    with pytest.raises(FormatError, match="not a pickle") as caught:
        index_weights(path)
    assert "autobackups" in caught.value.hint


def test_the_cut_and_the_empty_golden_file_are_refused_by_name(shared: Path) -> None:
    for name in ("alice_SAEHD_encoder.npy", "alice_SAEHD_decoder_empty.npy"):
        with pytest.raises(FormatError, match=name):
            index_weights(shared / "golden/models/truncated" / name)


def test_a_file_cut_at_any_byte_is_refused() -> None:
    for protocol in (2, 4, 5):
        whole = pickle.dumps({"a:0": np.ones(40, np.float32), "iters:0": np.int64(1)}, protocol)
        for length in range(len(whole)):
            with pytest.raises(FormatError):
                index_weight_source(BufferSource(whole[:length]))


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(FormatError, match="3 bytes follow"):
        index_weight_source(BufferSource(pickle.dumps({"a:0": np.ones(4, np.float32)}, 4) + b"abc"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "list"),
        ({}, "0 tensors"),
        ({"a:0": "text"}, "expected a numpy array"),
        ({"a:0": np.array(["a", "b"])}, "element type"),
        ({"a:0": np.array([None, 1], object)}, "element type"),
        ({"a:0": np.ones(3, np.complex64)}, "element type"),
        ({"a:0": np.ones(3, ">f4")}, "byte order"),
        ({"a:0": np.ones(3, [("x", "<f4")])}, "element type"),
        ({7: np.ones(3, np.float32)}, "named 7"),
        (17, "cut off"),
        (True, "bool"),
    ],
)
def test_what_is_no_dict_of_plain_arrays_is_refused(value: object, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        index_weight_source(BufferSource(pickle.dumps(value, 4)))


def test_two_names_for_one_array_are_refused() -> None:
    array = np.ones(8, np.float32)
    with pytest.raises(FormatError, match="shares bytes"):
        index_weight_source(BufferSource(pickle.dumps({"a:0": array, "b:0": array}, 4)))


def test_a_true_npy_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "alice_SAEHD_encoder.npy"
    np.save(path, np.ones(5))
    with pytest.raises(FormatError) as caught:
        index_weights(path)
    assert "true .npy" in caught.value.hint


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be opened"):
        index_weights(tmp_path / "nothing.npy")


def test_the_digest_of_a_layout_ignores_values_and_sees_counters() -> None:
    def digest(weights: float, steps: int, protocol: int = 4) -> str:
        model = {"iters:0": np.int64(steps), "a:0": np.full(300, weights, np.float32)}
        source = BufferSource(pickle.dumps(model, protocol))
        return layout_digest(source, index_weight_source(source))

    assert digest(1, 5) == digest(2, 5)
    assert digest(1, 5) != digest(1, 6)
    assert digest(1, 5) != digest(1, 5, protocol=3)
