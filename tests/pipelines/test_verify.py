import io
import json
import os
import shutil
import tarfile
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
import small_world
from PIL import Image, ImageOps

from fairshard.pipelines._manifest import merkle_root
from fairshard.pipelines.verify import check, line, loaded, rules, verify
from fairshard.schemas.errors import InputError, RegistryError, ReleaseError
from fairshard.udfs.hashing import fingerprint

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world"))


@pytest.fixture
def release(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "release")


def found(folder, *registry_rules):
    table = small_world.table("rule", [{"action": "deny", "sensitive": False, "registry": "today", "rule_id": number, **rule}
                                       for number, rule in enumerate(registry_rules)])  # fmt: skip
    return [(finding["kind"], finding["where"]) for finding in verify(str(folder), table, NOW)]


def edit_manifest(release, change):
    document = json.loads((release / "manifest.json").read_text())
    change(document)
    (release / "manifest.json").write_text(json.dumps(document))


def admit(release, name):
    """Give a changed file its new hash in the manifest, as a careful forger would."""
    from fairshard.pipelines._release import Release

    fact = Release(str(release)).fact(name)
    edit_manifest(release, lambda document: document["files"][name].update(sha256=fact.sha256, bytes=fact.bytes))
    edit_manifest(release, lambda document: document.update(merkle_root=merkle_root(document["files"])))


def test_a_whole_release(whole):
    assert verify(str(whole)) == []


@pytest.mark.parametrize("name", ["shards/00001.tar", "shards/00000.parquet", "tables/rule-00000.parquet", "README.md"])
def test_a_missing_file(release, name):
    (release / name).unlink()
    assert ("missing_file", name) in found(release)


def test_an_extra_file(release):
    (release / "shards/00009.tar").write_bytes(b"")
    assert [line(finding) for finding in verify(str(release))] == [
        "extra_file: shards/00009.tar: is there; expected only files that the manifest lists"
    ]


def test_one_changed_byte_in_a_shard(release):
    path = release / "shards/00001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    assert found(release) == [("changed_file", "shards/00001.tar")]


def test_a_truncated_shard(release):
    path = release / "shards/00001.tar"
    path.write_bytes(path.read_bytes()[:1500])
    assert found(release) == [("changed_file", "shards/00001.tar"), ("unreadable", "shards/00001.tar")]


def test_a_truncated_table(release):
    path = release / "pairs/00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert [kind for kind, _ in found(release)] == ["changed_file", "unreadable"]


def rewrite(path, change):
    """Rewrite the members of a tar; ``change`` takes name and bytes and gives them, or None."""
    with tarfile.open(path) as file:
        members = [change(member.name, file.extractfile(member).read()) for member in file]
    with tarfile.open(path, "w") as file:
        for name, data in filter(None, members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: None if name == "000001.jpg" else (name, data), "has the parts json, txt"),
        (lambda name, data: None if name.startswith("000001") else (name, data), "but not in the tar"),
        (lambda name, data: (name.replace("000001", "000009"), data), "is not in pairs"),
        (lambda name, data: (name, b"another" if name == "000001.txt" else data), "its caption is another"),
        (lambda name, data: (name, b"{}" if name == "000001.json" else data), "says something else"),
        (lambda name, data: (name, b"[" * 10**6 if name == "000001.json" else data), "says something else"),
        (lambda name, data: (name, data + b"\0" if name == "000001.jpg" else data), "its picture has"),
    ],
    ids=["picture gone", "sample gone", "key", "caption", "json", "deep json", "picture size"],
)
def test_a_forged_shard(release, change, message):
    rewrite(release / "shards/00000.tar", change)
    admit(release, "shards/00000.tar")
    findings = verify(str(release))
    assert [finding["where"] for finding in findings if finding["kind"] != "wrong_sample"] == [
        "tables/shard: shards/00000.tar"
    ]
    assert any(message in line(finding) for finding in findings)


def test_a_shard_that_no_table_names(release):
    shutil.copy(release / "shards/00000.tar", release / "shards/00009.tar")
    edit_manifest(release, lambda document: document["files"].update({"shards/00009.tar": {"sha256": "", "bytes": 0}}))
    admit(release, "shards/00009.tar")
    assert found(release) == [("unreadable", "shards/00009.tar")]  # it has no sidecar


