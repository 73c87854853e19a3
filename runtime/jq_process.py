"""Runs jq programs for `runtime.jq_pool`, in a process of its own that may be killed at any moment.

It is started by its path, sees no environment, and imports nothing of ours. On the socket that is its standard input:

    request   how (`1` or `J`), length of the programs, length of the input (both u32); the programs as JSON; the input
              as JSON text
    answer    to `1`: for each program, as soon as it is known: kind (one byte), length (u32), JSON or reason
              to `J`: length (u32), and a JSON list with an item for each program: a boolean; another value as [value];
              [] for no output; a reason; [[reason], null] for what overran. Or 0, and then what `1` is answered
    at last   `.` when the process can go on, `!` when it has grown and ends

It says `.` once when it is ready. It ends when the socket does, so it never outlives who started it.
"""

import json
import random
import re
import resource
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import jq  # type: ignore[import-not-found]

# Names that user programs must not have: what leads out of the document, what says where we run, what ends us.
# They are defined anew for the text that follows, in which the originals cannot be named any more.
# The text is compiled as it is, on lines of its own: it cannot close a bracket that was never opened.
PREFIX: Final = (
    "def env: {}; def input_filename: null; def input_line_number: 0; def get_search_list: []; "
    "def get_prog_origin: null; def get_jq_origin: null; def inputs: empty; "
    'def input: error("there is no other input"); def modulemeta: error("there are no modules"); '
    'def halt: error("halt is not available"); def halt_error: halt; def halt_error(code): halt; '
    "def debug: .; def debug(message): .; def stderr: .; "
    "{} as $ENV | .[0] as $__now | def now: $__now; .[1] |\n"
)
# The empty line ends a comment that was continued with a backslash.
EXACT: Final = "\n\n| tojson"

# Many programs as one. Each has compiled alone before, so it is an expression, and stays one between brackets.
# What is neither a value nor a plain reason has its program asked again, alone: that is the last word.
JOINED: Final = 'def _reason: if type == "string" then . else {} end; [\n'
PLACE: Final = "(try [%s(\n%s\n\n)] catch _reason)"
# What has one output at most, as it is made of nothing else: looking for the first one would take as long again.
SINGLE: Final = re.compile(
    r'(?:[ \t\r\n]|"[^"\\]*"|\.[A-Za-z_][A-Za-z0-9_]*|\.(?!\.)|[0-9]++|[=!<>]=|[<>|()]|\b(?:and|or|not|true|false|null'
    r"|startswith|endswith|contains|inside|has|test|length|type|ascii_downcase|ascii_upcase|tostring)\b)*+"
)
# What says where it is; what tries its next pattern when nobody wants another value; what can raise a `break`, which is
# an object with the number of a label, and labels are counted through the whole program.
APART: Final = ("__loc__", "?//", "error")
DOUBTFUL: Final = "{}"
TOGETHER: Final = 50
"""How many programs are joined at most: jq needs longer for each where there are more."""

CACHED: Final = 3 / 16
"""Of the memory that programs may take, how much is for those that are compiled; enough for thousands of them."""
_EACH, _PER_CHARACTER, _EACH_JOINED = 16 * 2**10, 32, 2 * 2**10
"""What a compiled program takes, as it was measured; and what each takes again where it is joined."""
_TOLD_APART: Final = 4
"""Programs are not joined any more when one of so many had to be asked again alone."""
# Some fractions look like it, too: they are asked again in vain, which is cheaper than a pattern that knows better.
LONG_INTEGER: Final = re.compile(rb"[1-9][0-9]{15}")
NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
LOCATION: Final = re.compile(r" at <top-level>, line \d+, column \d+:.*", re.DOTALL)
DEEPEST: Final = 200

VALUE, NOTHING, FAILED, OVERRAN = b"V", b"N", b"F", b"O"


class Refused(Exception):
    """The program has no outcome; the text says why."""


class _Part(NamedTuple):
    """Programs that are evaluated as one."""

    texts: list[str]
    program: Any


