import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.planning import EXACT_ROWS, Extent, after_index, plan_dense, worth_estimating

SIZES = st.integers(0, 5_000_000)
SHARES = st.floats(0, 1)
LIMITS = st.integers(1, 1_100)


def plan(rows: int, *, partitioned: bool = True, share: float = 1.0, limit: int = 50):
    return plan_dense(Extent(rows=rows, partitioned=partitioned, share=share), limit=limit)


@pytest.mark.parametrize(
    ("rows", "partitioned", "share", "method"),
    [
        (100, False, 1, "exact"),
        (50_000, False, 1, "exact"),  # not promoted yet
        (10_000, True, 0.05, "partition"),  # a small collection of a large tenant
        (10_001, True, 1, "hnsw"),
        (200_000, True, 1, "hnsw"),
        (200_000, True, 0.5, "hnsw"),
        (200_000, True, 0.25, "hnsw"),
        (200_000, True, 0.2, "partition"),
        (200_000, True, 0.1, "partition"),
        (200_000, True, 0.0005, "partition"),
        (200_000, True, 0, "partition"),
        (20_000, True, 0.25, "partition"),  # the scan is shorter than the search would be
    ],
)
def test_the_plan_follows_from_the_counts(rows, partitioned, share, method):
    assert plan(rows, partitioned=partitioned, share=share).method == method


@given(rows=SIZES, share=SHARES, limit=LIMITS)
def test_the_index_is_searched_only_where_it_names_enough(rows, share, limit):
    found = plan(rows, share=share, limit=limit)
    if found.method == "hnsw":
        assert rows > EXACT_ROWS
        assert limit <= found.fetch <= found.effort <= 1000
        assert found.effort >= 200
        assert share >= 1 or found.fetch * share > 3.6 * limit - 1e-6
    else:
        assert (found.fetch, found.effort) == (0, 0)


@given(rows=SIZES, share=SHARES, limit=LIMITS)
def test_without_a_partition_every_search_is_exact(rows, share, limit):
    assert plan(rows, partitioned=False, share=share, limit=limit).method == "exact"


@given(rows=SIZES, share=SHARES, less=SHARES, limit=LIMITS)
def test_a_smaller_share_never_turns_an_exact_search_into_an_approximate_one(rows, share, less, limit):
    if plan(rows, share=share, limit=limit).method == "partition":
        assert plan(rows, share=share * less, limit=limit).method == "partition"


@given(rows=SIZES, partitioned=st.booleans(), share=SHARES, limit=LIMITS)
def test_where_the_share_is_not_estimated_it_would_change_nothing(rows, partitioned, share, limit):
    if not worth_estimating(rows, partitioned=partitioned):
        assert plan(rows, partitioned=partitioned, share=share, limit=limit).method == (
            plan(rows, partitioned=partitioned, share=1, limit=limit).method
        )


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        (range(2, 102, 2), None),
        (range(51, 101), None),
        (range(1, 50), "the index came back short"),
        ([], "the index came back short"),
        (range(52, 102), "what is nearest is out of scope"),
    ],
)
def test_what_the_index_named_is_relied_on_only_where_it_is_sure(ranks, reason):
    half = plan(200_000, share=0.5)
    after = after_index(half, list(ranks), limit=50)
    assert (after.method, after.reason) == (("hnsw", half.reason) if reason is None else ("partition", reason))


def test_without_a_scope_the_order_of_the_index_is_that_of_the_answer():
    whole = plan(200_000)
    assert after_index(whole, list(range(1, 51)), limit=50) == whole
    assert after_index(whole, [1, 2, 3], limit=3) == whole
