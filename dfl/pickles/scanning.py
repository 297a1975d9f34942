"""Follow the opcodes of an untrusted pickle without executing anything, and without reading its arrays.

A small stack machine over a `ByteSource`. It knows the opcodes that CPython's pickler emits for dicts, lists,
numbers, texts and numpy arrays under protocols 2 to 5, and the few global names numpy puts there, compared as
text: nothing is imported, looked up or called. Anything else is refused by name and position. Payloads of arrays
are jumped over, so a file of gigabytes costs a few reads per tensor.

Not an unpickler: arrays come out as places in the file (scanned_values), for weights and training_state to use.
"""

from __future__ import annotations

import pickletools
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dfl.byte_source import ByteCursor, ByteSource, PlacedError
from dfl.errors import FormatError
from dfl.pickles.loss_rows import RowMemo, take_rows
from dfl.pickles.scanned_values import (
    KNOWN_GLOBALS,
    ArrayValue,
    ByteRange,
    DtypeDraft,
    GlobalName,
    LongText,
    ScalarValue,
    Text,
    build_array,
    build_dtype,
    decode_number,
    fill_array,
    make_dtype,
    shown,
)

PROTOCOLS = range(2, 6)
"""0 and 1 are text formats that no supported writer uses; 5 is the newest."""
MAX_NAME_BYTES = 4096
"""Longer texts are kept as places; the longest variable name of DeepFaceLab is below 100."""

OPCODES_BETWEEN_LOOKS = 1024
"""At the clock."""
LARGEST_KEY = 2**60
"""Larger integers can be chosen so that Python puts them all in one place of a dict, which takes for ever."""

# Estimates of CPython's memory, none below what it needs on 64 bits (measured by tests).
SLOT_BYTES = 24
"""A place in a list that grows."""
KEY_BYTES = 160
ROWS_BYTES = 640
"""A run of loss rows without its numbers: the object, the array's header, its places in three lists."""

_OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_MARK = object()


@dataclass(frozen=True)
class ScanLimits:
    """How much work a stream may ask for before it is refused."""

    opcodes: int = 5_000_000
    stack: int = 1_000_000
    memo: int = 2_000_000
    objects_bytes: int = 64 * 2**20
    """Memory for all values, by the estimates of `_COSTS`, given back or not. A tensor needs 3 kB of it, wherever its
    numbers lie; a file of 20 000 tensors is none of DeepFaceLab's."""
    rows_bytes: int = 128 * 2**20
    """Memory for the numbers of loss rows, 4 bytes each."""
    cpu_s: float = 30.0
    """Of this thread: a file of this size on a slow link waits, but computes no more."""


@dataclass(frozen=True)
class Scanned:
    """The value of one pickle and where it ended."""

    value: Any
    protocol: int
    end: int
    """Position after its STOP opcode."""


def scan_pickle(source: ByteSource, start: int = 0, limits: ScanLimits = ScanLimits()) -> Scanned:
    """Follow the one pickle that begins at byte `start`; raise FormatError for anything outside the closed lists.

    The value is made of None, bool, int, float, Text, list, tuple, dict, and the types of scanned_values.
    """
    return _Scanner(source, start, limits).run()