class Programs:
    """Compiled programs. Where there are too many, any of them is forgotten.

    Programs are asked for in turns, all conditions for each change, so the one that was not used for the longest time
    would always be the one that is needed next.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cache: dict[str | bytes, Any] = {}
        self._costs: list[tuple[str | bytes, int]] = []
        self.size = 0
        """How many bytes they take, by estimate."""

    def compiled(self, text: str) -> Any:
        """The program, compiled; what does not compile is remembered, too."""
        program = self._cache.get(text)
        if program is None:
            program = self._compile(text)
            self._remember(text, program, _cost(text))
        if isinstance(program, Refused):
            raise program
        return program

    def together(self, texts: bytes, given: str, most: int) -> bytes:
        """The outcomes of all programs, evaluated as few; nothing if they have to be evaluated one by one.

        Args:
            texts: the programs, as JSON.
            given: what they are evaluated over, as JSON.
            most: how many bytes they may answer, each and together: whoever asked reads the answer at once.
        """
        parts, items, doubts = self._joined(texts), list[Any](), 0
        try:
            for part in parts:
                found = next(iter(part.program.input_text(given)))
                doubtful = _doubtful(found, most)
                doubts += len(doubtful)
                for place in doubtful:
                    found[place] = _item(*self.answer(part.texts[place], given, most))
                items += [_short(item) for item in found]
            encoded = _json(items) if items else b""
        except (ValueError, MemoryError, RecursionError, StopIteration):
            # What one of them does reached the others: it said `break`, or they need too much together.
            doubts, encoded = len(items) + 1, b""
        if len(encoded) > most:
            doubts, encoded = len(items) + 1, b""
        if doubts * _TOLD_APART > len(items) and texts in self._cache:
            self._cache[texts] = []
        return encoded

    def _joined(self, texts: bytes) -> "list[_Part]":
        """The programs as few; none where they cannot be, or not yet."""
        if texts in self._cache:
            return list(self._cache[texts])
        every: list[str] = json.loads(texts)
        cost = _cost(texts) + _EACH_JOINED * len(every)
        if cost > self._most // 4 or not all(text in self._cache for text in every):
            return []  # they are compiled when they are evaluated one by one
        parts: list[_Part] = []
        for some in (every[place : place + TOGETHER] for place in range(0, len(every), TOGETHER)):
            joined = ",\n".join(DOUBTFUL if self._is_apart(text) else _place(text) for text in some)
            program = self._compile(f"{JOINED}{joined}]")
            if isinstance(program, Refused):
                parts = []
                break
            parts.append(_Part(some, program))
        self._remember(texts, parts, cost)
        return parts

    def _is_apart(self, text: str) -> bool:
        """Whether the program is not joined: it does not compile, or has a word of `APART` that may not be data."""
        named = any(word in text for word in APART) and not SINGLE.fullmatch(text)
        return named or isinstance(self._cache[text], Refused)

    def _remember(self, key: str | bytes, program: Any, cost: int) -> None:
        if cost > self._most // 4:
            return  # too much would be forgotten for it
        while self.size + cost > self._most:
            place = random.randrange(len(self._costs))  # noqa: S311 - nothing to guess
            (forgotten, freed), self._costs[place] = self._costs[place], self._costs[-1]
            del self._costs[-1], self._cache[forgotten]
            self.size -= freed
        self._cache[key] = program
        self._costs.append((key, cost))
        self.size += cost

    @staticmethod
    def _compile(text: str) -> Any:
        if "\0" in text:
            return Refused("the program holds a NUL character")
        try:
            return jq.compile(PREFIX + text + "\n")
        except ValueError as error:
            return Refused(f"the program does not compile: {LOCATION.sub('', str(error).removeprefix('jq: error: '))}")

    def answer(self, text: str, given: str, most: int) -> tuple[bytes, bytes]:
        """The first output of the program over the given JSON, in at most `most` bytes."""
        try:
            value = next(iter(self.compiled(text).input_text(given)), NOTHING)
            if value is NOTHING:
                return NOTHING, b""
            encoded = _json(value)
            if len(encoded) > most:
                return OVERRAN, b"the output is too large"
            if _nests(encoded) and _deeper(value):
                raise RecursionError
            if LONG_INTEGER.search(encoded):
                exact = self._exact(text, given, encoded)
                encoded = exact if len(exact) <= most else encoded
            if NUL.search(encoded):
                raise Refused("the output holds a NUL character, which no text may contain")
            return VALUE, encoded
        except RecursionError:
            return OVERRAN, b"the output nests too deeply"
        except MemoryError:
            return OVERRAN, b"the program needs too much memory"
        except Exception as error:
            reason = str(error)
        return FAILED, _reason(reason).encode(errors="replace")

    def _exact(self, text: str, given: str, rounded: bytes) -> bytes:
        """The output with its integers as jq itself writes them: the binding rounds them to doubles."""
        try:
            value = json.loads(next(iter(self.compiled(text + EXACT).input_text(given))))
            return _json(_integral(value))
        except (ValueError, RecursionError, Refused):
            return rounded


def _cost(key: str | bytes) -> int:
    return _EACH + _PER_CHARACTER * len(key)


def _place(text: str) -> str:
    return PLACE % (("", text) if SINGLE.fullmatch(text) else ("first", f"({text}\n\n)"))


def _doubtful(items: list[Any], most: int) -> list[int]:
    """The places of items that only their program alone can tell."""
    plain = _is_plain(_json(items), most)
    return [
        place for place, item in enumerate(items) if _says_nothing(item) or not (plain or _is_plain(_json(item), most))
    ]


def _is_plain(encoded: bytes, most: int) -> bool:
    """Whether nothing in it has to be looked at again."""
    return len(encoded) <= most and not (LONG_INTEGER.search(encoded) or NUL.search(encoded) or _nests(encoded))


def _says_nothing(item: Any) -> bool:
    """Whether it is neither one value nor a reason."""
    return not item if isinstance(item, str) else len(item) != 1


def _nests(encoded: bytes) -> bool:
    """Whether it may nest too deeply."""
    return encoded.count(b"[") + encoded.count(b"{") > DEEPEST


def _item(kind: bytes, data: bytes) -> Any:
    if kind == VALUE:
        return [json.loads(data)]
    if kind == OVERRAN:
        return [[data.decode()], None]
    return [] if kind == NOTHING else data.decode()


def _short(item: Any) -> Any:
    if isinstance(item, str):
        return _reason(item)
    return item[0] if len(item) == 1 and isinstance(item[0], bool) else item


def _reason(text: str) -> str:
    """In short and on one line; the same again for what it returned, and without NUL, which no database takes."""
    return " ".join(text.replace("\0", " ").split())[:300].rstrip()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _integral(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case dict():
            return {key: _integral(item) for key, item in value.items()}
        case list():
            return [_integral(item) for item in value]
    return value


def _deeper(value: Any) -> bool:
    """Whether arrays and objects nest deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
    return any(isinstance(item, dict | list) for item in level)


