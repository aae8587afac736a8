"""Files as bad memory, broken disks and strangers change them."""

from __future__ import annotations

import copy
import random
from typing import Any

#: Values that are of another kind, too large, or mean something elsewhere.
ODD: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, -1e-308, "", "x", "²", "\r", "\x1b[31m", "${oc.env:HOME}", "../..",
    "x" * 10**5, [], [[]], {}, {"": None}, [1, 2, 3], [None] * 1000,
]  # fmt: skip


def mutated(content: bytes, draw: random.Random) -> bytes:
    """As bad memory, broken disks, torn writes and editors change files."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        # Headers are where most can go wrong.
        at = draw.randrange(min(len(changed), draw.choice((8, 2000, len(changed)))) or 1)
        how = draw.choice(("bit", "byte", "token", "lost", "zeros", "cut"))
        if how == "bit" and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif how == "byte":
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif how == "token":
            tokens = (b"0", b'"', b"-", b"null", b"{}", b"[]", b"9" * 30, b"\n", b",", b"NaN")
            changed[at : at + draw.choice((0, 1, 8))] = draw.choice(tokens)
        elif how == "lost":
            del changed[at : at + draw.choice((1, 8, 512))]
        elif how == "zeros":
            changed[at : at + 512] = bytes(len(changed[at : at + 512]))
        elif draw.random() < 0.1:
            del changed[at:]
    return bytes(changed)


def changed(value: Any, draw: random.Random) -> Any:
    """Return a copy of keys and values in which one to three are lost, or others."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 3))):
        inside = value
        while isinstance(inside, dict | list) and inside:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            key = draw.choice(keys)
            if not isinstance(inside[key], dict | list) or not inside[key] or draw.random() < 0.3:
                if draw.random() < 0.2:
                    del inside[key]
                else:
                    inside[key] = copy.deepcopy(draw.choice(ODD))  # what is inside may be changed next
                break
            inside = inside[key]
    return value
