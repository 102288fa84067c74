"""Damages to a file's bytes: what a bad disk, a bad copy, an editor or an attacker makes of it."""

NUMBERS = (
    *(b"-1", b"0", b"1e999", b"-9223372036854775808", b"9" * 5000, b"9" * 100_000, b"1.5", b"nan", b"Infinity"),
    *(b"0x10", b"1_000"),
)
WORDS = (b"null", b"true", b'""', b"[]", b"{}", b'"\\ud800"', b'"../../x"', b'"a\\nb"', b"'''", b"[[grid]]", b"-")
DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 2000 + b"]" * 2000)


def damaged(content, rng):
    """The bytes with one damage, never as they were."""
    while True:
        found = rng.choice(_WAYS)(content, rng)
        if found != content:
            return found


def _bit(content, rng):
    at = rng.randrange(len(content) * 8)
    return _put(content, at // 8, bytes([content[at // 8] ^ 1 << at % 8]))


def _byte(content, rng):
    return _put(content, rng.randrange(len(content)), bytes([rng.randrange(256)]))


def _digit(content, rng):
    """Another digit in a number: still a file of its kind."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    return _put(content, rng.choice(places), b"%d" % rng.randrange(10)) if places else b""


def _cut(content, rng):
    return content[: rng.randrange(len(content))]


def _cut_at_a_line(content, rng):
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: rng.randrange(len(lines))])


def _gap(content, rng):
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randrange(1, 40) :]


def _zeros(content, rng):
    start = rng.randrange(len(content))
    return _put(content, start, bytes(min(rng.randrange(1, 4096), len(content) - start)))


def _twice(content, rng):
    start = rng.randrange(len(content))
    end = start + rng.randrange(1, 200)
    return content[:end] + content[start:end] + content[end:]


def _line_twice_or_gone(content, rng):
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return b"".join(lines[:at] + [lines[at]] * rng.choice((0, 2)) + lines[at + 1 :])


def _value(content, rng):
    """Another value behind a `:`, `=` or `,`."""
    places = [at + 1 for at, byte in enumerate(content) if byte in b":=,["]
    start = rng.choice(places) if places else 0
    end = min([place for mark in b",\n]}" if (place := content.find(bytes([mark]), start)) >= 0] or [len(content)])
    return content[:start] + b" " + rng.choice(NUMBERS + WORDS) + content[end:]


def _deep(content, rng):
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice(DEEP) + content[start:]


def _more(content, rng):
    return content + rng.choice((b"\0", b"x", b"\n", b"\xff\xfe", b"{}", content))


def _before(content, rng):
    return rng.choice((b"\xef\xbb\xbf", b"\0", b" \n", b"\xff")) + content


def _put(content, start, part):
    return content[:start] + part + content[start + len(part) :]


_WAYS = (
    *(_bit, _byte, _byte, _digit, _digit, _cut, _cut_at_a_line, _gap, _zeros, _twice, _line_twice_or_gone, _value),
    *(_value, _deep, _more, _before),
)