def _address_space() -> int:
    """How many bytes of address space this process has; 0 where nobody tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _allow(seconds: float) -> None:
    """Let the kernel end this process when the time is over; 0 takes that back.

    No handler would run while jq does. The processor limit is for a clock that jumps.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if seconds:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 2, hard))


def main(seconds: float, memory: int, output: int, total_output: int) -> None:
    """Answer requests until the socket ends."""
    # A Ctrl-C is for who started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is in memory here may be secret: never on disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    small = _address_space()
    if small:
        resource.setrlimit(resource.RLIMIT_AS, (small + memory, small + memory))
    programs = Programs(int(memory * CACHED))
    with socket.socket(fileno=0) as peer, peer.makefile("rb") as stream:
        peer.sendall(b".")
        while len(head := stream.read(9)) == 9:
            how, first, second = struct.unpack(">cII", head)
            texts, given = stream.read(first), stream.read(second).decode()
            joined = b""
            if how == b"J":
                # What takes long is better told apart, so most of the time is left for that.
                _allow(seconds / 2)
                joined = programs.together(texts, given, min(output, total_output))
                peer.sendall(struct.pack(">I", len(joined)) + joined)
            if not joined:
                _allow(seconds)
                left = total_output
                for text in json.loads(texts):
                    kind, encoded = programs.answer(text, given, min(output, left))
                    left -= len(encoded)
                    peer.sendall(kind + struct.pack(">I", len(encoded)) + encoded)
            _allow(0)
            grown = small and _address_space() - programs.size > small + memory // 4
            peer.sendall(b"!" if grown else b".")
            if grown:
                return


if __name__ == "__main__":
    _, *limits = sys.argv
    main(float(limits[0]), *map(int, limits[1:]))
