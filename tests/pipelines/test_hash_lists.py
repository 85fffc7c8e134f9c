"""Hash lists in every format they come in: what is in force, what is withdrawn, what is left out and said."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _registries, consult, screen
from fairshard.schemas.config import Registry
from fairshard.schemas.errors import InputError, RegistryError

PDQ, PDQ2, PDQ3 = "f8" * 32, "a1" * 32, "0c" * 32
MD5, MD5_2 = "facefacefacefacefacefacefaceface", "bacebacebacebacebacebacebacebace"
SHA1, SHA256 = "5e" * 20, "d7" * 32
PHASH = "c3a1f00d12345678"
PHOTODNA = "AAECAwQFBgcICQ=="


def load(folder: Path, name: str, data: str | bytes, scope: str = "hash", **more) -> _registries.Loaded:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return _registries.load_one(Registry("list", name, scope, **more), str(folder / name))  # type: ignore[arg-type]


def rules(loaded: _registries.Loaded) -> set[tuple[str, str]]:
    assert all(action == "deny" for action in loaded.rules["action"].to_pylist())
    return set(zip(loaded.rules["scope"].to_pylist(), loaded.rules["key"].to_pylist(), strict=True))


# --- lines -------------------------------------------------------------------------------------------------------

LINES = [
    ("pdq", PDQ),
    ("pdq", PDQ.upper()),
    ("pdq", f"pdq {PDQ}"),
    ("hash", f"pdq {PDQ}"),
    ("hash", f"PDQ: {PDQ}"),
    ("hash", f"HASH_PDQ,{PDQ}"),
    ("pdq", f"{PDQ} 100"),
    ("pdq", f"{PDQ},100,b.jpg"),
]


@pytest.mark.parametrize(("scope", "line"), LINES)
def test_lines_of_pdq(tmp_path, scope, line):
    assert rules(load(tmp_path, "list.txt", f"# a comment\n{line}\n", scope)) == {("pdq", PDQ)}


def test_lists_of_digests(tmp_path):
    printed = f"{MD5}  a.jpg\n{MD5_2} *b.jpg\nMD5 (c (1).jpg) = {'9' * 32}\n"
    expected = {("md5", MD5), ("md5", MD5_2), ("md5", "9" * 32)}
    assert rules(load(tmp_path, "list.txt", printed, "md5")) == rules(load(tmp_path, "list.txt", printed)) == expected
    assert rules(load(tmp_path, "list.txt", f"{SHA256}  a.jpg\n", "sha256")) == {("sha256", SHA256)}


def test_digits_alone_tell_the_kind_where_only_one_has_so_many(tmp_path):
    found = load(tmp_path, "list.txt", f"{MD5}\n{PHASH}\n{SHA1}\n{'0' * 128}\n")
    assert rules(found) == {("md5", MD5), ("phash", PHASH)}
    assert found.left_out == {"sha1": 1, "sha512": 1}


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.json"])
def test_64_digits_of_no_kind_are_not_guessed(tmp_path, name):
    data = {"list.txt": f"{MD5}\n{PDQ}\n", "list.csv": f"hash\n{MD5}\n{PDQ}\n", "list.json": json.dumps([MD5, PDQ])}
    with pytest.raises(
        RegistryError, match=r"1 entries have 64 digits and name no kind.*'scope: pdq' or 'scope: sha256'"
    ):
        load(tmp_path, name, data[name])
    assert load(tmp_path, name, data[name], "pdq", max_malformed=0.5).rules["key"].to_pylist() == [PDQ]


def test_a_scope_takes_its_own_kind_and_says_what_it_leaves(tmp_path, caplog):
    found = load(tmp_path, "list.txt", f"pdq {PDQ}\nmd5 {MD5}\nsha1 {SHA1}\n", "pdq")
    assert (rules(found), found.left_out, found.malformed) == ({("pdq", PDQ)}, {"md5": 1, "sha1": 1}, 0)
    assert "2 are of other kinds and left out: 1 md5, 1 sha1; 'scope: hash' reads all" in caplog.text


# --- tables ------------------------------------------------------------------------------------------------------

TABLES = [
    ("pdq", f"hash,quality\n{PDQ},100\n{PDQ2},12\n"),
    ("pdq", f"{PDQ},100,a.jpg\n{PDQ2},12,b.jpg\n"),
    ("pdq", f"{PDQ},2880742865368386,2020-07-31T18:47:52+0000,media_type_photo\n{PDQ2},1,x,y\n"),
    ("pdq", f"FilePath,Hash\na.jpg,{PDQ}\nb.jpg,{PDQ2}\n"),
    ("hash", f"collab,signal_type,signal_str,category,tags\nA,pdq,{PDQ},WORTH_INVESTIGATING,\nA,pdq,{PDQ2},x,\n"),
    ("hash", f"td_indicator_type,td_raw_indicator,td_status\nHASH_PDQ,{PDQ},MALICIOUS\nHASH_PDQ,{PDQ2},UNKNOWN\n"),
    ("hash", f"algorithm,hash_digest,deleted\nPDQ,{PDQ},false\nPDQ,{PDQ2},\nPDQ,{PDQ3},True\n"),
    ("hash", f"type,value,status\npdq,{PDQ},\npdq,{PDQ2},no idea\npdq,{PDQ3}, Withdrawn\n"),
    ("hash", f"file,pdq,sha1\na.jpg,{PDQ},\nb.jpg,{PDQ2},{SHA1}\n"),
]


@pytest.mark.parametrize(("scope", "text"), TABLES)
def test_tables(tmp_path, scope, text):
    assert rules(load(tmp_path, "list.csv", text, scope)) == {("pdq", PDQ), ("pdq", PDQ2)}


def test_a_column_for_each_kind(tmp_path):
    found = load(tmp_path, "list.csv", f"MD5,SHA-256,PhotoDNA\n{MD5},{SHA256},x\n,{SHA256},\n{MD5_2},,\n")
    assert rules(found) == {("md5", MD5), ("md5", MD5_2), ("sha256", SHA256)}
    assert (found.left_out, found.malformed) == ({"photodna": 1}, 0)


def test_a_column_called_type_that_names_no_kind_is_none(tmp_path):
    assert rules(load(tmp_path, "list.csv", f"hash,type\n{PDQ},photo\n", "pdq")) == {("pdq", PDQ)}


def test_a_named_column_goes_first(tmp_path):
    assert rules(load(tmp_path, "list.csv", f"hash,mine\n{MD5},{MD5_2}\n", column="mine")) == {("md5", MD5_2)}


# --- exchanges ---------------------------------------------------------------------------------------------------


def stopncii(value, status, time=1, kind="ImagePDQ", cases=None):
    return {"lastModtimestamp": time, "hashValue": value, "hashStatus": status, "caseNumbers": cases or {},
            "signalType": kind, "CSPFeedbacks": [{"source": "A", "feedbackValue": "Blocked", "tags": ["x"]}]}  # fmt: skip


def page(*records, more=False):
    return {"count": len(records), "nextSetTimestamp": 9, "nextPageToken": "x", "hasMoreRecords": more,
            "hashRecords": list(records)}  # fmt: skip


def test_stopncii(tmp_path):
    records = [stopncii(PDQ, "Received"), stopncii(PDQ2, "Withdrawn"), stopncii(PDQ3, "Something new"),
               stopncii("b1" * 32, "Deleted"), stopncii(MD5, "Active", kind="VideoMD5"),
               stopncii("xyz", "Active", kind="VideoTMK"), stopncii("https://a.example/x", "Active", kind="URL")]  # fmt: skip
    found = load(tmp_path, "list.json", json.dumps(page(*records)))
    assert rules(found) == {("pdq", PDQ), ("pdq", PDQ3), ("md5", MD5)}
    assert (found.left_out, found.malformed) == ({"no hashes": 1, "tmk": 1}, 0)


def test_a_hash_stays_while_one_case_is_open(tmp_path):
    records = [stopncii(PDQ, "Withdrawn", cases={"a": "Withdrawn", "b": "Active"}),
               stopncii(PDQ2, "Withdrawn", cases={"a": "Withdrawn", "b": "Deleted"}),
               stopncii(PDQ3, "Active", cases={"a": "Withdrawn"})]  # fmt: skip
    assert rules(load(tmp_path, "list.json", json.dumps(page(*records)))) == {("pdq", PDQ), ("pdq", PDQ3)}


@pytest.mark.parametrize("name", ["list.json", "list.jsonl"])
def test_pages_one_after_the_other_are_one_list(tmp_path, name, caplog):
    pages = [page(stopncii(PDQ, "Active", 1), stopncii(PDQ2, "Active", 3), more=True),
             page(stopncii(PDQ, "Withdrawn", 2), stopncii(PDQ2, "Withdrawn", 2)), page()]  # fmt: skip
    data = "\n".join(map(json.dumps, pages))
    assert rules(load(tmp_path, name, data)) == {("pdq", PDQ2)}  # listed again after it was withdrawn
    assert "goes on" not in caplog.text


@pytest.mark.parametrize("time", [2, None, "soon"])
def test_a_withdrawal_takes_back_only_what_is_surely_older(tmp_path, time):
    records = [stopncii(PDQ, "Active", time), stopncii(PDQ, "Withdrawn", 2), stopncii(PDQ, "Withdrawn", time)]
    assert rules(load(tmp_path, "list.json", json.dumps(page(*records)))) == {("pdq", PDQ)}


def test_a_page_that_is_not_the_last_is_said_to_be_none(tmp_path, caplog):
    load(tmp_path, "list.json", json.dumps(page(stopncii(PDQ, "Active"), more=True)))
    assert "the file says that the list goes on" in caplog.text


def update(value, deleted=False, kind="HASH_PDQ", time=1, **more):
    return {"id": "1", "indicator": value, "type": kind, "last_updated": time, "should_delete": deleted, **more}


def test_threat_updates(tmp_path, caplog):
    data = [update(PDQ, descriptors={"data": [{"status": "MALICIOUS"}]}), update(PDQ2, deleted=True),
            update(PDQ3, status="NON_MALICIOUS"), update(MD5, kind="HASH_MD5"), update(SHA256, kind="HASH_SHA256"),
            update(PHOTODNA, kind="HASH_PHOTODNA"), update("x" * 40, kind="HASH_TMK"), update("why", kind="HASH_NEW"),
            update(MD5_2, kind="HASH_VIDEO_MD5", time=1), update(MD5_2, True, "HASH_VIDEO_MD5", 2)]  # fmt: skip
    found = load(tmp_path, "list.json", json.dumps({"data": data, "paging": {"cursors": {}}}))
    assert rules(found) == {("pdq", PDQ), ("pdq", PDQ3), ("md5", MD5), ("sha256", SHA256)}
    assert found.left_out == {"of unknown kind": 1, "photodna": 1, "tmk": 1}
    assert "3 are of other kinds and left out: 1 of unknown kind, 1 photodna, 1 tmk" in caplog.text


def test_hma_banks(tmp_path):
    data = [{"id": 1, "signals": {"pdq": PDQ, "vmd5": MD5}}, {"id": 2, "signals": {"pdq": PDQ2, "tlsh": "T1"}}]
    found = load(tmp_path, "list.json", json.dumps(data))
    assert (rules(found), found.left_out) == ({("pdq", PDQ), ("md5", MD5), ("pdq", PDQ2)}, {"other hashes": 1})


def test_a_hash_of_ours_under_a_name_nobody_knows_is_malformed(tmp_path):
    data = "".join(f"md5 {n:032x}\n" for n in range(30)) + f"pqd {PDQ}\n"
    found = load(tmp_path, "list.txt", data.replace(PDQ, PHASH))
    assert (found.rules.num_rows, found.malformed) == (30, 1)
    with pytest.raises(RegistryError, match="name no kind that is known"):
        load(tmp_path, "list.txt", data)


NCMEC = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">{}</queryResult>
"""


