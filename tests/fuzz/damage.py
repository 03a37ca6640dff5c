"""Damage files at random: bytes, tokens and lines, JSON, TOML, zips, safetensors and npy headers.

A mutation takes the bytes of a file, a random generator and other files of its kind, and returns other bytes, or the
same bytes if it finds nothing to change. The result depends only on the generator.
"""

import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

Way = Callable[[bytes, random.Random, Sequence[bytes]], bytes]

NUMBERS = (
    *(b"1e999 -1e999 nan -nan inf -inf Infinity 1.#IND -1.#IND -0 0 .5 5. . - + 1e 1e-400 4.9e-324 1e5 1_0".split()),
    *(b"1" * 40, b"0." + b"3" * 40, b"9" * 400, b"0x10", b"-1", b"1,5", b"\xd9\xa1", b"3.4028236e38", b"16777217"),
    *(b"2147483648", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615"),
    *(b"999999999", b"1000000000", b"1e400000", b"00", b"007", b"1.2.3", b"--1", b"", b"true", b"2025-01-01"),
)
"""Replacements for a number."""
SPECIAL_BYTES = b"0129.-+e \t\r\n\0,;:=\"'[]{}#\\/_%\x0b\x0c\x1a\x1c\x85\xa0\xff\xfe\xef\xbb\xbf"
NUMBER = re.compile(rb"[+-]?[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?")
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04", b"\x1f\x8b", b"#", b"\0")


def damaged(content: bytes, ways: Sequence[Way], chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Apply one or more mutations; each additional one is half as likely."""
    while True:
        content = chance.choice(ways)(content, chance, others)
        if chance.random() < 0.5:
            return content


def _random_offset(content: bytes, chance: random.Random) -> int:
    """Return a random offset; both ends of the file are more likely than other offsets."""
    near = chance.choice((0, 1, len(content) - 1, len(content)))
    return min(max(0, near), len(content)) if chance.random() < 0.1 else chance.randint(0, len(content))


def _span(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = _random_offset(content, chance)
    return start, min(len(content), start + (chance.randint(1, 8) if chance.random() < 0.7 else chance.randint(1, 200)))


# Bytes


def flip_bit(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    at = min(_random_offset(content, chance), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :] if content else content


def set_byte(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    at = _random_offset(content, chance)
    return content[:at] + bytes([chance.choice(SPECIAL_BYTES)]) + content[at + 1 :]


def insert_bytes(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    at, count = _random_offset(content, chance), chance.choice((1, 1, 1, 2, 7, 64))
    made = chance.randbytes(count) if chance.random() < 0.3 else bytes([chance.choice(SPECIAL_BYTES)]) * count
    return content[:at] + made + content[at:]


def delete_span(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def copy_span(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    at = _random_offset(content, chance)
    return content[:at] + content[start:end] * chance.choice((1, 1, 2, 30)) + content[at:]


def splice(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    return content[: _random_offset(content, chance)] + other[_random_offset(other, chance) :]


def cut(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content[: _random_offset(content, chance)]


def cut_in_number(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = _any_number(content, chance)
    return content[: chance.randint(found.start() + 1, found.end())] if found else content


def behead(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content[_random_offset(content, chance) :]


def repeat(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content * chance.choice((2, 3)) if len(content) < 1 << 16 else content


def zero_span(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + bytes(end - start) + content[end:]


def begin_otherwise(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return chance.choice(MARKS) + content


def as_utf16(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content.decode("latin-1").encode(chance.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32")))


def nothing(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return chance.choice((b"", b"\n", b"\0" * 64, b" ", b"\r\n" * 9))


# Common mutations are listed several times.
BYTES: tuple[Way, ...] = (
    *(flip_bit, set_byte, insert_bytes, delete_span) * 3,
    *(copy_span, splice, cut, behead, zero_span) * 2,
    *(repeat, begin_otherwise),
)
RARE: tuple[Way, ...] = (as_utf16, nothing)


# Tokens and lines


def _any_number(content: bytes, chance: random.Random) -> re.Match[bytes] | None:
    """Return the first number after a random offset, otherwise the first number of the file."""
    return NUMBER.search(content, _random_offset(content, chance)) or NUMBER.search(content)


def other_number(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = _any_number(content, chance)
    if not found:
        return content
    return content[: found.start()] + chance.choice(NUMBERS) + content[found.end() :]


def wrong_count(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Replace an integer by one that is off by one, negative or huge."""
    whole = list(re.finditer(rb"(?<![0-9.eE])[0-9]{1,9}(?![0-9.eE])", content[: 1 << 14]))
    if not whole:
        return content
    found = chance.choice(whole)
    count = int(found[0])
    other = chance.choice((count + 1, count - 1, -count, count * 1000, 999_999_999, 10**9, 2**31, 2**63, 10**40, 0))
    return content[: found.start()] + b"%d" % other + content[found.end() :]


def change_lines(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Delete, duplicate, swap, empty or join a line, or copy one from another file."""
    lines = content.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    how = chance.randrange(6)
    if how == 0:
        del lines[one]
    elif how == 1:
        lines.insert(other, lines[one])
    elif how == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif how == 3:
        lines[one] = chance.choice((b"", b" ", b"\t\r", lines[one] + b" ", b" " + lines[one], lines[one] + b"\r"))
    elif how == 4:
        lines[one] = chance.choice(chance.choice(others).split(b"\n"))
    else:
        lines[one] += lines.pop(one + 1) if one + 1 < len(lines) else b""
    return b"\n".join(lines)


def change_fields(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Delete or duplicate a field of a line, or swap it with the next."""
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    parts = re.split(rb"([ \t,;=:]+)", lines[at])
    if len(parts) < 3:
        return content
    one = chance.randrange(0, len(parts) - 2, 2)
    parts[one : one + 3] = chance.choice(
        ([parts[one + 2]], [*parts[one : one + 3], parts[one + 1], parts[one + 2]], parts[one : one + 3][::-1])
    )
    lines[at] = b"".join(parts)
    return b"\n".join(lines)


def other_line_ends(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    return content.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"\n\t", b"\x0b\n", b"\r\r\n")))


def drop_last_line_end(content: bytes, _: random.Random, __: Sequence[bytes]) -> bytes:
    return content.rstrip(b"\r\n \t")


def other_separators(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    old, new = chance.choice(((b" ", b"\t"), (b" ", b"  "), (b",", b";"), (b",", b" "), (b" ", b","), (b".", b",")))
    return content.replace(old, new)


def long_field(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = _any_number(content, chance)
    return (
        content[: found.end()] + chance.choice((b"0", b"9", b" ", b"x")) * 5000 + content[found.end() :]
        if found
        else content
    )


TOKENS: tuple[Way, ...] = (
    *(other_number, wrong_count, change_lines, change_fields) * 5,
    *(cut_in_number, other_line_ends, drop_last_line_end, other_separators) * 2,
    long_field,
)
TEXT: tuple[Way, ...] = (*TOKENS, *BYTES, *RARE)


# JSON and TOML

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e308, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 10**400, float("nan")),
    *(float("inf"), "", "x", "0", "\0", "\ud800", "a\nb", "../../x", "x" * 5000, "é\u202e\u2028", "true", "null"),
    *([], [0], [None], [[]], {}, {"": 0}, {"x": {}}, [0] * 300, ["x"] * 30),
)


def _all_paths(plain: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [path for key, value in items for path in ((*above, key), *_all_paths(value, (*above, key)))]


def change_plain(plain: Any, chance: random.Random) -> Any:
    """Return plain data with one change: a value replaced, or a key or item deleted, added, renamed or duplicated."""
    changed = holder = deepcopy(plain)
    paths = _all_paths(changed)
    if not paths:
        return chance.choice(ODD)
    path = chance.choice(paths)
    for key in path[:-1]:
        holder = holder[key]
    last, how = path[-1], chance.randrange(10)
    if how == 0:
        del holder[last]
    elif how == 1 and isinstance(holder, dict):
        holder[chance.choice(("x", "", f"{last} ", str(last).upper(), "\0", "0"))] = holder.pop(last)
    elif how == 2 and isinstance(holder, dict):
        holder[chance.choice(("x", "kind", "steps", "é", "a.b", "name", "0"))] = chance.choice(ODD)
    elif how == 3 and isinstance(holder, list):
        holder.insert(chance.randint(0, len(holder)), deepcopy(holder[last]))
    elif how == 4:
        other = chance.choice(paths)
        source = changed
        for key in other:
            source = source[key]
        holder[last] = deepcopy(source)
    elif how == 5 and type(holder[last]) is int:
        holder[last] += chance.choice((1, -1, 1000, 2**31))
    elif how == 6:
        holder[last] = [holder[last]]
    elif how == 7 and isinstance(holder[last], str):
        holder[last] = chance.choice((holder[last][:-1], holder[last] + "x", holder[last].upper(), f" {holder[last]}"))
    else:
        holder[last] = chance.choice(ODD)
    return changed


def change_json(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    try:
        plain = json.loads(content)
        return json.dumps(change_plain(plain, chance), indent=chance.choice((1, None))).encode() + b"\n"
    except (ValueError, RecursionError):
        return content


def deep(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Insert deeply nested brackets instead of a number or at the end."""
    depth = chance.choice((3, 50, 900, 20_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}")))
    nested = opening * depth + chance.choice((b"", b"0", b"[]")) + chance.choice((closing * depth, b""))
    found = _any_number(content, chance)
    return content[: found.start()] + nested + content[found.end() :] if found else content + nested


TOML_VALUES = (
    *(b"1 -1 0 1.5 nan -inf 1e400 true false 0x7fffffffffffffffff 1979-05-27 07:32:00 '' \"\" [] {} [1] [[]]".split()),
    *(b'"x"', b'["a", 1]', b'"\\u0000"', b'"\\ud800"', b"0x" + b"f" * 5000, b"9" * 5000, b'"""a\nb"""', b"{a.b = 1}"),
    *(b'"' + b"x" * 3000 + b'"', b"1979-05-27T07:32:00Z", b"[1, [2]]", b'{name = "x"}', b"'\x07'", b"-0.0", b"+1"),
)


def change_toml_value(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"(?m)=[ \t]*(.*)$", content))
    if not found:
        return content
    value = chance.choice(found)
    return content[: value.start(1)] + chance.choice(TOML_VALUES) + content[value.end(1) :]


def change_toml_key(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Rename a key or table, or make its name dotted."""
    found = list(re.finditer(rb"(?m)^[ \t]*(?:\[+)?([\w.-]+)", content))
    if not found:
        return content
    key = chance.choice(found)
    new = chance.choice(
        (b"x", key[1] + b".x", b'""', b'"\\u0000"', key[1].upper(), b"a." * 2000 + b"b", b"0", b"steps")
    )
    return content[: key.start(1)] + new + content[key.end(1) :]


def dotted(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Append a table whose name has very many parts."""
    return content + b"\n[" + b"a." * chance.choice((3, 500, 20_000)) + b"b]\nx = 1\n"


JSON: tuple[Way, ...] = (*(change_json,) * 12, *(deep,) * 2, other_number, wrong_count, *BYTES, *RARE)
TOML: tuple[Way, ...] = (
    *(change_toml_value,) * 8,
    *(change_toml_key,) * 4,
    *(deep,) * 2,
    dotted,
    *TOKENS,
    *BYTES,
    *RARE,
)


# Formats with binary headers

EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
SIGNATURES = {b"PK\x03\x04": 30, b"PK\x01\x02": 46, b"PK\x05\x06": 22}
"""Signatures of zip headers and the header lengths in bytes."""


def change_zip_header(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Change two or four bytes of a local header, a central directory entry or the end record."""
    found = list(re.finditer(rb"PK(?:\x03\x04|\x01\x02|\x05\x06)", content))
    if not found:
        return content
    header = chance.choice(found)
    at = header.start() + chance.randrange(4, SIGNATURES[header[0]] - 1)
    width, code = chance.choice(((2, "<H"), (4, "<I")))
    if at + width > len(content):
        return content
    (old,) = struct.unpack_from(code, content, at)
    new = chance.choice((*EXTREMES, old + 1, old - 1, old ^ 1, old ^ 8, chance.randrange(1 << 16))) % (1 << 8 * width)
    return content[:at] + struct.pack(code, new) + content[at + width :]


ZIP: tuple[Way, ...] = (*(change_zip_header,) * 20, *BYTES, *RARE)


def change_safetensors(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Change the header length, or the type, shape or offsets of a tensor."""
    if len(content) < 8:
        return content
    (length,) = struct.unpack_from("<Q", content)
    head, body = content[8 : 8 + length], content[8 + length :]
    if chance.random() < 0.2:
        other = chance.choice((length + 1, length - 1, 0, 2**63, 2**64 - 1, len(content), 100_000_001, length + 8))
        return struct.pack("<Q", other % 2**64) + content[8:]
    try:
        plain = json.loads(head)
    except (ValueError, RecursionError):
        return content
    tensors = (
        [name for name, held in plain.items() if isinstance(held, dict) and "shape" in held]
        if isinstance(plain, dict)
        else []
    )
    if tensors and chance.random() < 0.7:
        about = plain[chance.choice(tensors)]
        how = chance.randrange(4)
        if how == 0:
            about["dtype"] = chance.choice(
                [
                    "BOOL",
                    "U8",
                    "I8",
                    "F8_E5M2",
                    "F8_E4M3",
                    "F8_E8M0",
                    "F4",
                    "I16",
                    "U16",
                    "F16",
                    "BF16",
                    "I32",
                    "F64",
                    "C64",
                    "U64",
                    "X",
                ]
            )
        elif how == 1 and isinstance(about["shape"], list):
            about["shape"] = chance.choice(
                (about["shape"][::-1], [*about["shape"], 1], [], [0], [2**62, 4], [-1], [2**64], [2**63, 2, 0])
            )
        elif how == 2:
            about["data_offsets"] = chance.choice(
                ([0, 0], [0, len(body)], [8, 4], [len(body)] * 2, [0, 2**63], [-1, 3])
            )
        else:
            about["shape"] = chance.choice(([2, 2], [4], [1, 4], [16]))
            about["dtype"] = chance.choice(("U8", "F64", "I32", "BOOL"))
    else:
        plain = change_plain(plain, chance)
    made = json.dumps(plain).encode()
    made += b" " * (-len(made) % 8)
    return struct.pack("<Q", len(made)) + made + body


SAFETENSORS: tuple[Way, ...] = (*(change_safetensors,) * 20, *BYTES, *RARE)

SHAPES = (
    b"()",
    b"(0,)",
    b"(1,)",
    b"(-1, 3)",
    b"(99999999999,)",
    b"(2, 3, 5, 3)",
    b"(30, 3)",
    b"(1.5,)",
    b"(1000000000, 15)",
)
KINDS = (b"<f4", b">f8", b"|O", b"|b1", b"<c8", b"<U9", b"|V0", b"|S0", b"<i8", b"|u1", b"<M8[s]", b"<f99", b"")


def change_npy_header(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Change the version, header length, type, memory order or shape."""
    at = content.find(b"\x93NUMPY")
    if at < 0:
        return content
    end = content.find(b"\n", at)
    head, how = content[at:end], chance.randrange(5)
    if how == 0:
        new = head[:6] + bytes([chance.choice((0, 1, 2, 3, 9)), 0]) + head[8:]
    elif how == 1:
        new = head[:8] + struct.pack("<H", chance.choice((0, 1, 10, 117, 119, 65535))) + head[10:]
    elif how == 2:
        new = re.sub(rb"'descr': '[^']*'", lambda _: b"'descr': '" + chance.choice(KINDS) + b"'", head)
    elif how == 3:
        new = re.sub(rb"\([^)]*\)", lambda _: chance.choice(SHAPES), head)
    else:
        new = head.replace(b"False", chance.choice((b"True", b"0", b"None", b"[]", b"__import__('os')")))
    if how > 1:
        # Keep the length, so that the rest of the file does not move.
        new = new[: len(head)].ljust(len(head))
    return content[:at] + new + content[end:]


NPY: tuple[Way, ...] = (*(change_npy_header,) * 15, *BYTES, *RARE)
NPZ: tuple[Way, ...] = (*(change_npy_header,) * 8, *(change_zip_header,) * 8, *BYTES, *RARE)
