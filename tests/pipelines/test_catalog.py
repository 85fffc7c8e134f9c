import os
import shutil
import subprocess
import sys

import duckdb
import pytest
import small_world

from fairshard.pipelines._catalog import open_catalog, sql, write_catalog
from fairshard.pipelines._release import Release
from fairshard.pipelines.functions import register
from fairshard.schemas.errors import ReleaseError, SqlError
from fairshard.schemas.release import PUBLIC_TABLES
from fairshard.schemas.tables import TABLES


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with ``work`` and ``release``; DuckDB's search path would read its name as two."""
    return small_world.emitted(tmp_path_factory.mktemp("world") / "a, b").parent


BOTH = pytest.mark.parametrize("kind", ["work", "release"])


@BOTH
def test_the_same_question_to_either_directory(world, kind):
    reasons = "SELECT stage, reason, rows FROM reason ORDER BY ALL"
    assert [tuple(row.values()) for row in sql(str(world / kind), reasons).to_pylist()] == [
        ("consult", "deny:registry", 2),
        ("consult", "deny:robots_txt", 1),
        ("dedup", "near_duplicate", 1),
        ("fetch", "failed:http_404", 1),
        ("ingest", "duplicate_row", 1),
        ("ingest", "null_url", 2),
        ("screen", "deny:hash_list", 1),
    ]
    funnel = sql(str(world / kind), "SELECT stage, removed, rows_left FROM funnel").to_pylist()
    assert [row["rows_left"] for row in funnel] == [11, 8, 7, 6, 6, 5, 5]
    assert sum(row["removed"] for row in funnel) == 9


@BOTH
def test_attribution(world, kind):
    rows = sql(str(world / kind), "FROM attribution").to_pylist()
    assert [(row["creator"], row["host"], row["licence"], row["rows"]) for row in rows] == [
        ("Ada *Example*", "a.example", None, 2),
        (None, "a.example", "CC-BY 4.0", 1),
        (None, "b.example", "CC-BY 4.0", 1),
        (None, "img.b.example", None, 1),
    ]
    assert sum(row["bytes"] for row in rows) == sum(len(small_world.PICTURES[one]) for one in small_world.RELEASED)
    assert (rows[0]["share"], sum(row["share_of_bytes"] for row in rows)) == (0.4, pytest.approx(1.0))


@BOTH
def test_a_view_for_every_table_and_words_for_every_column(world, kind):
    expected = set(TABLES) if kind == "work" else {*PUBLIC_TABLES, "pair", "dropped", "sample"}
    connection = open_catalog(str(world / kind)).connection
    columns = connection.execute("SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal")
    commented = [(table, column) for table, column, comment in columns.fetchall() if comment]
    assert expected | {"outcome"} == {table for table, _ in commented}
    views = connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
    assert {name for name, _ in views} == expected | {"outcome", "reason", "funnel", "attribution"}
    assert all(comment for _, comment in views)