class _Scanner:
    """The stack machine: one use, one pickle."""

    def __init__(self, source: ByteSource, start: int, limits: ScanLimits) -> None:
        self.cursor = ByteCursor(source, start)
        self.limits = limits
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.rows = RowMemo()
        self.memoized = 0
        self.objects_left = limits.objects_bytes
        self.rows_left = limits.rows_bytes
        self.frame_end = 0
        self.protocol = 0

    def run(self) -> Scanned:
        if self.cursor.take(1) != b"\x80":
            raise self.cursor.fault("this is not a pickle of protocol 2 to 5")
        self.protocol = self.cursor.take(1)[0]
        if self.protocol not in PROTOCOLS:
            raise self.cursor.fault(f"pickle protocol {self.protocol}, expected 2 to 5")
        actions, costs = _ACTIONS, _COSTS
        ends_at = time.thread_time() + self.limits.cpu_s
        for count in range(self.limits.opcodes):
            if not count % OPCODES_BETWEEN_LOOKS and time.thread_time() > ends_at:
                raise self.cursor.fault(f"it takes more than {self.limits.cpu_s:.0f} s to follow")
            code = self.cursor.take(1)[0]
            if code == 0x2E:  # STOP
                return self.finish()
            action = actions.get(code)
            if action is None:
                raise self.cursor.fault(f"opcode {_OPCODE_NAMES.get(code, hex(code))} is not used by any known writer")
            try:
                self.spend(costs[code])
                action(self)
            except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
                raise self.cursor.fault(f"opcode {_OPCODE_NAMES[code]} does not fit what comes before it") from error
            except PlacedError:
                raise
            except FormatError as error:
                raise self.cursor.fault(error.message) from error
            if len(self.stack) > self.limits.stack:
                raise self.cursor.fault(f"more than {self.limits.stack} values are open at once")
        raise self.cursor.fault(f"more than {self.limits.opcodes} opcodes")

    def finish(self) -> Scanned:
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise self.cursor.fault(f"{len(self.stack)} values at the end, expected 1")
        if self.frame_end > self.cursor.position:
            raise self.cursor.fault("the last frame is longer than the pickle")
        return Scanned(value=self.stack[0], protocol=self.protocol, end=self.cursor.position)

    def spend(self, size_bytes: int) -> None:
        """Take what a value needs from the memory that is left; never given back, so that nothing can be hidden."""
        self.objects_left -= size_bytes
        if self.objects_left < 0:
            raise self.cursor.fault(
                f"its values need more than {self.limits.objects_bytes >> 20} MiB of memory; DeepFaceLab's need little"
            )

    def pop_mark(self) -> list[Any]:
        """Take everything above the topmost mark off the stack."""
        stack = self.stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is _MARK:
                items = stack[index + 1 :]
                del stack[index:]
                self.spend(SLOT_BYTES * len(items))
                return items
        raise self.cursor.fault("no mark on the stack")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise self.cursor.fault("a mark where a value is expected")
        return value

    def pop_tuple(self, count: int) -> None:
        items = tuple(self.pop() for _ in range(count))
        self.stack.append(items[::-1])

    # -- memo

    def memoize(self) -> None:
        self.remember(self.memoized)
        self.memoized += 1

    def remember(self, key: int) -> None:
        if len(self.memo) >= self.limits.memo:
            raise self.cursor.fault(f"more than {self.limits.memo} remembered values")
        value = self.stack[-1]
        if value is _MARK:
            raise self.cursor.fault("a mark is remembered")
        self.memo[key] = value

    def recall(self, key: int) -> None:
        if key not in self.memo:  # then kept as if it had been remembered: a million recalls share one value
            row = self.rows.recall(key)
            self.spend(ROWS_BYTES + _COST_OF_A_NAME)
            if len(self.memo) >= self.limits.memo:
                raise self.cursor.fault(f"more than {self.limits.memo} remembered values")
            self.memo[key] = row
        self.stack.append(self.memo[key])

    # -- values

    def frame(self) -> None:
        length = self.cursor.take_number(8)
        if length > self.cursor.left:
            raise self.cursor.fault(f"a frame of {length} bytes, {self.cursor.left} are left: cut off")
        self.frame_end = self.cursor.position + length

    def text(self, length: int) -> None:
        if length > MAX_NAME_BYTES:
            self.stack.append(LongText(self.cursor.jump(length), length))
            return
        self.spend(4 * length)  # at most 4 bytes a character
        offset = self.cursor.position
        try:
            value = Text(str(self.cursor.take(length), "utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise self.cursor.fault(f"a text is not UTF-8 ({error.reason})") from error
        value.offset, value.length = offset, length
        self.stack.append(value)

    def payload(self, length: int) -> None:
        self.stack.append(ByteRange(self.cursor.jump(length), length))

    def big_int(self) -> None:
        length = self.cursor.take(1)[0]
        if length > 16:
            raise self.cursor.fault(f"an integer of {length} bytes")
        self.stack.append(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise self.cursor.fault("items are appended to something that is not a list")
        target.extend(items)

    def put_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise self.cursor.fault("keys and values do not fit a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise self.cursor.fault(f"a dict key of type {type(key).__name__}, expected a text")
            if isinstance(key, int) and abs(key) > LARGEST_KEY:
                raise self.cursor.fault("a dict key that is too large a number")
            self.spend(KEY_BYTES)
            if key in target:
                raise self.cursor.fault(f"key {str(key)[:80]!r} comes twice")
            target[key] = value

    def known_global(self, module: str, name: str) -> None:
        role = KNOWN_GLOBALS.get((module, name))
        if role is None:
            raise self.cursor.fault(
                f"asks for {f'{module}.{name}'[:120]!r}, which no weight file needs; nothing of it was run"
            )
        self.stack.append(GlobalName(role))

    def named_global(self) -> None:
        module = self.cursor.take_line(MAX_NAME_BYTES)
        self.known_global(module, self.cursor.take_line(MAX_NAME_BYTES))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, Text) or not isinstance(module, Text):
            raise self.cursor.fault("a global whose name is no text")
        self.known_global(str(module), str(name))

    def list_or_rows(self) -> None:
        """EMPTY_LIST, or a whole run of loss rows that begins with one."""
        run = take_rows(self.cursor, self.memoized)
        if run is None:
            self.stack.append([])
            return
        self.spend(ROWS_BYTES)
        self.rows_left -= run.value.rows.nbytes
        if self.rows_left < 0:
            raise self.cursor.fault(f"its loss rows need more than {self.limits.rows_bytes >> 20} MiB of memory")
        self.stack.append(run.value)
        self.rows.remember(run)
        self.memoized += run.memoized

    # -- the closed list of constructors

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise self.cursor.fault("a call of something that is not on the closed list")
        self.stack.append(self.construct(function.role, arguments))

    def construct(self, role: str, arguments: tuple[Any, ...]) -> Any:
        if role == "dtype":
            return make_dtype(arguments)
        if role == "reconstruct":
            if len(arguments) != 3 or arguments[:2] != (GlobalName("ndarray"), (0,)):
                raise self.cursor.fault("an array of another kind than numpy.ndarray")
            return ArrayValue()
        if role == "scalar":
            dtype, payload = arguments
            if not isinstance(dtype, DtypeDraft):
                raise self.cursor.fault("a number without element type")
            resolved = dtype.resolve()
            return ScalarValue(resolved, payload, decode_number(resolved, self.read_payload(payload)))
        if role == "frombuffer":
            array = ArrayValue()
            payload, dtype, shape, order = arguments
            if order not in ("C", "F"):
                raise self.cursor.fault(f"array order {shown(order)}, expected 'C' or 'F'")
            fill_array(array, shape, dtype, str(order) == "F", payload)
            return array
        if role == "encode" and self.protocol == 2 and len(arguments) == 2 and arguments[1] == "latin1":
            text = arguments[0]
            if isinstance(text, Text | LongText):
                return ByteRange(text.offset, text.length, "latin1")
        if role == "bytes" and arguments == ():
            return ByteRange(self.cursor.position, 0)
        raise self.cursor.fault(f"a call of {role} with arguments that no known writer gives")

    def read_payload(self, payload: Any) -> bytes:
        """The bytes of a number; at most 16, whatever the stream says."""
        if not isinstance(payload, ByteRange) or payload.length > 16:
            raise self.cursor.fault("a number's bytes are of another kind")
        content = self.cursor.source.read_at(payload.offset, payload.length)
        if payload.encoding == "latin1":
            return content.decode("utf-8", "replace").encode("latin-1", "replace")
        return content

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, DtypeDraft):
            build_dtype(target, state)
        elif isinstance(target, ArrayValue):
            build_array(target, state)
        else:
            raise self.cursor.fault("a state is given to something that is not an array")


_ACTIONS: dict[int, Callable[[_Scanner], None]] = {
    ord("\x95"): lambda s: s.frame(),
    ord("("): lambda s: s.stack.append(_MARK),
    ord("N"): lambda s: s.stack.append(None),
    ord("\x88"): lambda s: s.stack.append(True),
    ord("\x89"): lambda s: s.stack.append(False),
    ord("K"): lambda s: s.stack.append(s.cursor.take(1)[0]),
    ord("M"): lambda s: s.stack.append(s.cursor.take_number(2)),
    ord("J"): lambda s: s.stack.append(int.from_bytes(s.cursor.take(4), "little", signed=True)),
    ord("\x8a"): lambda s: s.big_int(),
    ord("G"): lambda s: s.stack.append(struct.unpack(">d", s.cursor.take(8))[0]),
    ord("\x8c"): lambda s: s.text(s.cursor.take_number(1)),
    ord("X"): lambda s: s.text(s.cursor.take_number(4)),
    ord("\x8d"): lambda s: s.text(s.cursor.take_number(8)),
    ord("C"): lambda s: s.payload(s.cursor.take_number(1)),
    ord("B"): lambda s: s.payload(s.cursor.take_number(4)),
    ord("\x8e"): lambda s: s.payload(s.cursor.take_number(8)),
    ord("\x96"): lambda s: s.payload(s.cursor.take_number(8)),
    ord("]"): lambda s: s.list_or_rows(),
    ord(")"): lambda s: s.stack.append(()),
    ord("}"): lambda s: s.stack.append({}),
    ord("a"): lambda s: s.extend([s.pop()]),
    ord("e"): lambda s: s.extend(s.pop_mark()),
    ord("s"): lambda s: s.put_items([s.pop(), s.pop()][::-1]),
    ord("u"): lambda s: s.put_items(s.pop_mark()),
    ord("t"): lambda s: s.stack.append(tuple(s.pop_mark())),
    ord("\x85"): lambda s: s.pop_tuple(1),
    ord("\x86"): lambda s: s.pop_tuple(2),
    ord("\x87"): lambda s: s.pop_tuple(3),
    ord("q"): lambda s: s.remember(s.cursor.take_number(1)),
    ord("r"): lambda s: s.remember(s.cursor.take_number(4)),
    ord("\x94"): lambda s: s.memoize(),
    ord("h"): lambda s: s.recall(s.cursor.take_number(1)),
    ord("j"): lambda s: s.recall(s.cursor.take_number(4)),
    ord("c"): lambda s: s.named_global(),
    ord("\x93"): lambda s: s.stack_global(),
    ord("R"): lambda s: s.reduce(),
    ord("b"): lambda s: s.build(),
}

_COST_OF_A_NAME = 144
"""An entry of the memo: a number, and a place in a dict that is copied as it grows."""
_COSTS: dict[int, int] = {
    **dict.fromkeys(_ACTIONS, 160),  # an array's place with its shape, a text without its characters
    **dict.fromkeys(b"\x95(N\x88\x89Kaesubhj", SLOT_BYTES),  # nothing, or only a place on the stack
    **dict.fromkeys(b"MJG\x8a])\x85\x86\x87", 96),  # a number, an empty list, a tuple
    **dict.fromkeys(b"CB\x8e\x96R", 128),  # the place of bytes; what a call makes
    **dict.fromkeys(b"qr\x94", _COST_OF_A_NAME),
}
