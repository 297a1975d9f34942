"""The one interpreter of pickles: a stack machine that knows DeepFaceLab's opcodes and can run nothing.

It reads a `ByteSource` opcode by opcode, under limits. What a text, a byte string, a list or a name becomes is decided
by who drives it: `load_closed` (dfl.pickles.loading) makes real values, `scan_pickle` (dfl.pickles.scanning) notes
where the bytes of arrays lie and passes over them.

A name in the pickle becomes a `Named` whose constructor is ours, from a closed list; calling it calls that
constructor. Any other opcode or name is refused by name. The one failure is FormatError. Nothing is allocated that
the bytes do not hold: no memo index, frame length or count is believed.
"""

from __future__ import annotations

import pickletools
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from dfl.byte_source import ByteCursor, ByteSource, PlacedError
from dfl.errors import FormatError

Construct = Callable[[tuple[object, ...]], object]
"""Makes a value of the arguments a pickle calls a name with; raises FormatError for arguments of any other form."""

OPCODES_BETWEEN_CHECKS = 128
"""Of the clock and of what is spent: a stream comes no further than so many opcodes beyond a limit."""
_LONGEST_INTEGER_BYTES = 16
_LONGEST_NAME_BYTES = 200
"""Of a module or of what stands in it: numpy's longest has 22."""
_SHOWN_NAME_CHARACTERS = 120

# Estimates of CPython's memory, none below what it needs on 64 bits (measured by tests).
SLOT_BYTES = 24
"""A place in a list that grows."""
KEY_BYTES = 160
MEMO_BYTES = 144
"""An entry of the memo: a number, and a place in a dict that is copied as it grows."""


@dataclass(frozen=True)
class MachineLimits:
    """How much work a pickle may ask for before it is refused."""

    opcodes: int
    stack: float = inf
    """Values and marks that are open at once."""
    memo: float = inf
    """Values that are remembered."""
    objects_bytes: float = inf
    """Memory for all values, by the estimates of `_OPCODES`, given back or not."""
    cpu_s: float = inf
    """Of this thread: a file on a slow link waits, but computes no more."""


@dataclass(frozen=True, slots=True)
class Named:
    """A name of the closed list, as the pickle sees it: it can be passed on, or called."""

    name: str
    construct: Construct = field(repr=False)


@dataclass(eq=False, slots=True)
class Shell:
    """A value whose state comes later (pickle's BUILD): what a constructor may return instead of the value."""

    finish: Callable[[object], object]
    """Makes the value of the state; raises FormatError for a state of any other form."""
    result: object = None
    finished: bool = False