def test_a_pair_in_a_shard_that_is_not_there(release):
    path = release / "pairs/00000.parquet"
    rows = pq.read_table(path).to_pylist()
    (row,) = (row for row in rows if row["pair_id"] == 3)
    row["shard_id"] = 77
    pq.write_table(pq.read_table(path).from_pylist(rows, pq.read_schema(path)), path)
    admit(release, "pairs/00000.parquet")
    assert set(found(release)) == {("wrong_sample", "shards/00000.tar: 000000"), ("unreadable", "shards/00077.tar")}


def test_a_forged_table(release):
    path = release / "pairs/00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    admit(release, "pairs/00000.parquet")
    kinds = found(release)
    assert ("wrong_count", "manifest.json: counts") in kinds and ("wrong_count", "manifest.json: sources") in kinds


def test_a_pair_twice(release):
    import pyarrow as pa

    path = release / "pairs/00000.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    assert ("wrong_count", f"pair {-(2**62)}") in found(release)


def test_an_edited_policy(release):
    edit_manifest(release, lambda document: document["policy"].update(hold="keep"))
    assert found(release) == [("changed_file", "manifest.json: policy")]


def test_a_name_that_leads_out_of_the_release(release):
    (release.parent / "outside").write_text("not to be read")
    fact = {"sha256": "0" * 64, "bytes": 14}
    edit_manifest(release, lambda document: document["files"].update({"../outside": fact}))
    assert found(release) == [("missing_file", "../outside"), ("changed_file", "manifest.json: merkle_root")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected a finished release"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "lacks 'files'"),
        (b'{"files": {}, "counts": {}, "policy": {}, "format": "fairshard-release/9"}', "is of format 'fairshard-release/9'"),
        (b'{"files": {"a": 1}, "counts": {}, "policy": {}, "sources": [], "format": "fairshard-release/1"}', "malformed"),
    ],
)  # fmt: skip
def test_no_manifest_or_another(release, content, message):
    (release / "manifest.json").unlink()
    if content is not None:
        (release / "manifest.json").write_bytes(content)
    with pytest.raises(ReleaseError, match=message):
        verify(str(release))


@pytest.mark.parametrize(
    "change",
    [
        {"endpoints": [1]},
        {"endpoints": None},
        {"counts": {"withheld": None}},
        {"takedowns": [{"previous_release": 1, "pairs": 1}]},
        {"previous_release": 1},
        {"registries": [None]},
    ],
)
def test_an_entry_that_is_none(release, change):
    edit_manifest(release, lambda document: document.update(change))
    with pytest.raises(ReleaseError, match="malformed"):
        check(str(release), [])


SHA256 = fingerprint(small_world.PICTURES[3]).sha256
MD5 = fingerprint(small_world.PICTURES[3]).md5
PHASH = f"{(fingerprint(small_world.PICTURES[3]).phash or 0) & (2**64 - 1) ^ 0b111:016x}"
PDQ = (fingerprint(small_world.PICTURES[3]).pdq or b"").hex()


def mirrored_pdq() -> str:
    target = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(small_world.PICTURES[3]))).save(target, "PNG")
    return (fingerprint(target.getvalue()).pdq or b"").hex()


@pytest.mark.parametrize(
    ("scope", "key", "expected"),
    [
        ("url", "a.example/3.jpg", [3]),
        ("url", "no.example/41.jpg", []),  # left out already
        ("url_prefix", "a.example/", [3, -9, -(2**62)]),
        ("host", "b.example", [2**62]),
        ("domain", "b.example", [2**62, 5]),
        ("creator", "ada *example*", [3, -(2**62)]),
        ("licence", "cc-by 4.0", [-9, 2**62]),
        ("md5", MD5, [3]),
        ("sha256", SHA256, [3]),
        ("phash", PHASH, [3]),
        ("pdq", PDQ, [3]),
        ("pdq", mirrored_pdq(), [3]),
    ],
)
def test_later_opt_outs(whole, scope, key, expected):
    where = [place for kind, place in found(whole, {"scope": scope, "key": key}) if kind == "opted_out"]
    assert sorted(int(place.split("(pair ")[1].split(",")[0]) for place in where) == sorted(expected)


