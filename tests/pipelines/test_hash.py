import imagehash
import numpy as np
import pdqhash
from PIL import Image

from fairshard.pipelines.hash import lines


def _files(folder):
    random = np.random.default_rng(0)
    for number in range(40):
        name = folder / f"{number:02d}.png"
        Image.fromarray(random.integers(0, 256, (40 + number * 5, 90, 3), np.uint8)).save(name)
        yield str(name)
        if number % 10 == 0:
            (folder / f"{number}.html").write_text("<html>")
            yield str(folder / f"{number}.html")
            yield str(folder / "missing.png")


def test_lines_are_those_of_one_thread_in_the_order_of_files(tmp_path):
    files = list(_files(tmp_path))
    found = list(lines(files, threads=3))
    assert [line["path"] for line in found] == files
    assert found == list(lines(files, threads=1)) == [line for name in files for line in lines([name])]
    assert [line["error"] for line in found[:4]] == [
        None, "not_an_image", "unreadable: No such file or directory", None
    ]  # fmt: skip


def test_lines_are_the_reference_libraries(tmp_path):
    for line in lines(_files(tmp_path)):
        if line["error"] is None:
            picture = Image.open(line["path"])
            vector, quality = pdqhash.compute(np.asarray(picture))
            theirs = str(imagehash.phash(picture)), np.packbits(vector).tobytes().hex(), quality
            assert (line["phash"], line["pdq"], line["pdq_quality"]) == theirs


def test_lines_stop_with_their_reader(tmp_path):
    asked = []

    def names():
        for number in range(10_000):
            asked.append(number)
            yield str(tmp_path / f"{number}.png")

    reader = lines(names(), threads=2)
    assert next(reader)["path"] == str(tmp_path / "0.png")
    reader.close()
    assert len(asked) < 100