@BOTH
def test_the_catalog_file_from_inside_its_folder_and_after_a_move(world, kind, tmp_path):
    moved = tmp_path / "moved"
    os.rename(world / kind, moved)
    try:
        code = (
            "import duckdb; print(duckdb.connect('catalog.duckdb', read_only=True).sql('FROM funnel').fetchall()[-1])"
        )
        ran = subprocess.run([sys.executable, "-c", code], cwd=moved, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == "(6, 'balance', 0, 5)"
    finally:
        os.rename(moved, world / kind)


def test_a_folder_whose_name_is_a_pattern(world, tmp_path):
    folder = shutil.copytree(world / "release", tmp_path / "[r]elease *?")
    write_catalog(Release(str(folder)))
    assert sql(str(folder), "FROM pair").num_rows == 9


@BOTH
def test_the_catalog_file_from_elsewhere(world, kind, tmp_path, monkeypatch):
    folder = shutil.copytree(world / kind, tmp_path / kind)  # a search path has no commas
    other = shutil.copytree(folder, tmp_path / "another")
    connection = duckdb.connect(str(folder / "catalog.duckdb"), read_only=True)
    with pytest.raises(duckdb.IOException, match="No files found"):
        connection.sql("FROM outcome").fetchall()
    for file in [*other.glob("pair/*.parquet"), *other.glob("pairs/*.parquet")]:
        file.write_bytes(b"not what was asked for")
    monkeypatch.chdir(other)
    connection.execute(f"SET file_search_path = '{folder}'")
    assert connection.sql("SELECT removed, rows_left FROM funnel").fetchall()[-1] == (0, 5)


@BOTH
def test_the_catalog_file_opens_in_older_versions_of_duckdb(world, kind):
    connection = duckdb.connect(str(world / kind / "catalog.duckdb"), read_only=True)
    assert connection.sql("SELECT tags.storage_version FROM duckdb_databases() WHERE NOT internal").fetchall() == [
        ("v1.0.0+",)
    ]


def test_functions_in_the_catalog_file(world, monkeypatch):
    """Those of fingerprints need no Python; the others are there after one line, and none is hidden by it."""
    monkeypatch.chdir(world / "release")
    connection = duckdb.connect("catalog.duckdb", read_only=True)
    distances = "SELECT max(phash_distance(phash, phash)), max(pdq_distance(pdq, hex_bytes(hex(pdq)))) FROM image"
    assert connection.sql(distances).fetchall() == [(0, 0)]
    with pytest.raises(duckdb.CatalogException, match="caption_template does not exist"):
        connection.sql("SELECT caption_template(caption) FROM pair")
    register(connection)
    assert connection.sql(distances).fetchall() == [(0, 0)]
    assert connection.sql("SELECT count(DISTINCT caption_template(caption)) > 0 FROM pair").fetchall() == [(True,)]
    assert connection.cursor().sql("SELECT phash_distance(-1, 0)").fetchall() == [(64,)]


def test_functions_of_the_pipeline(world):
    query = "SELECT url_key('HTTP://WWW.a.example:80/3.jpg') AS key, count(*) AS n FROM pair WHERE url_key = key"
    assert sql(str(world / "release"), query).to_pylist() == [{"key": "a.example/3.jpg", "n": 1}]


def test_statements_without_a_result(world):
    assert sql(str(world / "release"), "SET threads = 1").num_rows == 0


def test_a_query_that_duckdb_refuses(world):
    with pytest.raises(SqlError, match=r"(?s)no_such_table.*in the query"):
        sql(str(world / "release"), "FROM no_such_table")


def test_a_work_directory_before_emit(tmp_path):
    work = small_world.make(tmp_path)
    write_catalog(work.store)
    connection = duckdb.connect(str(tmp_path / "work/catalog.duckdb"), read_only=True)
    assert connection.sql("SELECT count(*) FROM sqlite_master").fetchall() != [(0,)]
    outcomes = open_catalog(str(tmp_path / "work")).dicts(
        "SELECT outcome, count(*) AS n FROM outcome GROUP BY ALL ORDER BY 1"
    )
    assert outcomes == [{"outcome": "alive", "n": 5}, {"outcome": "dropped", "n": 6}]
    assert sql(str(tmp_path / "work"), "FROM sample").num_rows == 0


def test_neither_work_nor_release(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ReleaseError, match="neither a work directory nor a release"):
            sql(str(folder), "SELECT 1")


def test_an_unfinished_release(tmp_path):
    folder = small_world.emitted(tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(ReleaseError, match=r"has no manifest\.json: the release is unfinished\. Run the job again"):
        sql(str(folder), "SELECT 1")


def test_a_damaged_table(tmp_path):
    folder = small_world.emitted(tmp_path)
    (folder / "pairs/00000.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ReleaseError, match="its files cannot be read"):
        sql(str(folder), "SELECT 1")


def test_remote_release(tmp_path):
    local, remote = Release(str(small_world.emitted(tmp_path))), Release("memory://release-of-test-catalog")
    for name in local.files():
        remote.put(name, local.fs.cat_file(local.path(name)))
    assert sql(remote.root, "SELECT count(*) AS n FROM pair").to_pylist() == [{"n": 9}]
    write_catalog(remote)
    assert remote.size("catalog.duckdb")


def test_views_read_committed_files_only(tmp_path):
    small_world.make(tmp_path)
    (tmp_path / "work/pair/left-behind-0.parquet").write_bytes(b"of a killed run")
    assert sql(str(tmp_path / "work"), "FROM pair").num_rows == 11
