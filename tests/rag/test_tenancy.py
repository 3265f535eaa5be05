import pytest

from rag.domain import TenantId
from rag.tenancy import ALL_GROUPS, Operator, Principal


def principal(absent_id, *groups: str) -> Principal:
    return Principal(
        tenant=TenantId(absent_id), slug="acme", key_id=absent_id, kind="secret", scopes=frozenset(), groups=groups
    )


def test_without_a_group_only_what_is_open_is_read(absent_id):
    assert Principal.__struct_defaults__[0] == ()
    assert not principal(absent_id).reads_all_groups
    assert not principal(absent_id, "staff", "all", "**").reads_all_groups


def test_one_word_opens_every_group(absent_id):
    assert ALL_GROUPS == "*"
    assert principal(absent_id, "staff", "*").reads_all_groups


def test_nobody_changes_who_he_is(absent_id):
    who = principal(absent_id)
    with pytest.raises(AttributeError):
        who.tenant = TenantId(absent_id)
    with pytest.raises(AttributeError):
        Operator(absent_id).key_id = absent_id