def image(prints, member=42, number="image1", time="2017-10-24T15:00:00Z", name="image", more=""):
    inside = f"<fingerprints>{prints}</fingerprints>" if prints else ""
    return (f'<{name}><member id="{member}">A Member</member><timestamp>{time}</timestamp><id>{number}</id>'
            f"<classification>A1</classification>{inside}{more}</{name}>")  # fmt: skip


def ncmec(*images, more=""):
    return NCMEC.format(f'<images count="1" maxTimestamp="2017-10-24T15:10:00Z">{"".join(images)}</images>{more}')


def test_ncmec(tmp_path):
    prints = f"<md5>{MD5}</md5><sha1>{SHA1}</sha1><pdna>{PHOTODNA}</pdna><pdq>{PDQ.upper()}</pdq>"
    feedback = '<feedback><negativeFeedback type="Sha1"><reasons><reason guid="0" name="x"/><members><member id="7">B</member>' \
               "<id>image9</id></members></reasons></negativeFeedback></feedback>"  # fmt: skip
    video = image(f'<md5>{MD5_2}</md5><tmk-pdqf rel="self" href="/v2/entries/1"/>', name="video")
    found = load(tmp_path, "list.xml", ncmec(image(prints, more=feedback), more=f"<videos>{video}</videos>"))
    assert rules(found) == {("md5", MD5), ("md5", MD5_2), ("pdq", PDQ)}
    assert (found.left_out, found.malformed) == ({"photodna": 1, "sha1": 1, "tmk": 1}, 0)


