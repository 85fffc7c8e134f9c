import hashlib
import json
import shutil
import tarfile
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
import small_world
from click.testing import CliRunner

from fairshard.pipelines.cli import main
from fairshard.pipelines.takedown import takedown, text
from fairshard.pipelines.verify import line, loaded, rules, verify
from fairshard.schemas.errors import InputError, RegistryError, ReleaseError
from fairshard.schemas.release import TOMBSTONE
from fairshard.udfs.hashing import fingerprint

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEEPER = -(2**62)  # of pair 43, in shard 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world"))


@pytest.fixture
def release(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "release")


@pytest.fixture
def taken(whole, tmp_path):
    """``taken(host="a.example", sensitive={"pdq": "..."})``: (what was done, the next release)."""

    def take(folder=whole, sensitive=None, name="next", **lists):
        given = [[f"{scope}={listed(tmp_path, scope, key)}" for scope, key in each.items()]
                 for each in (lists, sensitive or {})]  # fmt: skip
        return takedown(str(folder), str(tmp_path / name), *given, NOW), tmp_path / name

    return take


def listed(folder, scope, key):
    path = folder / f"today-{scope}.txt"
    path.write_text(key + "\n")
    return path


def keys(tar):
    with tarfile.open(tar) as file:
        return [member.name for member in file]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(release):
    return json.loads((release / "manifest.json").read_text())


def outcomes(release):
    return {row["pair_id"]: row for row in pq.read_table(release / "pairs").to_pylist()}


def published(release):
    """Every byte and every value that a reader of a release can see."""
    files = [path for path in sorted(release.rglob("*")) if path.is_file()]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    return "\n".join([*(path.read_bytes().decode("latin-1") for path in files), *tables])


def test_one_sample(whole, taken, tmp_path):
    before = small_world.contents(whole)
    done, release = taken(host="img.b.example")
    assert (done.pairs, done.withheld, done.rewritten, done.removed) == (1, 0, ["shards/00000.tar"], [])
    assert done.unchanged == 2 and done.registries == {"today-host.txt": 1}
    assert keys(release / "shards/00000.tar") == ["000000.jpg", "000000.json", "000000.txt"]
    assert verify(str(release)) == []
    assert verify(str(release), rules(loaded([f"host={tmp_path}/today-host.txt"])), NOW) == []
    assert small_world.contents(whole) == before
    assert not list(tmp_path.glob(".*"))


def test_other_shards_keep_their_bytes(whole, taken):
    _, release = taken(host="img.b.example")
    for name in ("00001.tar", "00002.tar", "00001.parquet", "00002.parquet"):
        assert sha256(release / "shards" / name) == sha256(whole / "shards" / name)
        assert (release / "shards" / name).stat().st_ino == (whole / "shards" / name).stat().st_ino


def test_the_samples_that_stay_keep_their_bytes(whole, taken):
    _, release = taken(host="img.b.example")
    data = (release / "shards/00000.tar").read_bytes().rstrip(b"\0")
    assert (whole / "shards/00000.tar").read_bytes().startswith(data)


def test_an_empty_shard_goes(taken):
    done, release = taken(domain="a.example")
    assert (done.pairs, done.removed) == (3, ["shards/00002.tar"])
    assert sorted(path.name for path in (release / "shards").iterdir()) == [
        "00000.parquet", "00000.tar", "00001.parquet", "00001.tar"
    ]  # fmt: skip
    assert verify(str(release)) == []


def test_everything_goes(taken):
    done, release = taken(domain="example\na.example\nb.example")
    assert done.pairs == 5 and not (release / "shards").exists()
    assert verify(str(release)) == []


def test_the_books(whole, taken):
    _, release = taken(host="img.b.example")
    counts, before = manifest(release)["counts"], manifest(whole)["counts"]
    assert (counts["rows"], counts["released"], counts["dropped"]) == (14, 4, before["dropped"] + 1)
    assert counts["reasons"]["takedown"] == {"deny:registry": 1}
    assert counts["funnel"][-1] == {"stage": "takedown", "removed": 1, "rows_left": 4}
    row = outcomes(release)[5]
    assert (row["outcome"], row["stage"], row["shard_id"], row["key"]) == ("dropped", "takedown", None, None)
    assert row["evidence"] == "today-host.txt (host): img.b.example"


def test_the_chain(whole, taken):
    _, first = taken(host="img.b.example")
    done, second = taken(first, host="a.example", name="second")
    assert manifest(first)["previous_release"] == sha256(whole / "manifest.json")
    assert manifest(second)["previous_release"] == sha256(first / "manifest.json")
    assert [entry["pairs"] for entry in manifest(second)["takedowns"]] == [1, 3]
    stones = pq.read_table(second / "tombstones.parquet")
    assert stones.schema.equals(TOMBSTONE)
    assert [(row["shard"], row["key"], row["pair_id"]) for row in stones.to_pylist()] == [
        ("shards/00000.tar", "000000", 3),
        ("shards/00000.tar", "000001", 5),
        ("shards/00001.tar", "000011", KEEPER),
        ("shards/00002.tar", "000020", -9),
    ]
    assert {rule["key"] for rule in pq.read_table(second / "tables/rule-00000.parquet").to_pylist()} >= {
        "img.b.example", "a.example"
    }  # fmt: skip
    assert verify(str(second)) == [] and done.pairs == 3


def test_the_same_bytes_again(taken):
    _, first = taken(creator="ada *example*", md5="0" * 32)
    _, again = taken(creator="ada *example*", md5="0" * 32, name="again")
    assert small_world.contents(first) == small_world.contents(again)


