"""PostgreSQL's settings for the machine it finds itself on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_MB = 1_000_000
# Version 2 and version 1 of control groups; both hold a number, or a word or a huge number for no limit.
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to share out: bytes of memory, bytes free in /dev/shm, processors."""

    memory: int
    shared_memory: int
    processors: int

    @classmethod
    def here(cls) -> Self:
        """Measure this machine, or the container's part of it."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shared = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else memory
        return cls(min(memory, *_memory_limits()), shared, os.cpu_count() or 1)


def postgres_settings(machine: Machine, *, durable: bool) -> dict[str, str]:
    """Size PostgreSQL to live beside an application: an eighth of the memory for its cache."""
    maintenance = _between(64 * _MB, machine.memory // 16, 1_000 * _MB)
    settings = {
        "shared_buffers": _megabytes(_between(64 * _MB, machine.memory // 8, 2_000 * _MB)),
        "effective_cache_size": _megabytes(machine.memory // 2),
        "maintenance_work_mem": _megabytes(maintenance),
        "work_mem": "16MB",
        "max_connections": str(_between(50, 50 + 25 * machine.processors, 200)),
        "jit": "off",
    }
    # A parallel HNSW build asks for all of maintenance_work_mem as shared memory, and containers give 64 MB.
    if machine.shared_memory < 2 * maintenance:
        settings["dynamic_shared_memory_type"] = "mmap"
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return settings


def _memory_limits() -> list[int]:
    found = []
    for file in _MEMORY_LIMITS:
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):
            continue
    return found


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))


def _megabytes(count: int) -> str:
    return f"{count // 2**20}MB"