TOMBSTONES = {
    "of another time": (image("", time="2017-10-25T00:00:00Z", name="deletedImage"), True),
    "that is older": (image("", time="2016-01-01T00:00:00Z", name="deletedImage"), False),
    "of no time": (image("", time="", name="deletedImage"), False),
    "of another member": (image("", 43, time="2018-01-01T00:00:00Z", name="deletedImage"), False),
    "of another entry": (image("", number="image2", time="2018-01-01T00:00:00Z", name="deletedImage"), False),
    "of no entry": (image("", number="", time="2018-01-01T00:00:00Z", name="deletedImage"), False),
    "with the hash, of another member": (image(f"<md5>{MD5}</md5>", 43, name="deletedImage"), False),
}


@pytest.mark.parametrize("case", TOMBSTONES)
def test_tombstones(tmp_path, case):
    tombstone, gone = TOMBSTONES[case]
    for images in ([image(f"<md5>{MD5}</md5>"), tombstone], [tombstone, image(f"<md5>{MD5}</md5>")]):
        found = load(tmp_path, "list.xml", ncmec(*images, image(f"<md5>{MD5_2}</md5>", number="image7")))
        assert rules(found) == {("md5", MD5_2), *([] if gone else [("md5", MD5)])}


def test_entries_marked_as_deleted(tmp_path):
    marked = [
        image(f"<md5>{MD5}</md5>", more="<deleted>true</deleted>"),
        image(f"<pdq>{PDQ}</pdq>", name="deletedImage"),
    ]
    found = load(tmp_path, "list.xml", ncmec(*marked))
    assert (rules(found), found.malformed) == (set(), 0)