def test_a_release_without_codes_cannot_be_compared_with_declared_ones(whole):
    rule = small_world.table(
        "rule", [{"scope": "iscc", "key": "ISCC:IAAWIN5TVQ4EMUJT", "action": "deny", "registry": "a"}]
    )
    (finding,) = verify(str(whole), rule, NOW)
    assert "no ISCC" in line(finding)


def test_rules_that_are_not_in_force(whole):
    rule = {"scope": "host", "key": "a.example"}
    assert found(whole, {**rule, "withdrawn_at": datetime(2026, 5, 1, tzinfo=UTC)}) == []
    assert found(whole, {**rule, "valid_from": datetime(2026, 7, 1, tzinfo=UTC)}) == []
    assert len(found(whole, {**rule, "valid_from": datetime(2026, 5, 1, tzinfo=UTC)})) == 3


def test_a_recorded_licence_beats_a_reservation_but_not_a_hash_list(whole):
    allow = {"scope": "url", "key": "a.example/3.jpg", "action": "allow"}
    assert found(whole, {"scope": "url", "key": "a.example/3.jpg"}, allow) == []
    assert len(found(whole, {"scope": "sha256", "key": SHA256}, allow)) == 1


def test_the_key_of_a_sensitive_rule_is_not_repeated(whole):
    rule = {"scope": "creator", "key": "ada *example*", "sensitive": True, "rule_id": 7, "registry": "secret"}
    findings = verify(str(whole), small_world.table("rule", [{"action": "deny", **rule}]), NOW)
    assert [finding["found"] for finding in findings] == ["secret denies by creator: rule 7"] * 2


def test_a_list_that_the_release_calls_sensitive_is_so(whole, tmp_path):
    (tmp_path / "secret-list.txt").write_text("img.b.example\n")
    (finding,) = check(str(whole), [f"host={tmp_path}/secret-list.txt"])
    assert finding["found"].startswith("secret-list.txt denies by host: rule ")


def test_registries_of_the_command_line(whole, tmp_path):
    (tmp_path / "later.txt").write_text("# opt-outs of today\nhttps://www.img.b.example/\n")
    assert rules([]) is None
    findings = verify(str(whole), rules(loaded([f"domain={tmp_path}/later.txt"])))
    assert [line(finding) for finding in findings] == [
        "opted_out: sample 000001 (pair 5, https://img.b.example/5.jpg): later.txt denies by domain: img.b.example; "
        "expected no reservation"
    ]


def test_a_stale_registry_is_used_and_warned_of(whole, tmp_path, caplog):
    path = tmp_path / "later.txt"
    path.write_text("nobody.example\n")
    assert check(str(whole), [f"domain={path}"]) == [] and caplog.text == ""
    os.utime(path, (0, 0))
    assert check(str(whole), [f"domain={path}"]) == []
    assert "registry later.txt is" in caplog.text and "more than the 30 days that the policy allows" in caplog.text


def test_endpoints_that_the_job_asked_are_not_passed_over_in_silence(release, tmp_path, caplog):
    (tmp_path / "later.txt").write_text("nobody.example\n")
    endpoints = [{"name": "do-not-train", "url": "https://registry.example/query"}]
    edit_manifest(release, lambda document: document.update(endpoints=endpoints))
    assert check(str(release), []) == [] and caplog.text == ""
    assert check(str(release), [f"domain={tmp_path}/later.txt"]) == []
    assert "registry do-not-train at https://registry.example/query was asked when the release was made" in caplog.text


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("list.txt", InputError, "is 'list.txt'; expected SCOPE=FILE, with one of url, url_prefix"),
        ("planet=list.txt", InputError, "SCOPE=FILE"),
        ("domain=missing.txt", RegistryError, "cannot be read"),
        (
            "url=https://registry.example/query/urls",
            RegistryError,
            "is no list but perhaps an endpoint, and a release is checked against lists alone",
        ),
        ("domain=list.xlsx", RegistryError, r"ends in '\.xlsx'; expected \.txt, \.csv"),
    ],
)
def test_bad_registries(given, error, message):
    with pytest.raises(error, match=message):
        loaded([given])
