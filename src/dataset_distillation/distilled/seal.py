"""The SHA-256 of a safetensors file, which stands in the file's own header."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable

ZEROS = "0" * 64  # what stands there while it is computed
_PLACE = re.compile(rb'(?<="sha256":"\\")[0-9a-f]{64}(?=\\"")')


def sealed(file: bytes) -> bytes:
    """Return a safetensors file, in whose metadata `sha256` is ZEROS as a JSON text, with its checksum.

    The header is sorted, for the library writes it in a random order, and padded to align the tensors.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header, content = header + b" " * (-len(header) % 8), file[end:]
    header = _PLACE.sub(checksum_of(header, [content]).encode(), header, count=1)
    return len(header).to_bytes(8, "little") + header + content


def checksum_of(header: bytes, content: Iterable[bytes]) -> str:
    """The SHA-256 of a file of this header and of the tensors whose bytes are the parts of `content`."""
    digest = hashlib.sha256(len(header).to_bytes(8, "little") + _PLACE.sub(ZEROS.encode(), header, count=1))
    for part in content:
        digest.update(part)
    return digest.hexdigest()