def test_an_ncmec_page_with_another_after_it(tmp_path, caplog):
    more = "<paging><next>/v2/entries?from=2017&amp;start=2001</next></paging>"
    load(tmp_path, "list.xml", ncmec(image(f"<md5>{MD5}</md5>"), more=more))
    assert "the file says that the list goes on" in caplog.text


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_an_image_without_a_fingerprint_is_malformed(tmp_path):
    images = [image(f"<md5>{n:032x}</md5>", number=f"i{n}") for n in range(20)] + [image(""), image("<md5></md5>")]
    with pytest.raises(InputError, match=r"2 of 22 entries are no hash \(records 21, 22\); expected at most 5%"):
        load(tmp_path, "list.xml", ncmec(*images))
    assert load(tmp_path, "list.xml", ncmec(*images), max_malformed=0.1).malformed == 2


@pytest.mark.parametrize(
    ("name", "data", "where"),
    [
        (
            "list.json",
            json.dumps([MD5] * 3 + ["gone wrong", None, {"key": None}, [MD5], 5]),
            "records 4, 5, 6, 8",
        ),
        ("list.json", json.dumps(page(stopncii(PDQ, "Active"), stopncii("gone wrong", "Active"))), "record 2"),
        ("list.jsonl", f'"{MD5}"\n\n"gone wrong"\n', "line 3"),
        ("list.txt", f"md5 {MD5}\ngone wrong\n", "line 2"),
        ("list.csv", f"md5,pdq\n{MD5},\ngone wrong,gone wrong\n", "line 3"),
        ("list.xml", ncmec(image(f"<md5>{MD5}</md5>"), image("<md5>gone wrong</md5>")), "record 2"),
    ],
)
def test_malformed_entries_are_named_by_their_place(tmp_path, name, data, where, caplog):
    with pytest.raises(InputError) as error:
        load(tmp_path, name, data, sensitive=True, max_malformed=0.1)
    assert error.value.exit_code == 2 and not isinstance(error.value, RegistryError)
    assert f"({where})" in str(error.value) and "gone wrong" not in str(error.value) + caplog.text


