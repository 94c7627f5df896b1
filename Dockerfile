# The image of SageMaker's container contract: `docker run IMAGE serve` and `docker run IMAGE train`.
#
#   docker build .                      runs as user 10001, never as root
#   docker build --target sagemaker .   starts as root, as SageMaker asks, and gives root up before the first request
#
# The digest is that of the image index. A newer one, after `docker pull python:3.11-slim-trixie`:
#   docker inspect --format '{{index .RepoDigests 0}}' python:3.11-slim-trixie
FROM python:3.11.16-slim-trixie@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534 AS base


FROM base AS builder
# A compiler for the hot modules. The Debian release keeps its version; nothing of it reaches the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.lock requirements/container.lock requirements/
RUN python -m venv --without-pip tools \
    && python -m venv --without-pip /opt/venv \
    && python -m pip --python tools install --require-hashes --no-deps --only-binary :all: -r requirements/build.lock \
    && python -m pip --python /opt/venv install --require-hashes --no-deps --only-binary :all: \
        -r requirements/container.lock
COPY pyproject.toml setup.py LICENSE ./
COPY src src
RUN python -m pip --python tools wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && python -m pip --python /opt/venv install --no-deps --no-index dist/*.whl


FROM base AS runtime
LABEL org.opencontainers.image.title="fraud-detection-system" \
      org.opencontainers.image.licenses="Apache-2.0" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"
RUN groupadd --gid 10001 fraud \
    && useradd --uid 10001 --gid fraud --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fraud \
    && mkdir -p /opt/ml/input /opt/ml/model /opt/ml/output \
    && chown -R fraud:fraud /opt/ml
COPY --from=builder /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /opt/ml
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as http; http.urlopen(f\"http://127.0.0.1:{os.environ.get('SAGEMAKER_BIND_TO_PORT', 8080)}/ping\", timeout=4)"]
ENTRYPOINT ["python", "-m", "fraud_detection.cli.container"]
CMD ["serve"]


FROM runtime AS sagemaker
ENV FRAUD_RUN_AS=fraud


FROM runtime AS unprivileged
USER 10001:10001
