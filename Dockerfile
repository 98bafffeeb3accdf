# syntax=docker/dockerfile:1
# The image of the pipeline's steps and of Beam's workers.
#   docker build -t matinee .
# A step brings its own command; without one, the image is a Beam SDK worker.
ARG PYTHON_IMAGE=python:3.10.16-slim-bookworm

FROM apache/beam_python3.10_sdk:2.74.0 AS beam

FROM ${PYTHON_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
ENV VIRTUAL_ENV=/opt/matinee UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN python -m venv --without-pip /opt/matinee
COPY pipeline/kubeflow/requirements.lock ./
RUN uv pip sync --no-cache --require-hashes requirements.lock
COPY setup.py pyproject.toml README.md ./
COPY components components
COPY pipeline pipeline
COPY schemas schemas
COPY serving serving
RUN uv pip install --no-cache --no-deps .

FROM ${PYTHON_IMAGE}
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=build /opt/matinee /opt/matinee
ENV PATH=/opt/matinee/bin:${PATH} PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1
RUN useradd --uid 65532 --create-home matinee
USER 65532:65532
WORKDIR /home/matinee
ENTRYPOINT ["/opt/apache/beam/boot"]
