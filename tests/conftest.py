"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from sample_run import SampleRun, run_sample

from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.tables import TABLES

# Tests time nothing: on a busy machine the first example of a test may take a second.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Read where these libraries are imported: nothing is asked of a hub.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# Where the fixture ``s3`` will be. Said from the start, since Spark's workers have the environment in which it began.
S3_PORT = free_port()
os.environ |= {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{S3_PORT}",
}


@pytest.fixture(params=["duckdb", "spark"])
def engine_name(request) -> str:
    """The test runs once for each engine."""
    if request.param == "spark":
        require_java()
    return request.param


def require_java() -> None:
    """Skip a test of Spark where there is no Java, but never in CI."""
    if shutil.which("java") is None and not os.environ.get("CI"):
        pytest.skip("Spark needs Java 17 or later, and there is no java on the PATH")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an object store on loopback that speaks S3's protocol. Drivers find it by the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", S3_PORT, verbose=False)
    server.start()
    yield os.environ["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def bucket(s3) -> str:
    """The URL of an empty bucket."""
    import boto3

    name = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> SampleRun:
    """The sample web, run once for all tests that look at what came out. A test that changes it puts it back."""
    return run_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def make_work(tmp_path, engine_name):
    """``make_work(config, pair=[...], image=[...])``: a job whose earlier stages have left those rows."""
    yield from _maker(tmp_path, engine_name)


@pytest.fixture
def make_duckdb_work(tmp_path):
    """The same on DuckDB alone, for laws that are tried on many examples."""
    yield from _maker(tmp_path, "duckdb")


def _maker(tmp_path: Path, engine_name: str) -> Iterator[Callable[..., Work]]:
    made: list[Work] = []

    def make(config: dict[str, Any], **rows: list[dict[str, Any]]) -> Work:
        folder = tmp_path / str(len(made))
        with Store(str(folder / "work")).task("ingest", "all", "test") as task:
            for name, given in rows.items():
                task.write(name, table(name, given))
        required = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
        made.append(Work(from_mapping({**required, "engine": engine_name, "workers": 2, **config}, folder)))
        return made[-1]

    yield make
    for work in made:
        work.close()


_BY_TYPE = {
    pa.string(): "",
    pa.int64(): 0,
    pa.int32(): 0,
    pa.list_(pa.float32()): [],
    pa.timestamp("us", tz="UTC"): datetime(2026, 1, 1, tzinfo=UTC),
}
_DEFAULTS = {
    "pair": {"url": "https://a.example/1.jpg", "host": "a.example", "domain": "a.example", "source": "list"},
    "image": {"status": "ok"},
}


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table of the contract; columns that a test does not care about may be left out."""
    schema = TABLES[name].schema
    blank = {field.name: None if field.nullable else _BY_TYPE.get(field.type) for field in schema}
    return pa.Table.from_pylist([{**blank, **_DEFAULTS.get(name, {}), **row} for row in rows], schema)
