"""A pickle interpreter that can run nothing: it knows the opcodes of DeepFaceLab's files, and inert names.

A name in the pickle becomes a `Named` whose constructor is ours, from the closed list handed in; calling it calls
that constructor. Any other opcode or name is refused by name. The one failure is FormatError. Nothing is allocated
that the bytes do not hold: no memo index, frame length or count is believed. Dictionary keys are strings, since
hashing a nested tuple may take for ever.

Not the public reader: dfl.pickles.loading adds the limits on the result.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from dfl.errors import FormatError

Construct = Callable[[tuple[Any, ...]], object]
"""Makes a value of the arguments a pickle calls a name with; raises FormatError for arguments of any other form."""

OLDEST_PROTOCOL, NEWEST_PROTOCOL = 2, 4
"""DeepFaceLab writes 3 and 4, and cannot read 5; 2 is what older third-party tools write."""
_LONGEST_INTEGER_BYTES = 16
_LONGEST_NAME_BYTES = 200
_SHOWN_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class PickleLimits:
    """How much one pickle may ask for; each larger than any of DeepFaceLab's own files of the kind needs."""

    size_bytes: int = 1 << 20
    """Length of the pickle. Metadata fits in a JPEG segment of 64 KiB."""
    opcodes: int = 200_000
    depth: int = 16
    """Containers inside containers. DeepFaceLab's nest up to 6."""
    expanded_bytes: int = 16 << 20
    """Size of the result with every shared object counted wherever it is used."""


@dataclass(frozen=True)
class Named:
    """A name of the closed list, as the pickle sees it: it can be passed on, or called if it has a constructor."""

    name: str
    construct: Construct = field(repr=False)


@dataclass(eq=False)
class Shell:
    """A value whose state comes later (pickle's BUILD): what a constructor may return instead of the value."""

    finish: Callable[[object], object]
    """Makes the value of the state; raises FormatError for a state of any other form."""
    result: object = None
    finished: bool = False


def interpret(data: bytes, *, allowed: Mapping[str, Construct], limits: PickleLimits) -> object:
    """Given the bytes of one pickle, return what it holds, unmeasured. Raise FormatError (see `load_closed`)."""
    if len(data) > limits.size_bytes:
        raise FormatError(f"pickle of {len(data)} bytes, at most {limits.size_bytes} are read")
    if len(data) < 2 or data[0] != 0x80:
        raise FormatError("not a pickle of protocol 2 to 4: it does not begin with byte 0x80")
    if not OLDEST_PROTOCOL <= data[1] <= NEWEST_PROTOCOL:
        raise FormatError(
            f"pickle protocol {data[1]}, DeepFaceLab's files have {OLDEST_PROTOCOL} to {NEWEST_PROTOCOL}",
            hint="protocol 5 cannot be read by DeepFaceLab's Python; write the file again with protocol 4",
        )
    return _Machine(data, allowed, limits).run()


