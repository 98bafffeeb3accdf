# syntax=docker/dockerfile:1
# Three images:
#   docker build -t matinee .                              the pipeline's steps, and Beam's workers
#   docker build -t matinee-gpu --target gpu .             the same with CUDA, for a Trainer on a GPU
#   docker build -t matinee-service --target service .     the recommendation service
# There is no TensorFlow in the service's image. A pipeline's step brings its own command; without one, the first image
# is a Beam SDK worker.
ARG PYTHON_IMAGE=python:3.10.16-slim-bookworm

FROM apache/beam_python3.10_sdk:2.74.0 AS beam

FROM scratch AS source
COPY setup.py pyproject.toml README.md /src/
COPY components /src/components
COPY pipeline /src/pipeline
COPY schemas /src/schemas
COPY serving /src/serving

FROM ${PYTHON_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
ENV VIRTUAL_ENV=/opt/matinee UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN python -m venv --without-pip /opt/matinee

FROM build AS build-service
COPY serving/deploy/requirements.lock ./
RUN uv pip sync --no-cache --require-hashes requirements.lock
COPY --from=source /src ./
RUN uv pip install --no-cache --no-deps .

FROM build AS build-pipeline
COPY pipeline/kubeflow/requirements.lock ./
RUN uv pip sync --no-cache --require-hashes requirements.lock
COPY --from=source /src ./
RUN uv pip install --no-cache --no-deps .

# TensorFlow names the exact versions of CUDA's packages itself. Of 2.16 they must be linked to where it looks for them.
FROM build-pipeline AS build-gpu
ENV SITE=/opt/matinee/lib/python3.10/site-packages
RUN uv pip install --no-cache "tensorflow[and-cuda]==$(/opt/matinee/bin/python -c \
    'import importlib.metadata; print(importlib.metadata.version("tensorflow"))')" \
    && ln -s ${SITE}/nvidia/*/lib/*.so* ${SITE}/tensorflow/ \
    && ln -s ${SITE}/nvidia/cuda_nvcc/bin/ptxas /opt/matinee/bin/

FROM ${PYTHON_IMAGE} AS service
COPY --from=build-service /opt/matinee /opt/matinee
ENV PATH=/opt/matinee/bin:${PATH} PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["matinee"]
CMD ["serve", "--serving-dir", "/serving", "--host", "0.0.0.0"]

FROM ${PYTHON_IMAGE} AS gpu
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=build-gpu /opt/matinee /opt/matinee
ENV PATH=/opt/matinee/bin:${PATH} PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1 \
    XLA_FLAGS=--xla_gpu_cuda_data_dir=/opt/matinee/lib/python3.10/site-packages/nvidia/cuda_nvcc
RUN useradd --uid 65532 --create-home matinee
USER 65532:65532
WORKDIR /home/matinee
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM ${PYTHON_IMAGE} AS pipeline
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=build-pipeline /opt/matinee /opt/matinee
ENV PATH=/opt/matinee/bin:${PATH} PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=1
RUN useradd --uid 65532 --create-home matinee
USER 65532:65532
WORKDIR /home/matinee
ENTRYPOINT ["/opt/apache/beam/boot"]
