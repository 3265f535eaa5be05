"""Descriptors whose meaning is that this very process lives: a fork of it must not keep them open.

The lock and the leash both end when the last copy of a descriptor closes. Web servers fork workers, and
a worker that outlives its parent would hold both for ever.
"""

import os

_OURS: set[int] = set()


def keep_from_forks(descriptor: int) -> int:
    """Have forks of this process close a descriptor at birth; returns it."""
    _OURS.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor that was kept from forks; a second time, or in a fork, does nothing."""
    if descriptor in _OURS:
        _OURS.remove(descriptor)
        os.close(descriptor)


def _close_all() -> None:
    for descriptor in list(_OURS):
        close(descriptor)


os.register_at_fork(after_in_child=_close_all)
