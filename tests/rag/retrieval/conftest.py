"""A retriever with nothing before it, and documents that it can tell apart."""

import pytest

from rag.retrieval.query_vectors import QueryVectors
from rag.retrieval.rerank import NullReranker
from rag.retrieval.retriever import Retriever
from rag.services import Services


@pytest.fixture
def retriever(services: Services) -> Retriever:
    vectors = QueryVectors(services.encoder)
    return Retriever(
        services.database, vectors, NullReranker(), dense_weight=0.7, encoder_languages={"english"}, timeout_s=20
    )


@pytest.fixture
def texts() -> dict[str, str]:
    return {
        "brakes": "The brake lever stops the rear wheel. Pull it gently on wet roads.",
        "battery": "Charge the battery to eighty per cent before winter. Store it indoors, away from frost.",
        "returns": "You may send goods back within thirty days. The refund reaches your account after a week.",
        "theft": "If your bicycle is stolen, tell the police first. Then report the frame number to the insurer.",
        "tyres": "Check the pressure of both tyres monthly. Four bar suits most riders.",
        "lights": "The front lamp shines white and the rear lamp red.\n\nA lamp that flickers has a loose cable.",
    }
