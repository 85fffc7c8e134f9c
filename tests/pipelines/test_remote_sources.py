"""Sources and registries in object stores: an S3 server on loopback, its credentials and its endpoint."""

from __future__ import annotations

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from warc_files import html, packed, page, picture, wat

from fairshard.pipelines import _warc, ingest
from fairshard.pipelines._work import Work
from fairshard.pipelines.cli import main
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import SourceError

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
SOURCES = ["crawl/*.warc.gz", "crawl/c.wat.gz", "list.csv", "rows.parquet"]


@pytest.fixture(scope="module")
def server():
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A web archive, lists and a registry."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "crawl").mkdir()
    (folder / "crawl" / "a.warc.gz").write_bytes(packed(html(page("1.jpg", "2.jpg"), "X-Robots-Tag: noai")))
    (folder / "crawl" / "b.warc.gz").write_bytes(packed(html(page("3.jpg"))))
    (folder / "crawl" / "c.wat.gz").write_bytes(packed(wat([picture("4.jpg")])))
    (folder / "list.csv").write_text("url,text\nhttps://l.example/5.jpg,five\n")
    pq.write_table(pa.table({"url": ["https://l.example/6.jpg"], "text": ["six"]}), folder / "rows.parquet")
    (folder / "optouts.csv").write_text("domain\nl.example\n")
    return folder


@pytest.fixture(scope="module")
def stored(server, folder) -> str:
    """The same files in the store."""
    key, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
    store = s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=server, skip_instance_cache=True)
    store.mkdir("lists")
    store.put(f"{folder}/", "lists/", recursive=True)
    return "s3://lists"


@pytest.fixture
def bucket(server, stored, monkeypatch, tmp_path):
    """The store, for somebody who has its endpoint and keys in the environment."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    s3fs.S3FileSystem.clear_instance_cache()
    yield stored
    s3fs.S3FileSystem.clear_instance_cache()


def job(folder, where, sources=SOURCES):
    given = {"work_dir": "work", "release_dir": "release", "workers": 1}
    return from_mapping({**given, "sources": [{"path": f"{where}/{path}"} for path in sources]}, folder)


def rows(folder, where) -> dict:
    folder.mkdir()
    work = Work(job(folder, where))
    ingest.run(work)
    found = {name: work.store.read(name).to_pylist() for name in ("pair", "rejected", "signal")}
    work.close()
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


def test_archives_and_lists_in_a_store_give_the_rows_of_the_same_files_in_a_folder(bucket, folder, tmp_path):
    found = rows(tmp_path / "remote", bucket)
    assert (len(found["pair"]), len(found["signal"])) == (6, 2)
    assert found == rows(tmp_path / "local", str(folder))


def run(tmp_path, text: str) -> tuple[int, str]:
    s3fs.S3FileSystem.clear_instance_cache()
    (tmp_path / "job.yaml").write_text(f"work_dir: work\nrelease_dir: release\nworkers: 1\n{text}")
    result = CliRunner().invoke(main, ["-q", "run", str(tmp_path / "job.yaml"), "--until", "ingest"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not (tmp_path / "work").exists() or result.exit_code == 0
    return result.exit_code, result.stderr


HINT = "Check address, endpoint and credentials of s3://, which come from the environment\n"


@pytest.mark.parametrize("path", ["list.csv", "rows.parquet", "crawl/*.warc.gz", "crawl/c.wat.gz"])
def test_a_source_without_credentials_ends_in_one_line(bucket, tmp_path, monkeypatch, path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    code, said = run(tmp_path, f"sources: [{{path: '{bucket}/{path}'}}]\n")
    found = "cannot be reached (Unable to locate credentials); expected a source that can be read. "
    assert (code, said) == (2, f"fairshard: {bucket}/{path}: {found}{HINT}")


def test_an_endpoint_that_is_not_there_ends_in_one_line(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, said = run(tmp_path, f"sources: [{{path: {bucket}/list.csv}}]\n")
    assert (code, said.count("\n")) == (2, 1) and said.endswith(HINT) and "127.0.0.1:1" in said


def test_a_registry_is_read_from_a_store_and_refuses_the_run_without_credentials(bucket, folder, tmp_path, monkeypatch):
    text = f"sources: [{{path: {folder}/list.csv}}]\n"
    text += f"registries: [{{name: optouts, path: '{bucket}/optouts.csv', scope: domain}}]\n"
    assert run(tmp_path, text) == (0, "")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (tmp_path / "work").rename(tmp_path / "before")
    code, said = run(tmp_path, text)
    assert code == 3 and said.startswith("fairshard: registry optouts: 's3://lists/optouts.csv' cannot be reached"), (
        said
    )
    assert said.endswith(HINT)


def test_a_store_that_fails_while_an_archive_is_read_is_no_damaged_record(tmp_path, monkeypatch):
    class Lost(Exception):
        """An error of a library's own, as those of remote file systems are."""

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/crawl/a.warc.gz", packed(*(html(page(f"{n}.jpg") + "x" * 5000) for n in range(50))))
    opened = type(memory).open

    def breaking(self, path, *args, **kwargs):
        file = opened(self, path, *args, **kwargs)
        read = file.read

        def some(size=-1):
            if file.tell() > 1000:
                raise Lost("connection reset")
            return read(min(size, 600) if size > 0 else 600)

        file.read = some
        return file

    monkeypatch.setattr(type(memory), "open", breaking)
    with pytest.raises(Lost):
        list(_warc.records("memory://crawl/a.warc.gz", ("response",), 1 << 20))
    work = Work(job(tmp_path, "memory://crawl", ["a.warc.gz"]))
    with pytest.raises(SourceError, match="cannot be reached \\(connection reset\\)"):
        ingest.run(work)
    work.close()