class _Machine:
    """The stack, the marks and the memo of one pickle being read."""

    def __init__(self, data: bytes, allowed: Mapping[str, Construct], limits: PickleLimits) -> None:
        self.data = data
        self.at = 2  # behind the protocol
        self.allowed = allowed
        self.limits = limits
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        data, end = self.data, len(self.data)
        for _ in range(self.limits.opcodes):
            if self.at >= end:
                raise FormatError(f"pickle ends after {end} bytes without its STOP")
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self._stop()
            step = _STEPS.get(code)
            if step is None:
                raise self.refusal(f"opcode {_opcode_name(code)} is not used by DeepFaceLab")
            step(self)
        raise FormatError(f"pickle has more than {self.limits.opcodes} opcodes")

    def refusal(self, why: str) -> FormatError:
        return FormatError(f"pickle refused at byte {self.at}: {why}; nothing of it was run")

    def _stop(self) -> object:
        value = self.pop()
        if self.stack or self.below_marks:
            raise self.refusal("values are left over at its end")
        if self.at != len(self.data):
            raise self.refusal(f"{len(self.data) - self.at} bytes follow its end")
        return value

    def take(self, length: int) -> bytes:
        start, end = self.at, self.at + length
        if end > len(self.data):
            raise self.refusal(f"{length} bytes are announced, {len(self.data) - start} are left")
        self.at = end
        return self.data[start:end]

    def take_counted(self, count_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(count_bytes), "little"))

    def take_line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + _LONGEST_NAME_BYTES)
        if end < 0:
            raise self.refusal(f"a name is longer than {_LONGEST_NAME_BYTES} bytes")
        line = self.text(self.take(end - self.at))
        self.at += 1
        return line

    def text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as failure:
            raise self.refusal("a text is not UTF-8") from failure

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise self.refusal("a value is used that was never made")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise self.refusal(f"a {kind.__name__} is filled that was never made")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        if not self.below_marks:
            raise self.refusal("a mark is used that was never set")
        above, self.stack = self.stack, self.below_marks.pop()
        return above

    # One method an opcode, or one for a group of them.

    def set_mark(self) -> None:
        self.below_marks.append(self.stack)
        self.stack = []

    def skip_frame(self) -> None:
        length = int.from_bytes(self.take(8), "little")
        if length > len(self.data) - self.at:
            raise self.refusal(f"a frame of {length} bytes is announced, {len(self.data) - self.at} are left")

    def push_integer_counted(self) -> None:
        length = self.take(1)[0]
        if length > _LONGEST_INTEGER_BYTES:
            raise self.refusal(f"an integer of {length} bytes, at most {_LONGEST_INTEGER_BYTES} are read")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise self.refusal(f"a tuple of {length} is made of {len(self.stack)} values")
        values = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(values)

    def push_marked_tuple(self) -> None:
        values = self.pop_to_mark()
        self.push(tuple(values))

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def append_marked(self) -> None:
        values = self.pop_to_mark()
        self.top(list).extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self._fill([key, value])

    def set_marked_items(self) -> None:
        self._fill(self.pop_to_mark())

    def _fill(self, keys_and_values: list[Any]) -> None:
        if len(keys_and_values) % 2:
            raise self.refusal("a dict is filled with a key that has no value")
        target = self.top(dict)
        for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
            if type(key) is not str:
                raise self.refusal(f"a dict has a key of type {type(key).__name__}, DeepFaceLab's are text")
            target[key] = value

    def name_in_line(self) -> None:
        module, name = self.take_line(), self.take_line()
        self._push_named(f"{module}.{name}")

    def name_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.refusal("a name is no text")
        self._push_named(f"{module}.{name}")

    def _push_named(self, name: str) -> None:
        construct = self.allowed.get(name)
        if construct is None:
            raise self.refusal(f"it asks for {name[:_SHOWN_NAME_CHARACTERS]!r}, which is not on the closed list")
        self.push(Named(name, construct))

    def call(self) -> None:
        arguments, named = self.pop(), self.pop()
        if type(named) is not Named or type(arguments) is not tuple:
            raise self.refusal("something is called that is no name of the closed list")
        self.push(named.construct(arguments))

    def build(self) -> None:
        state = self.pop()
        shell: Shell = self.top(Shell)
        if not shell.finished:
            shell.result, shell.finished = shell.finish(state), True
            self.stack[-1] = shell.result
            return
        raise self.refusal("a value is given its state twice")

    def remember(self, index: int) -> None:
        if not self.stack:
            raise self.refusal("a value is remembered that was never made")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.refusal(f"value {index} is recalled that was never remembered")
        value = self.memo[index]
        if type(value) is Shell:
            if not value.finished:
                raise self.refusal("a value is used inside itself")
            value = value.result
        self.push(value)


_Step = Callable[[_Machine], None]
_STOP = 0x2E
_FLOAT = Struct(">d")


def _push_integer(length: int, *, signed: bool = False) -> _Step:
    return lambda m: m.push(int.from_bytes(m.take(length), "little", signed=signed))


def _push_text(count_bytes: int) -> _Step:
    return lambda m: m.push(m.text(m.take_counted(count_bytes)))


def _push_bytes(count_bytes: int) -> _Step:
    return lambda m: m.push(m.take_counted(count_bytes))


def _push_tuple(length: int) -> _Step:
    return lambda m: m.push_tuple(length)


def _remember(index_bytes: int) -> _Step:
    return lambda m: m.remember(int.from_bytes(m.take(index_bytes), "little"))


def _recall(index_bytes: int) -> _Step:
    return lambda m: m.recall(int.from_bytes(m.take(index_bytes), "little"))


_STEPS_BY_NAME: Mapping[str, _Step] = {
    "FRAME": _Machine.skip_frame,
    "MARK": _Machine.set_mark,
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "BININT": _push_integer(4, signed=True),
    "BININT1": _push_integer(1),
    "BININT2": _push_integer(2),
    "LONG1": _Machine.push_integer_counted,
    "BINFLOAT": lambda m: m.push(_FLOAT.unpack(m.take(8))[0]),
    "SHORT_BINUNICODE": _push_text(1),
    "BINUNICODE": _push_text(4),
    "BINUNICODE8": _push_text(8),
    "SHORT_BINBYTES": _push_bytes(1),
    "BINBYTES": _push_bytes(4),
    "BINBYTES8": _push_bytes(8),
    "EMPTY_LIST": lambda m: m.push([]),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_marked,
    "EMPTY_DICT": lambda m: m.push({}),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_marked_items,
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "TUPLE": _Machine.push_marked_tuple,
    "GLOBAL": _Machine.name_in_line,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "MEMOIZE": lambda m: m.remember(len(m.memo)),
    "BINPUT": _remember(1),
    "LONG_BINPUT": _remember(4),
    "BINGET": _recall(1),
    "LONG_BINGET": _recall(4),
}
_OPCODE_NAMES: Mapping[int, str] = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_STEPS: Mapping[int, _Step] = {
    code: _STEPS_BY_NAME[name] for code, name in _OPCODE_NAMES.items() if name in _STEPS_BY_NAME
}


def _opcode_name(code: int) -> str:
    return _OPCODE_NAMES.get(code, f"0x{code:02x}")
