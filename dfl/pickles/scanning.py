"""`scan_pickle`: where the arrays of an untrusted pickle lie, found without reading or running anything.

It drives dfl.pickles.machine over a `ByteSource`. Byte strings are passed over, so a file of gigabytes costs a few
reads per tensor; a loss history is read as a table (loss_rows). The few names that numpy puts into pickles are
compared as text: nothing is imported, looked up or called.

Not an unpickler: arrays come out as places in the file (scanned_values), for weights and training_state to use.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfl.byte_source import ByteSource
from dfl.errors import FormatError
from dfl.pickles.loss_rows import RowMemo, take_rows
from dfl.pickles.machine import MEMO_BYTES, MachineLimits, Named, PickleMachine
from dfl.pickles.scanned_values import (
    KNOWN_NAMES,
    ByteRange,
    LongText,
    ScalarValue,
    Text,
    decode_number,
    make_array,
    make_array_of_buffer,
    make_dtype,
    number_parts,
    refuse_call,
)

PROTOCOLS = range(2, 6)
"""0 and 1 are text formats that no supported writer uses; 5 is the newest."""
MAX_NAME_BYTES = 4096
"""Longer texts are kept as places; the longest variable name of DeepFaceLab is below 100."""
LARGEST_KEY = 2**60
"""Larger integers can be chosen so that Python puts them all in one place of a dict, which takes for ever."""
MAX_NUMBER_BYTES = 16
"""Of a numpy number as text, whatever the stream says."""
ROWS_BYTES = 640
"""A run of loss rows without its numbers: the object, the array's header, its places in three lists."""


@dataclass(frozen=True)
class ScanLimits(MachineLimits):
    """How much work a stream may ask for before it is refused."""

    opcodes: int = 5_000_000
    stack: float = 1_000_000
    memo: float = 2_000_000
    objects_bytes: float = 64 * 2**20
    """A tensor needs 3 kB of it, wherever its numbers lie; a file of 20 000 tensors is none of DeepFaceLab's."""
    cpu_s: float = 30.0
    rows_bytes: int = 128 * 2**20
    """Memory for the numbers of loss rows, 4 bytes each."""


@dataclass(frozen=True)
class Scanned:
    """The value of one pickle and where it ended."""

    value: object
    protocol: int
    end: int
    """Position after its STOP opcode."""


def scan_pickle(source: ByteSource, start: int = 0, limits: ScanLimits = ScanLimits()) -> Scanned:
    """Follow the one pickle that begins at byte `start`; raise FormatError for anything outside the closed lists.

    The value is made of None, bool, int, float, Text, list, tuple, dict, and the types of scanned_values.
    """
    scanner = _Scanner(source, start, limits)
    value = scanner.run()
    return Scanned(value, scanner.protocol, scanner.cursor.position)


class _Scanner(PickleMachine):
    """Notes where byte strings and long texts lie, and passes over them."""

    def __init__(self, source: ByteSource, start: int, limits: ScanLimits) -> None:
        super().__init__(source, start, PROTOCOLS, limits)
        self._source = source
        self._rows = RowMemo()
        self._rows_bytes = limits.rows_bytes
        self._rows_left = limits.rows_bytes
        makers = {
            "_reconstruct": make_array,
            "_frombuffer": make_array_of_buffer,
            "scalar": self._make_number,
            "dtype": make_dtype,
            "ndarray": refuse_call,
            "encode": self._make_bytes_of_text,
            "bytes": self._make_no_bytes,
        }
        self._names = {(module, name): Named(f"{module}.{name}", makers[name]) for module, name in KNOWN_NAMES}

    def text(self, length: int) -> Text | LongText:
        if length > MAX_NAME_BYTES:
            return LongText(self.cursor.jump(length), length)
        self.spend(4 * length)  # at most 4 bytes a character
        offset = self.cursor.position
        try:
            value = Text(str(self.cursor.take(length), "utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise self.cursor.fault(f"a text is not UTF-8 ({error.reason})") from error
        value.offset, value.length = offset, length
        return value

    def payload(self, length: int) -> ByteRange:
        return ByteRange(self.cursor.jump(length), length)

    def named(self, module: str, name: str) -> Named | None:
        return self._names.get((module, name))

    def check_key(self, key: object, target: dict[object, object]) -> None:
        if not isinstance(key, str | int):
            raise self.cursor.fault(f"a dict has a key of type {type(key).__name__}, expected a text")
        if isinstance(key, int) and abs(key) > LARGEST_KEY:
            raise self.cursor.fault("a dict key that is too large a number")
        if key in target:
            raise self.cursor.fault(f"key {str(key)[:80]!r} comes twice")

    def new_list(self) -> object:
        """Return an empty list, or a whole run of loss rows that begins with one."""
        run = take_rows(self.cursor, len(self.memo) + self.remembered_elsewhere)
        if run is None:
            return []
        self.spend(ROWS_BYTES)
        self._rows_left -= run.value.rows.nbytes
        if self._rows_left < 0:
            raise self.cursor.fault(f"its loss rows need more than {self._rows_bytes >> 20} MiB of memory")
        self._rows.remember(run)
        self.remembered_elsewhere += len(run.value.rows)
        return run.value

    def missing(self, key: int) -> object:
        row = self._rows.recall(key)
        self.spend(ROWS_BYTES + MEMO_BYTES)
        self.remembered_elsewhere -= 1  # it is in the memo from now on
        return row

    # Constructors that need the source or the place in it.

    def _make_number(self, arguments: tuple[object, ...]) -> object:
        dtype, payload = number_parts(arguments)
        if payload.length > MAX_NUMBER_BYTES:
            raise FormatError("a number's bytes are of another kind")
        content = self._source.read_at(payload.offset, payload.length)
        if payload.encoding == "latin1":
            content = content.decode("utf-8", "replace").encode("latin-1", "replace")
        return ScalarValue(dtype, payload, decode_number(dtype, content))

    def _make_bytes_of_text(self, arguments: tuple[object, ...]) -> object:
        if self.protocol == 2 and len(arguments) == 2 and isinstance(arguments[1], Text) and arguments[1] == "latin1":
            text = arguments[0]
            if isinstance(text, Text | LongText):
                return ByteRange(text.offset, text.length, "latin1")
        raise FormatError("a call of encode with arguments that no known writer gives")

    def _make_no_bytes(self, arguments: tuple[object, ...]) -> object:
        if arguments != ():
            raise FormatError("a call of bytes with arguments that no known writer gives")
        return ByteRange(self.cursor.position, 0)