class PickleMachine(ABC):
    """The stack, the marks and the memo of one pickle being read. One use, one pickle."""

    def __init__(self, source: ByteSource, start: int, protocols: range, limits: MachineLimits) -> None:
        self.cursor = ByteCursor(source, start)
        self.protocols = protocols
        self.protocol = 0
        self.limits = limits
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.floor = 0
        """Where the values above the topmost mark begin."""
        self.memo: dict[int, object] = {}
        self.remembered_elsewhere = 0
        """Values that have a number and are not in the memo; see `missing`."""
        self.most_remembered = limits.memo
        self.objects_left = limits.objects_bytes
        self.frame_end = 0

    # What the values are.

    @abstractmethod
    def text(self, length: int) -> object:
        """Take a text of so many bytes of UTF-8."""

    @abstractmethod
    def payload(self, length: int) -> object:
        """Take a byte string."""

    @abstractmethod
    def named(self, module: str, name: str) -> Named | None:
        """Return a name of the closed list; None for any other."""

    @abstractmethod
    def check_key(self, key: object, target: dict[object, object]) -> None:
        """Raise FormatError for a key that the dict may not get."""

    def new_list(self) -> object:
        """Return what EMPTY_LIST makes."""
        return []

    def missing(self, key: int) -> object:
        """Return the value with a number that is not in the memo. Raise KeyError where there is none."""
        raise KeyError(key)

    # Running.

    def run(self) -> object:
        """Follow the opcodes up to STOP; return the one value that is left. Raise PlacedError for anything else."""
        self._begin()
        ends_at = time.thread_time() + self.limits.cpu_s
        left = self.limits.opcodes
        while left > 0:
            if time.thread_time() > ends_at:
                raise self.cursor.fault(f"it takes more than {self.limits.cpu_s:.0f} s to follow")
            if self._follow(min(left, OPCODES_BETWEEN_CHECKS)):
                return self._finish()
            left -= OPCODES_BETWEEN_CHECKS
            if len(self.stack) + len(self.marks) > self.limits.stack:
                raise self.cursor.fault(f"more than {self.limits.stack} values are open at once")
        raise self.cursor.fault(f"more than {self.limits.opcodes} opcodes")

    def _follow(self, count: int) -> bool:
        """Follow so many opcodes; return whether STOP was among them."""
        cursor, steps, costs = self.cursor, _STEPS, _COSTS
        code, spent = 0, 0
        try:
            for _ in range(count):
                at = cursor.at
                if at < len(cursor.buffer):
                    code = cursor.buffer[at]
                    cursor.at = at + 1
                elif cursor.left:
                    code = cursor.take(1)[0]
                else:
                    raise cursor.fault("the file is cut off: it ends without its STOP")
                step = steps[code]
                if step is None:
                    break
                spent += costs[code]
                step(self)
            else:
                self.spend(spent)
                return False
        except PlacedError:
            raise
        except FormatError as error:
            raise cursor.fault(error.message) from error
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise cursor.fault(f"opcode {_name_of(code)} does not fit what comes before it") from error
        if code != _STOP:
            raise cursor.fault(f"opcode {_name_of(code)} is not used by any known writer")
        return True

    def _begin(self) -> None:
        oldest, newest = self.protocols[0], self.protocols[-1]
        if self.cursor.peek(1) != b"\x80":
            cut_off = "" if self.cursor.left else ", the file is cut off"
            raise self.cursor.fault(
                f"not a pickle of protocol {oldest} to {newest}: it does not begin with byte 0x80{cut_off}"
            )
        self.protocol = self.cursor.take(2)[1]
        if self.protocol not in self.protocols:
            raise self.cursor.fault(f"pickle protocol {self.protocol}, expected {oldest} to {newest}")

    def _finish(self) -> object:
        value = self.pop()
        if self.stack or self.marks:
            raise self.cursor.fault(f"{len(self.stack) + len(self.marks)} values are left over at its end")
        if self.frame_end > self.cursor.position:
            raise self.cursor.fault("the last frame is longer than the pickle")
        return value

    def spend(self, size_bytes: int) -> None:
        """Take what a value needs from the memory that is left; never given back, so that nothing can be hidden."""
        self.objects_left -= size_bytes
        if self.objects_left < 0:
            raise self.cursor.fault(
                f"its values need more than {self.limits.objects_bytes / 2**20:.0f} MiB of memory; "
                "DeepFaceLab's need little"
            )

    def take_number(self, length: int) -> int:
        return int.from_bytes(self.cursor.take(length), "little")

    # The stack.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= self.floor:
            raise self.cursor.fault("a value is used that was never made")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise self.cursor.fault("a mark is used that was never set")
        stack, floor = self.stack, self.marks.pop()
        values = stack[floor:]
        del stack[floor:]
        self.floor = self.marks[-1] if self.marks else 0
        self.objects_left -= SLOT_BYTES * len(values)
        if self.objects_left < 0:
            self.spend(0)
        return values

    def top(self) -> object:
        """Return the value that is filled next; None where there is none above the mark."""
        return self.stack[-1] if len(self.stack) > self.floor else None

    # One method an opcode, or one for a group of them.

    def set_mark(self) -> None:
        self.floor = len(self.stack)
        self.marks.append(self.floor)

    def start_frame(self) -> None:
        length = self.take_number(8)
        if length > self.cursor.left:
            raise self.cursor.fault(f"a frame of {length} bytes is announced, {self.cursor.left} are left: cut off")
        self.frame_end = self.cursor.position + length

    def push_counted_integer(self) -> None:
        length = self.take_number(1)
        if length > _LONGEST_INTEGER_BYTES:
            raise self.cursor.fault(f"an integer of {length} bytes, at most {_LONGEST_INTEGER_BYTES} are read")
        self.push(int.from_bytes(self.cursor.take(length), "little", signed=True))

    def push_bytearray(self) -> None:
        if self.protocol < 5:
            raise self.cursor.fault("opcode BYTEARRAY8 is not used before protocol 5")
        self.push(self.payload(self.take_number(8)))

    def push_tuple(self, length: int) -> None:
        there = len(self.stack) - self.floor
        if there < length:
            raise self.cursor.fault(f"a tuple of {length} is made of {there} values")
        values = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(values)

    def append(self, values: list[object]) -> None:
        target = self.stack[-1] if len(self.stack) > self.floor else None
        if type(target) is not list:
            raise self.cursor.fault("a list is filled that was never made")
        target.extend(values)

    def append_one(self) -> None:
        self.append([self.pop()])

    def set_items(self, keys_and_values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise self.cursor.fault("a dict is filled that was never made")
        if len(keys_and_values) % 2:
            raise self.cursor.fault("a dict is filled with a key that has no value")
        self.spend(KEY_BYTES * len(keys_and_values) // 2)
        for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
            self.check_key(key, target)
            target[key] = value

    def set_one_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def push_name_in_lines(self) -> None:
        module = self.cursor.take_line(_LONGEST_NAME_BYTES)
        self._push_name(module, self.cursor.take_line(_LONGEST_NAME_BYTES))

    def push_name_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.cursor.fault("a name is no text")
        self._push_name(str(module), str(name))

    def _push_name(self, module: str, name: str) -> None:
        known = self.named(module, name)
        if known is None:
            raise self.cursor.fault(
                f"asks for {f'{module}.{name}'[:_SHOWN_NAME_CHARACTERS]!r}, which is not on the closed list"
            )
        self.push(known)

    def call(self) -> None:
        arguments, named = self.pop(), self.pop()
        if type(named) is not Named or type(arguments) is not tuple:
            raise self.cursor.fault("something is called that is no name of the closed list")
        self.push(named.construct(arguments))

    def build(self) -> None:
        state, shell = self.pop(), self.top()
        if type(shell) is not Shell:
            raise self.cursor.fault("a Shell is filled that was never made")
        if shell.finished:
            raise self.cursor.fault("a value is given its state twice")
        shell.result, shell.finished = shell.finish(state), True
        self.stack[-1] = shell.result

    def remember(self, key: int) -> None:
        if len(self.stack) <= self.floor:
            raise self.cursor.fault("a value is remembered that was never made")
        if len(self.memo) >= self.most_remembered:
            raise self.cursor.fault(f"more than {self.most_remembered} values are remembered")
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        if key not in self.memo:
            try:
                value = self.missing(key)
            except KeyError as error:
                raise self.cursor.fault(f"value {key} is recalled that was never remembered") from error
            if len(self.memo) >= self.most_remembered:
                raise self.cursor.fault(f"more than {self.most_remembered} values are remembered")
            self.memo[key] = value  # as if it had been remembered: a million recalls share one value
        value = self.memo[key]
        if type(value) is Shell:
            if not value.finished:
                raise self.cursor.fault("a value is used inside itself")
            value = value.result
        self.push(value)


_Step = Callable[[PickleMachine], None]
_STOP = 0x2E
_NOTHING, _NUMBER, _PLACE, _OBJECT = SLOT_BYTES, 96, 128, 160
"""Bytes: only a place on the stack; a number, an empty list, a tuple; the place of bytes, what a call makes; an array's
place with its shape, a text without its characters."""


def _text(count_bytes: int) -> _Step:
    return lambda m: m.stack.append(m.text(m.take_number(count_bytes)))


def _payload(count_bytes: int) -> _Step:
    return lambda m: m.stack.append(m.payload(m.take_number(count_bytes)))


_OPCODES: Mapping[str, tuple[int, _Step]] = {
    "FRAME": (_NOTHING, PickleMachine.start_frame),
    "MARK": (_NOTHING, PickleMachine.set_mark),
    "NONE": (_NOTHING, lambda m: m.stack.append(None)),
    "NEWTRUE": (_NOTHING, lambda m: m.stack.append(True)),
    "NEWFALSE": (_NOTHING, lambda m: m.stack.append(False)),
    "BININT": (_NUMBER, lambda m: m.stack.append(int.from_bytes(m.cursor.take(4), "little", signed=True))),
    "BININT1": (_NOTHING, lambda m: m.stack.append(m.cursor.take_byte())),
    "BININT2": (_NUMBER, lambda m: m.stack.append(m.take_number(2))),
    "LONG1": (_NUMBER, PickleMachine.push_counted_integer),
    "BINFLOAT": (_NUMBER, lambda m: m.stack.append(m.cursor.take_float())),
    "SHORT_BINUNICODE": (_OBJECT, lambda m: m.stack.append(m.text(m.cursor.take_byte()))),
    "BINUNICODE": (_OBJECT, _text(4)),
    "BINUNICODE8": (_OBJECT, _text(8)),
    "SHORT_BINBYTES": (_PLACE, lambda m: m.stack.append(m.payload(m.cursor.take_byte()))),
    "BINBYTES": (_PLACE, _payload(4)),
    "BINBYTES8": (_PLACE, _payload(8)),
    "BYTEARRAY8": (_PLACE, PickleMachine.push_bytearray),
    "EMPTY_LIST": (_NUMBER, lambda m: m.stack.append(m.new_list())),
    "APPEND": (_NOTHING, PickleMachine.append_one),
    "APPENDS": (_NOTHING, lambda m: m.append(m.pop_to_mark())),
    "EMPTY_DICT": (_OBJECT, lambda m: m.stack.append({})),
    "SETITEM": (_NOTHING, PickleMachine.set_one_item),
    "SETITEMS": (_NOTHING, lambda m: m.set_items(m.pop_to_mark())),
    "EMPTY_TUPLE": (_NUMBER, lambda m: m.stack.append(())),
    "TUPLE1": (_NUMBER, lambda m: m.push_tuple(1)),
    "TUPLE2": (_NUMBER, lambda m: m.push_tuple(2)),
    "TUPLE3": (_NUMBER, lambda m: m.push_tuple(3)),
    "TUPLE": (_OBJECT, lambda m: m.stack.append(tuple(m.pop_to_mark()))),
    "GLOBAL": (_OBJECT, PickleMachine.push_name_in_lines),
    "STACK_GLOBAL": (_OBJECT, PickleMachine.push_name_on_stack),
    "REDUCE": (_PLACE, PickleMachine.call),
    "BUILD": (_NOTHING, PickleMachine.build),
    "MEMOIZE": (MEMO_BYTES, lambda m: m.remember(len(m.memo) + m.remembered_elsewhere)),
    "BINPUT": (MEMO_BYTES, lambda m: m.remember(m.cursor.take_byte())),
    "LONG_BINPUT": (MEMO_BYTES, lambda m: m.remember(m.take_number(4))),
    "BINGET": (_NOTHING, lambda m: m.recall(m.cursor.take_byte())),
    "LONG_BINGET": (_NOTHING, lambda m: m.recall(m.take_number(4))),
}
"""Name -> what it costs in memory, by the estimates above, and what it does; STOP alone is missing."""
_NAMES: Mapping[int, str] = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_COSTS = [_OPCODES.get(_NAMES.get(code, ""), (0,))[0] for code in range(256)]
_STEPS = [_OPCODES.get(_NAMES.get(code, ""), (0, None))[1] for code in range(256)]


def _name_of(code: int) -> str:
    return _NAMES.get(code, f"0x{code:02x}")
