"""How a result came about, for the person who has to tune it."""

from typing import Any

from rag.domain import ChunkId
from rag.retrieval.ranking import Ranking, dense_score
from rag.tenancy import Principal


def explain_hit(ranking: Ranking, chunk: ChunkId) -> dict[str, Any]:
    """The scores of one hit in each leg, and the weight that made them one."""
    scored = ranking.scored.get(chunk)
    if scored is None:
        return {"dense_weight": ranking.weight}
    return {
        "cosine": round(scored.cosine, 6),
        "best_sentence": round(scored.best_sentence, 6),
        "dense": round(dense_score(scored), 6),
        "lexical": round(ranking.plan.share(scored.bm25), 6) if ranking.plan else None,
        "dense_weight": round(ranking.weight, 6),
    }


def explain_query(ranking: Ranking, times: dict[str, float], principal: Principal) -> dict[str, Any]:
    """Each leg with its plan, its candidates, its weight and its milliseconds, and the time of every stage.

    What the tenant's statistics say stays with those who read all of it: to a caller who reads part, they would tell
    of the rest.
    """
    plan = ranking.plan
    whole = plan is not None and principal.reads_all_groups
    return {
        "dense": {
            "plan": ranking.dense_plan.method if ranking.dense_plan else None,
            "reason": ranking.dense_plan.reason if ranking.dense_plan else None,
            "candidates": len(ranking.dense),
            "weight": round(ranking.weight, 6),
            "ms": times.get("dense"),
        },
        "lexical": {
            "plan": "rarest words first" if plan else None,
            "candidates": len(ranking.lexical),
            "weight": round(1 - ranking.weight, 6),
            "ms": times.get("lexical"),
            "lexemes": plan.lexemes if plan else [],
            "lexemes_known": plan.known if plan and whole else None,
            "mass": round(plan.maximum, 3) if plan and whole else None,
        },
        "stage_ms": times,
    }