def test_nothing_to_take_down(taken):
    _, first = taken(host="img.b.example")
    done, second = taken(first, host="img.b.example", name="second")
    assert done.release is None and not second.exists()
    assert "nothing to take down" in text(done)


def test_by_hash(taken):
    picture = fingerprint(small_world.PICTURES[3])
    done, release = taken(pdq=picture.pdq.hex())
    assert done.pairs == 1 and outcomes(release)[3]["reason"] == "deny:hash_list"


def test_a_permission_of_today_stands(whole, tmp_path):
    (tmp_path / "both.csv").write_text(
        "host,action,evidence\nimg.b.example,deny,\nimg.b.example,allow,https://img.b.example/licence\n"
    )
    done = takedown(str(whole), str(tmp_path / "next"), [f"host={tmp_path}/both.csv"], (), NOW)
    assert done.release is None


def test_a_sensitive_list_leaves_no_trace(taken):
    picture = fingerprint(small_world.PICTURES[KEEPER])
    done, release = taken(sensitive={"pdq": picture.pdq.hex(), "host": "b.example"})
    # The keeper and its duplicate 43 by their look; 2**62 by its host, and 42, dropped before, by the same.
    assert (done.pairs, done.withheld) == (2, 4)
    seen = published(release)
    for secret in (picture.pdq.hex(), picture.sha256, str(KEEPER), str(2**62), "noise 0", "黄色い四角", "dead link"):
        assert secret not in seen and secret.encode().decode("latin-1") not in seen
    assert repr(picture.pdq)[2:-1] not in seen
    assert [row["pair_id"] for row in pq.read_table(release / "tombstones.parquet").to_pylist()] == [None, None]
    assert manifest(release)["counts"]["withheld"] == 6
    assert verify(str(release)) == []


def test_a_list_once_sensitive_stays_so(whole, tmp_path):
    (tmp_path / "secret-list.csv").write_text("host\nimg.b.example\n")
    done = takedown(str(whole), str(tmp_path / "next"), [f"host={tmp_path}/secret-list.csv"], (), NOW)
    assert (done.pairs, done.withheld) == (1, 1)
    assert "img.b.example" not in published(tmp_path / "next")


def test_a_sensitive_rule_hides_an_earlier_tombstone(taken):
    _, first = taken(host="img.b.example")
    _, second = taken(first, domain="a.example", sensitive={"host": "img.b.example"}, name="second")
    stones = pq.read_table(second / "tombstones.parquet").to_pylist()
    assert [row["pair_id"] for row in stones] == [3, None, KEEPER, -9]
    assert "img.b.example" not in published(second)


@pytest.mark.parametrize(
    ("name", "error"),
    [("shards/00000.tar", "shards/00000.tar"), ("pairs/00000.parquet", "pairs/00000"), ("shards/00002.tar", "00002")],
)
def test_a_forged_release(release, taken, tmp_path, name, error):
    (release / name).write_bytes((release / name).read_bytes() + b"\0")
    with pytest.raises(ReleaseError, match=error):
        taken(release, host="img.b.example")
    assert not (tmp_path / "next").exists() and not list(tmp_path.glob(".*"))


def test_an_extra_table(release, taken):
    shutil.copy(release / "pairs/00000.parquet", release / "pairs/00001.parquet")
    with pytest.raises(ReleaseError, match=r"00001\.parquet: is missing, or not what the manifest lists"):
        taken(release, host="img.b.example")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"merkle_root": "0" * 64}, "merkle_root: 0"), ({"policy": {"name": "laxer"}}, "policy: has another fingerprint"),
     ({"format": "fairshard-release/2"}, "is of format 'fairshard-release/2'; expected fairshard-release/1")],
)  # fmt: skip
def test_an_edited_manifest(release, taken, tmp_path, change, message):
    (release / "manifest.json").write_text(json.dumps({**manifest(release), **change}))
    with pytest.raises(ReleaseError, match=message):
        taken(release, host="img.b.example")
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize("change", [{"takedowns": 3}, {"takedowns": [{}]}, {"registries": [None]}])
def test_a_malformed_manifest(release, taken, change):
    (release / "manifest.json").write_text(json.dumps({**manifest(release), **change}))
    with pytest.raises(ReleaseError, match="malformed"):
        taken(release, host="img.b.example")


def test_where_to(whole, taken, tmp_path):
    (tmp_path / "next").mkdir()
    done, _ = taken(host="img.b.example")
    assert done.pairs == 1
    with pytest.raises(InputError, match="is not empty"):
        taken(host="img.b.example")
    with pytest.raises(InputError, match="lies in the release"):
        takedown(str(whole), str(whole / "next"), [f"host={tmp_path}/today-host.txt"], (), NOW)


def test_a_list_that_cannot_be_read(whole, tmp_path):
    with pytest.raises(RegistryError, match="cannot be read"):
        takedown(str(whole), str(tmp_path / "next"), [f"host={tmp_path}/none.txt"])
    with pytest.raises(InputError, match="is given no registry"):
        takedown(str(whole), str(tmp_path / "next"), [])
    assert not (tmp_path / "next").exists()


def test_exit_codes(whole, tmp_path):
    out = str(tmp_path / "next")
    found = listed(tmp_path, "host", "img.b.example")

    def code(*args):
        return CliRunner().invoke(main, ["takedown", str(whole), *args]).exit_code

    assert code("--out", out) == 2
    assert code("--registry", "host", "--out", out) == 2
    assert code("--registry", f"host={tmp_path}/none.txt", "--out", out) == 3
    assert code("--registry", f"domain={listed(tmp_path, 'domain', 'nobody.example')}", "--out", out) == 0
    assert not (tmp_path / "next").exists()
    assert code("--registry", f"host={found}", "--out", out) == 0
    assert [line(each) for each in verify(out)] == []
