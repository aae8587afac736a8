"""What this machine can hold: asked before anything large is allocated."""

from __future__ import annotations

import psutil

from dataset_distillation.errors import refuse


def free_memory() -> int:
    """Bytes of this machine's memory that are free, or that it can make free."""
    return int(psutil.virtual_memory().available)


def footprint() -> int:
    """Bytes that this process takes."""
    return int(psutil.Process().memory_info().rss)


def check_room(key: str, value: object, size: int, what: str) -> None:
    """Raise ConfigError, which names `key`, if `size` bytes are not free for `what`."""
    if size > (free := free_memory()):
        raise refuse(key, value, f"needs {gigabytes(size)} for {what}, and {gigabytes(free)} are free")


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
