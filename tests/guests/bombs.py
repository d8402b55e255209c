"""Modules that are small to send and dear to compile: case S16.

Owns a binary writer of just enough WebAssembly, because as text these would be a hundred times larger. Each module is a
working guest (200 for every request) with the bomb beside its handler.
"""

from collections.abc import Callable, Iterable

I32 = 0x7F
FUNCTION = 0x60
NO_LOCALS = b"\x00"
END = b"\x0b"
MEMORY_BYTES = 2
RESPONSE_AT = 4096
HEAP_AT = 8192


def empty_functions() -> bytes:
    """500,000 functions that do nothing."""
    return _module(_repeated(NO_LOCALS + END, 500_000))


def locals_times_sets() -> bytes:
    """One function: 20,000 locals, each set once in a loop."""
    sets = b"".join(b"\x41" + _signed(n) + b"\x21" + _unsigned(n) for n in range(20_000))
    body = _locals(20_000) + b"\x03\x40" + sets + b"\x0c\x00" + END + END
    return _module([body])


def straight_line() -> bytes:
    """One function of 7 MB without a branch."""
    return _module([_locals(1) + b"\x20\x00\x41\x01\x6a\x21\x00" * 1_000_000 + END])


def many_locals() -> bytes:
    """200 functions of 50,000 locals that are all alive across a loop."""
    touched = b"".join(b"\x20" + _unsigned(n) + b"\x1a" for n in range(0, 50_000, 50))
    body = _locals(50_000) + b"\x03\x40" + touched + b"\x0c\x00" + END + END
    return _module(_repeated(body, 200))


def wide_branch_table() -> bytes:
    """One br_table with a million targets."""
    table = b"\x0e" + _unsigned(1_000_000) + b"\x00" * 1_000_000 + b"\x00"
    return _module([NO_LOCALS + b"\x02\x40\x41\x00" + table + END + END])


BOMBS: dict[str, Callable[[], bytes]] = {
    "bomb-functions": empty_functions,
    "bomb-locals": locals_times_sets,
    "bomb-straight-line": straight_line,
    "bomb-many-locals": many_locals,
    "bomb-branch-table": wide_branch_table,
}


def _module(bodies: Iterable[bytes]) -> bytes:
    """handler and cabi_realloc, a memory, and the given bodies as functions without parameters or results."""
    response = b"\x41" + _signed(RESPONSE_AT)
    handler = NO_LOCALS + response + b"\x41" + _signed(200) + b"\x36\x02\x00" + response + END
    realloc = NO_LOCALS + b"\x41" + _signed(HEAP_AT) + END
    codes = [handler, realloc, *bodies]
    types = [_type(parameters=1, results=1), _type(parameters=4, results=1), _type(parameters=0, results=0)]
    kinds = b"\x00\x01" + b"\x02" * (len(codes) - 2)
    exports = [_export("handler", b"\x00\x00"), _export("cabi_realloc", b"\x00\x01"), _export("memory", b"\x02\x00")]
    return b"\x00asm\x01\x00\x00\x00" + b"".join(
        (
            _section(1, _vector(types)),
            _section(3, _unsigned(len(codes)) + kinds),
            _section(5, _unsigned(1) + b"\x00" + _unsigned(MEMORY_BYTES)),
            _section(7, _vector(exports)),
            _section(10, _vector([_unsigned(len(code)) + code for code in codes])),
        )
    )


def _repeated(body: bytes, count: int) -> list[bytes]:
    return [body] * count


def _type(*, parameters: int, results: int) -> bytes:
    return bytes([FUNCTION, parameters, *[I32] * parameters, results, *[I32] * results])


def _locals(count: int) -> bytes:
    return b"\x01" + _unsigned(count) + bytes([I32])


def _export(name: str, what: bytes) -> bytes:
    return _unsigned(len(name)) + name.encode() + what


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _unsigned(len(content)) + content


def _vector(items: list[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _signed(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte if done else byte | 0x80)
        if done:
            return bytes(out)
