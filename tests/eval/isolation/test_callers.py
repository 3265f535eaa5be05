import pytest

from eval.isolation.callers import Caller
from eval.isolation.canaries import Canary

READER = frozenset({"search", "answer"})
ALL = frozenset({"*"})
CALLERS = {
    "owner": Caller(name="", key="k", kind="secret", tenant="alpha", scopes=READER | {"ingest", "manage"}, groups=ALL),
    "red": Caller(name="", key="k", kind="secret", tenant="alpha", scopes=READER, groups=frozenset({"red"})),
    "blue": Caller(name="", key="k", kind="secret", tenant="alpha", scopes=READER, groups=frozenset({"blue"})),
    "nobody": Caller(name="", key="k", kind="secret", tenant="alpha", scopes=READER),
    "writer": Caller(name="", key="k", kind="secret", tenant="alpha", scopes=frozenset({"ingest"})),
    "beta red": Caller(name="", key="k", kind="secret", tenant="beta", scopes=READER, groups=frozenset({"red"})),
    "operator": Caller(name="", key="k", kind="operator"),
    "expired": Caller(name="", key="k", kind="void"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "groups", "seers"),
    [
        ("passage", (), {"owner", "red", "blue", "nobody", "writer"}),
        ("passage", ("red",), {"owner", "red"}),
        ("record", ("red",), {"owner", "red", "writer"}),
        ("name", ("red",), {"owner", "red", "blue", "nobody", "writer", "operator"}),
        ("key", (), {"owner", "operator"}),
    ],
)
def test_who_may_see_what(kind, groups, seers):
    canary = Canary(word="w", what="", kind=kind, tenant="alpha", groups=frozenset(groups))
    assert {name for name, caller in CALLERS.items() if caller.may_see(canary)} == seers


def test_nobody_may_see_what_is_gone():
    canary = Canary(word="w", what="", kind="name", tenant="alpha", gone=True)
    assert not any(caller.may_see(canary) for caller in CALLERS.values())
