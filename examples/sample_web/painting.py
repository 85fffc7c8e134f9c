"""Draws ``paintings/``: invented landscapes of invented painters, so that no real work is ever opted out.

Maintainers only: see ``build.py``. A seed always gives the same painting.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

WIDTH_PX, HEIGHT_PX = 288, 216
Colour = tuple[int, int, int]

SKIES: dict[str, tuple[Colour, Colour]] = {
    "a pale morning sky": ((160, 200, 235), (250, 225, 190)),
    "an orange evening sky": ((240, 120, 50), (255, 215, 120)),
    "a dark night sky": ((10, 14, 50), (50, 60, 120)),
    "a grey rainy sky": ((120, 128, 140), (190, 195, 200)),
    "a bright blue sky": ((40, 120, 220), (170, 215, 250)),
    "a violet sky": ((90, 40, 130), (230, 160, 190)),
}
GROUNDS: dict[str, Colour] = {
    "green": (60, 130, 60),
    "golden": (205, 165, 60),
    "snowy": (235, 240, 245),
    "dark": (45, 50, 45),
    "red": (170, 70, 50),
    "blue": (50, 90, 150),
}
CANVAS = (WIDTH_PX, HEIGHT_PX)


@dataclass(frozen=True)
class Painting:
    """A picture and what one sees on it."""

    subject: str
    caption: str
    image: Image.Image


def painted(seed: int) -> Painting:
    """The painting of a seed: RGB, 288 by 216 pixels or upright."""
    chance = random.Random(seed)
    sky = chance.choice(sorted(SKIES))
    ground = chance.choice(sorted(GROUNDS))
    image = Image.linear_gradient("L").resize(CANVAS)
    top, bottom = (Image.new("RGB", CANVAS, colour) for colour in SKIES[sky])
    image = Image.composite(bottom, top, image)
    subject = chance.choice(sorted(SUBJECTS))
    seen = SUBJECTS[subject](ImageDraw.Draw(image), chance, ground)
    if chance.random() < 0.3:
        image = image.crop((0, 0, HEIGHT_PX, HEIGHT_PX))
    return Painting(subject, f"{seen} under {sky}", image)


def _hills(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    count = chance.randint(2, 4)
    _disc(draw, chance.randint(30, WIDTH_PX - 30), chance.randint(25, 80), chance.randint(12, 30), (255, 240, 170))
    for layer in range(count):
        base, swing, phase = 90 + layer * 35, chance.randint(12, 40), chance.uniform(0, 6)
        pace = chance.uniform(0.01, 0.04)
        line = [(x, base + swing * math.sin(phase + x * pace)) for x in range(0, WIDTH_PX + 6, 6)]
        _below(draw, line, _shade(GROUNDS[ground], 1.25 - 0.25 * layer))
    return f"A painting of {_number(count)} {ground} hills"


def _peaks(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    count = chance.randint(2, 5)
    for peak in range(count):
        x, top = (peak + chance.uniform(0.2, 0.8)) * WIDTH_PX / count, chance.randint(30, 110)
        half = chance.randint(50, 110)
        side = _shade(GROUNDS[ground], chance.uniform(0.5, 1.0))
        draw.polygon([(x - half, HEIGHT_PX), (x, top), (x + half, HEIGHT_PX)], fill=side)
        draw.polygon([(x, top), (x + half, HEIGHT_PX), (x, HEIGHT_PX)], fill=_shade(side, 0.6))
        draw.polygon([(x - half * 0.2, top + 25), (x, top), (x + half * 0.2, top + 25)], fill=(250, 250, 255))
    return f"A painting of {_number(count)} steep mountains with snow on their {ground} tops"


def _boats(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    horizon = chance.randint(90, 150)
    draw.rectangle((0, horizon, WIDTH_PX, HEIGHT_PX), fill=_shade((40, 90, 140), chance.uniform(0.6, 1.3)))
    count = chance.randint(1, 4)
    for _ in range(count):
        x, y, size = chance.randint(40, WIDTH_PX - 40), chance.randint(horizon, HEIGHT_PX - 25), chance.randint(18, 44)
        draw.polygon([(x, y - 2 * size), (x, y), (x + size, y)], fill=_shade(GROUNDS[ground], 1.3))
        draw.polygon([(x - 4, y - 1.6 * size), (x - 4, y), (x - size, y)], fill=(245, 240, 225))
        draw.polygon([(x - size, y + 3), (x + size, y + 3), (x + 0.7 * size, y + 14), (x - 0.7 * size, y + 14)],
                     fill=(90, 50, 30))  # fmt: skip
    return f"A painting of {_number(count)} {_plural('boat', count)} with {ground} sails on the sea"


def _town(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    draw.rectangle((0, 180, WIDTH_PX, HEIGHT_PX), fill=GROUNDS[ground])
    x, count = chance.randint(-10, 30), 0
    while x < WIDTH_PX - 20:
        width, height = chance.randint(22, 60), chance.randint(30, 130)
        wall = _shade(GROUNDS[chance.choice(sorted(GROUNDS))], chance.uniform(0.7, 1.3))
        draw.rectangle((x, 190 - height, x + width, 190), fill=wall)
        draw.polygon([(x - 4, 190 - height), (x + width / 2, 165 - height), (x + width + 4, 190 - height)],
                     fill=_shade((150, 50, 40), chance.uniform(0.6, 1.2)))  # fmt: skip
        for floor in range(200 - height, 180, 22):
            draw.rectangle((x + 7, floor, x + 15, floor + 11), fill=(255, 235, 150))
        x, count = x + width + chance.randint(2, 26), count + 1
    return f"A painting of {_number(count)} old houses on {ground} ground"


def _trees(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    draw.rectangle((0, 150, WIDTH_PX, HEIGHT_PX), fill=GROUNDS[ground])
    count = chance.randint(2, 7)
    for _ in range(count):
        x, foot, size = chance.randint(20, WIDTH_PX - 20), chance.randint(155, 205), chance.randint(22, 50)
        draw.rectangle((x - 4, foot - size, x + 4, foot), fill=(85, 55, 35))
        crown = _shade((70, 120, 50), chance.uniform(0.5, 1.6))
        if chance.random() < 0.5:
            _disc(draw, x, int(foot - 1.6 * size), int(0.8 * size), crown)
        else:
            draw.polygon([(x - 0.7 * size, foot - size / 2), (x, foot - 2.6 * size), (x + 0.7 * size, foot - size / 2)],
                         fill=crown)  # fmt: skip
    return f"A painting of {_number(count)} trees in a {ground} meadow"


def _jars(draw: ImageDraw.ImageDraw, chance: random.Random, ground: str) -> str:
    draw.rectangle((0, 160, WIDTH_PX, HEIGHT_PX), fill=_shade(GROUNDS[ground], 0.8))
    count = chance.randint(2, 5)
    for jar in range(count):
        x, size = int((jar + chance.uniform(0.25, 0.75)) * WIDTH_PX / count), chance.randint(16, 40)
        glaze = _shade(GROUNDS[chance.choice(sorted(GROUNDS))], chance.uniform(0.7, 1.4))
        foot = chance.randint(165, 200)
        draw.ellipse((x - size, foot - 2 * size, x + size, foot), fill=glaze)
        neck, tall = size // 3, chance.randint(10, 50)
        draw.rectangle((x - neck, foot - 2 * size - tall, x + neck, foot - size), fill=_shade(glaze, 0.85))
        draw.ellipse((x - size // 2, foot - 1.6 * size, x - size // 5, foot - size), fill=(255, 255, 255))
    return f"A still life of {_number(count)} jars on a {ground} table"


SUBJECTS: dict[str, Callable[[ImageDraw.ImageDraw, random.Random, str], str]] = {
    "boats": _boats,
    "hills": _hills,
    "jars": _jars,
    "peaks": _peaks,
    "town": _town,
    "trees": _trees,
}


def _below(draw: ImageDraw.ImageDraw, line: list[tuple[int, float]], colour: Colour) -> None:
    draw.polygon([(0, HEIGHT_PX), *line, (WIDTH_PX + 6, HEIGHT_PX)], fill=colour)


def _disc(draw: ImageDraw.ImageDraw, x: int, y: int, radius: int, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
