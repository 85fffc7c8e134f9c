"""New snapshots of registries: in place once they have been read, or not at all."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from click.testing import CliRunner

from fairshard.pipelines.cli import main

OLD = "domain\na.example\nb.example\nc.example\n"
NEW = "domain\na.example\nb.example\nd.example\n"


@pytest.fixture
def served():
    """A server of lists: bytes to send, and the length it claims."""
    pages: dict[str, tuple[int, bytes, int | None]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, length = pages.get(self.path, (404, b"gone", None))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield pages, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def job(folder, *registries):
    values = {"work_dir": "w", "release_dir": "r", "sources": [{"path": "a.csv"}], "registries": list(registries)}
    (folder / "job.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "job.yaml")


def pull(config, *arguments):
    return CliRunner().invoke(main, ["pull", config, *arguments])


def registry(name, pull_from, **other):
    return {"name": name, "path": f"lists/{name}.csv", "scope": "domain", "pull_from": pull_from, **other}


def test_a_snapshot_takes_the_place_of_the_last(served, tmp_path):
    pages, url = served
    config = job(tmp_path, registry("one", f"{url}/one.csv"))
    pages["/one.csv"] = (200, OLD.encode(), None)
    assert pull(config).output == "one: 3 entries (none before)\n"
    os.utime(tmp_path / "lists/one.csv", (1e9, 1e9))  # years old
    assert pull(config).output == "one: 3 entries (3 before, unchanged)\n"
    assert (tmp_path / "lists/one.csv").stat().st_mtime > 1e9 + 1
    pages["/one.csv"] = (200, NEW.encode(), None)
    (found,) = json.loads(pull(config, "--json").stdout)
    assert (found["rules"], found["rules_before"], found["changed"], found["error"]) == (3, 3, True, None)
    assert (tmp_path / "lists/one.csv").read_text() == NEW
    assert os.listdir(tmp_path / "lists") == ["one.csv"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, b"no", None), "cannot be pulled"),
        ((503, NEW.encode(), None), "cannot be pulled"),
        ((200, NEW.encode(), 10_000), "cannot be pulled"),
        ((200, b"", None), "has no entry"),
        ((200, b"domain\n", None), "has no entry"),
        ((200, b"<!doctype html><title>Log in</title>\n<p>Please</p>\n", None), "one called 'domain'"),
        ((200, b"domain\na.example\n", None), "has 1 entries where the last snapshot had 3; expected at least 50%"),
        ((200, b"domain\na.example\n..\n//\n:\n", None), "no domain"),
        ((200, b"domain\na.example,b\nc.example\n", None), "cannot be read"),
    ],
)
def test_the_last_snapshot_stays_where_anything_is_wrong_and_the_others_are_pulled(served, tmp_path, answer, said):
    pages, url = served
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/one.csv").write_text(OLD)
    os.utime(tmp_path / "lists/one.csv", (1e9, 1e9))
    pages |= {"/one.csv": answer, "/two.csv": (200, NEW.encode(), None)}
    done = pull(job(tmp_path, registry("one", f"{url}/one.csv"), registry("two", f"{url}/two.csv")))
    assert done.exit_code == 3
    assert done.stdout.splitlines() == ["one: NOT pulled, the last snapshot stays", "two: 3 entries (none before)"]
    assert "registry one: " in done.stderr
    assert said in done.stderr
    assert (tmp_path / "lists/one.csv").read_text() == OLD
    assert (tmp_path / "lists/one.csv").stat().st_mtime == 1e9
    assert sorted(os.listdir(tmp_path / "lists")) == ["one.csv", "two.csv"]


def test_nobody_answers_and_nothing_is_there(tmp_path):
    done = pull(job(tmp_path, registry("one", "http://127.0.0.1:1/one.csv")))
    assert (done.exit_code, done.stdout) == (3, "one: NOT pulled, none is there\n")


def test_a_list_moved_away_may_be_followed_by_a_short_one(served, tmp_path):
    pages, url = served
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/one.csv").write_text(OLD)
    pages["/one.csv"] = (200, b"domain\na.example\n", None)
    config = job(tmp_path, registry("one", f"{url}/one.csv"))
    assert pull(config).exit_code == 3
    (tmp_path / "lists/one.csv").rename(tmp_path / "lists/withdrawn.csv")
    assert pull(config).output == "one: 1 entries (none before)\n"


def test_a_sensitive_list_is_the_owners_alone_and_a_file_keeps_its_mode(served, tmp_path):
    pages, url = served
    pages |= {"/one.csv": (200, OLD.encode(), None), "/two.csv": (200, OLD.encode(), None)}
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/two.csv").write_text(OLD)
    (tmp_path / "lists/two.csv").chmod(0o640)
    lists = [registry("one", f"{url}/one.csv", sensitive=True), registry("two", f"{url}/two.csv", sensitive=True)]
    assert pull(job(tmp_path, *lists)).exit_code == 0
    modes = [(tmp_path / f"lists/{name}.csv").stat().st_mode & 0o777 for name in ("one", "two")]
    assert modes == [0o600, 0o640]


def test_a_snapshot_on_another_file_system(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/kept/one.csv", OLD.encode())
    there = registry("one", "memory://kept/one.csv") | {"path": "memory://used/one.csv"}
    assert pull(job(tmp_path, there)).output == "one: 3 entries (none before)\n"
    assert fs.cat_file("/used/one.csv") == OLD.encode()


def test_a_config_without_anything_to_pull(tmp_path):
    done = pull(job(tmp_path, {"name": "one", "path": "one.csv", "scope": "domain"}))
    assert done.exit_code == 2
    assert "registries: none has 'pull_from'" in done.stderr