BOMB = '<!DOCTYPE queryResult [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
REFUSED = {
    "nothing that can be compared": (
        "list.txt",
        f"photodna {'0' * 40}\n",
        "1 are of other kinds and left out: 1 photodna",
    ),
    "nothing that can be read": ("list.xml", ncmec(image("<md5>x</md5>")), r"1 of 1 entries are no hash \(record 1\)"),
    "no entry": ("list.xml", ncmec(), "has no entry"),
    "an empty page": ("list.json", json.dumps(page()), "has no entry"),
    "JSON of another kind": ("list.json", '{"name": "x", "about": {}}', "has the columns name"),
    "cut JSON": ("list.json", '{"hashRecords": [\n{"hashValue": "', "line 2 is not JSON"),
    "deep JSON": ("list.json", "[" * 100_000, "cannot be read"),
    "cut XML": ("list.xml", ncmec(image(f"<md5>{MD5}</md5>"))[:-30], "no list of NCMEC's"),
    "other XML": ("list.xml", "<html><image/></html>", "its root is no queryResult"),
    "XML with a DOCTYPE": ("list.xml", BOMB + ncmec(image("<md5>&b;</md5>")).partition("?>")[2], "DOCTYPE"),
    "deep XML": ("list.xml", "<queryResult>" * 1000, "deeper than"),
    "no XML": ("list.xml", f"{MD5}\n", "no list of NCMEC's"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_cannot_be_trusted_is_refused(tmp_path, case):
    name, data, message = REFUSED[case]
    with pytest.raises(RegistryError, match=message):
        load(tmp_path, name, data)


def test_a_list_longer_than_other_xml_may_be(tmp_path):
    many = ncmec(*(image(f"<md5>{n:032x}</md5>", number=f"i{n}") for n in range(45_000)))
    assert len(many) > 8 * 1024 * 1024
    assert load(tmp_path, "list.xml", many).rules.num_rows == 45_000


# --- laws, and the way to the verdict ------------------------------------------------------------------------------

SEEDS = {
    ".txt": f"pdq {PDQ}\nMD5 (a) = {MD5}\n",
    ".csv": f"type,value,deleted\npdq,{PDQ},\nmd5,{MD5},true\n",
    ".json": json.dumps(page(stopncii(PDQ, "Active"), stopncii(MD5, "Withdrawn", kind="VideoMD5"), more=True)),
    ".xml": ncmec(image(f"<md5>{MD5}</md5><pdna>x</pdna>"), image("", name="deletedImage")),
}
FREE = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([MD5, PDQ, "HASH_PDQ", "Withdrawn"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["hashRecords", "data", "hashValue", "type", "status", "signals", "x"]), inner
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lists")


def no_list_raises_anything_else(place: Path, name: str, data: bytes) -> None:
    for scope in ("hash", "pdq"):
        with contextlib.suppress(RegistryError, InputError):
            load(place, name, data, scope)


@settings(max_examples=150)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 400), st.integers(0, 40), st.binary(max_size=20))
def test_a_spoilt_list_is_read_or_refused(place, ending, at, cut, noise):
    data = SEEDS[ending].encode()
    no_list_raises_anything_else(place, f"list{ending}", data[:at] + noise + data[at + cut :])


@settings(max_examples=150)
@given(FREE)
def test_any_json_is_read_or_refused(place, document):
    no_list_raises_anything_else(place, "list.json", json.dumps(document).encode())


def picture(pair_id: int, **more) -> dict:
    return {"pair_id": pair_id, "pdq_quality": 100, "sha256": f"{pair_id:064x}", "md5": f"{pair_id:032x}", "phash": -1,
            "pdq": bytes(32), "pdq_dihedral": bytes(256), **more}  # fmt: skip


def test_each_hash_of_a_list_meets_its_own_on_every_engine(make_work):
    turned = bytes(64) + bytes([0x0F, *bytes.fromhex(PDQ)[1:]]) + bytes(160)
    images = [picture(1, md5=MD5), picture(2, sha256=SHA256), picture(3, phash=int(PHASH, 16) - 2**64),
              picture(4, pdq_dihedral=turned), picture(5), picture(6, md5=MD5_2)]  # fmt: skip
    pairs = [{"pair_id": number, "url_key": str(number), "caption": ""} for number in range(1, 7)]
    work = make_work({"registries": [{"name": "list", "path": "list.json", "scope": "hash"}]}, pair=pairs, image=images)
    data = [update(MD5, kind="HASH_MD5"), update(SHA256, kind="HASH_SHA256"), update(PHASH, kind="phash"), update(PDQ),
            update(MD5_2, True, "HASH_MD5"), update(PHOTODNA, kind="HASH_PHOTODNA")]  # fmt: skip
    (work.job.folder / "list.json").write_text(json.dumps(data))
    consult.match_registries(work, datetime.now(UTC))
    work.clear()
    screen.match_lists(work, datetime.now(UTC))
    signals = {(row["pair_id"], row["scope"], row["value"]) for row in work.store.read("signal").to_pylist()}
    assert signals == {(1, "md5", MD5), (2, "sha256", SHA256), (3, "phash", f"{PHASH} at 0 bits"),
                       (4, "pdq", f"{PDQ} at 7 bits")}  # fmt: skip
    extra = work.store.mark("consult", "registry").extra
    assert (extra["registry_malformed"], extra["registry_left_out"]) == ({"list": 0}, {"list": {"photodna": 1}})
