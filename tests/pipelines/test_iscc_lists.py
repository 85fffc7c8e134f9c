"""Works that are declared by ISCC, from the list to the gate."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import crawl_world
import pytest
from crawl_world import OPEN, World
from PIL import Image

from fairshard.pipelines import consult, screen
from fairshard.pipelines._registries import load_one
from fairshard.schemas.config import Registry
from fairshard.schemas.errors import RegistryError
from fairshard.udfs.decoding import decode
from fairshard.udfs.iscc import picture_units

iscc_lib = pytest.importorskip("iscc_lib")
REGISTRY = {"name": "declared", "path": "declared.txt", "scope": "iscc"}


@pytest.fixture
def world(tmp_path) -> World:
    return crawl_world.make(tmp_path)


def codes(data: bytes) -> dict[str, str]:
    grey = Image.open(io.BytesIO(data)).convert("L").resize((32, 32), Image.Resampling.BICUBIC)
    units = [iscc_lib.gen_image_code_v0(grey.tobytes(), 64), iscc_lib.gen_data_code_v0(data, 64),
             iscc_lib.gen_instance_code_v0(data, 64)]  # fmt: skip
    look, file = units[0]["iscc"], units[2]["iscc"]
    return {"look": look, "file": file, "whole": iscc_lib.gen_iscc_code_v0([unit["iscc"] for unit in units])["iscc"]}


def test_declared_pictures_are_dropped_and_only_jobs_that_list_codes_make_them(world):
    first, second = ((world.folder / "pictures" / f"{number}.jpg").read_bytes() for number in (0, 1))
    again = Image.open(io.BytesIO(second))
    again.save(world.folder / "pictures" / "5.jpg", quality=97)
    pairs = [f"http://a.example/p/{number}.jpg" for number in (0, 1, 2, 5)]
    world.run({"a.example": OPEN}, pairs)
    assert set(world.store.read("image")["iscc_instance"].to_pylist()) == {None}
    (world.folder / "declared.txt").write_text(f"{codes(first)['file']}\n{codes(second)['whole'].lower()}\n")
    world.run({"a.example": OPEN}, pairs, {"extends": "strict", "iscc_max_distance": 4}, registries=[REGISTRY])
    assert world.images_asked() == pairs  # the bytes were not kept
    assert list(world.fates().values()) == ["deny:hash_list", "deny:hash_list", "alive", "deny:hash_list"]
    signals = {row["pair_id"]: row for row in world.store.read("signal").to_pylist() if row["kind"] == "hash_list"}
    assert {row["scope"] for row in signals.values()} == {"iscc"} and len(signals) == 3
    assert sum(" bits" in row["value"] for row in signals.values()) == 1


PAIRS = [{"pair_id": number, "url_key": str(number), "caption": ""} for number in range(1, 7)]


def test_either_unit_tells_on_every_engine(make_work):
    data = gradient()
    look, file = picture_units(data, decode(data))
    common = {"pdq_quality": 100, "iscc_image": ~look, "iscc_instance": 1}
    images = [
        {**common, "pair_id": 1, "iscc_instance": file},
        {**common, "pair_id": 2, "iscc_image": look},
        {**common, "pair_id": 3, "iscc_image": look ^ 1},
        {**common, "pair_id": 4, "iscc_image": look, "pdq_quality": 10},
        {**common, "pair_id": 5, "iscc_image": None, "iscc_instance": None},
        {**common, "pair_id": 6, "iscc_image": look, "iscc_instance": file},
    ]
    work = make_work({"registries": [REGISTRY]}, pair=PAIRS, image=images)
    (work.job.folder / "declared.txt").write_text(codes(data)["whole"])
    consult.match_registries(work, datetime.now(UTC))
    work.clear()
    screen.match_lists(work, datetime.now(UTC))
    found = sorted((row["pair_id"], row["verdict"]) for row in work.store.read("signal").to_pylist())
    assert found == [(1, "deny"), (2, "deny"), (5, "hold"), (6, "deny")]


def test_codes_that_tell_no_picture_are_malformed(tmp_path):
    path = tmp_path / "declared.txt"
    path.write_text(f"{codes(gradient())['whole']}\n" * 30 + "ISCC:GAAXVX4KSZTNNNKS\n")
    assert load_one(Registry(str(path), "declared", "iscc"), str(path)).malformed == 1
    path.write_text("ISCC:GAAXVX4KSZTNNNKS\n")
    with pytest.raises(RegistryError, match="1 of 1 entries are no iscc"):
        load_one(Registry(str(path), "declared", "iscc"), str(path))


def gradient() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    return file.getvalue()
