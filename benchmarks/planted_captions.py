"""Captions like those of LAION's lists, with planted near-duplicates: which ones belong together is known.

Half of the captions are alone. The others are captions with seven edited copies each; file names and shop pages
with changing numbers; and sentences in which only names change. One in five of those that are alone or edited is
Chinese, one in ten Russian; the words are invented and follow Zipf's law.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Words = tuple[str, ...]

_EVERYDAY = (
    "the of a in and with on for at by to from photo image stock black white red blue new old house sea girl man dog "
    "vector illustration background beautiful vintage wall design art free download"
)
_ENDS = (" | Stock Photo", " - Etsy", " (Large Print)")
_SHOPS = ("Yarnhouse", "Northlamp", "Bluedoor", "Pepperfield", "Oak and Wheel")
_FILES = ("IMG_{}.jpg", "DSC{:05}.JPG", "Screenshot {}.png", "image{}", "{}_large.webp")
_SENTENCE = "{} {} arrives at the {} premiere held at the Grand Palace Theatre on Saturday evening in {}, England"


@dataclass(frozen=True)
class Caption:
    """One caption.

    Attributes:
        text: as a list has it.
        family: number of those it belongs with.
        kind: how it was made; ``original`` for what others are copies of.
        script: Latin, Cyrillic or Chinese.
    """

    text: str
    family: int
    kind: str
    script: str


@dataclass(frozen=True)
class Language:
    """Words of one script, the frequent ones first, and what stands between two of them."""

    script: str
    words: Sequence[str]
    space: str
    lengths: tuple[int, int]

    def word(self, draw: random.Random) -> str:
        """Zipf's law: the rank is as likely as its inverse."""
        return self.words[int(len(self.words) ** draw.random()) - 1]

    def caption(self, draw: random.Random) -> Words:
        return tuple(self.word(draw) for _ in range(draw.randint(*self.lengths)))


def planted(count: int, seed: int = 0) -> list[Caption]:
    """About ``count`` captions, shuffled; the same for the same numbers."""
    draw = random.Random(seed)
    kinds = ((_alone, 50), (_edited, 40), (_files, 4), (_shops, 4), (_sentences, 2))
    captions = [caption for make, percent in kinds for caption in make(draw, count * percent // 100)]
    draw.shuffle(captions)
    return captions


def languages(draw: random.Random) -> tuple[list[Language], list[int]]:
    """The languages and how frequent they are."""
    return [
        Language("Latin", [*_EVERYDAY.split(), *_invented(draw, "bcdfghklmnprstvw", "aeiou", 20_000)], " ", (4, 16)),
        Language("Cyrillic", _invented(draw, "бвгдзклмнпрст", "аеиоу", 20_000), " ", (4, 12)),
        Language("Chinese", [chr(0x4E00 + place * 7) for place in range(2_900)], "", (8, 30)),
    ], [70, 10, 20]


def _invented(draw: random.Random, consonants: str, vowels: str, count: int) -> list[str]:
    syllables = [first + vowel + last for first in consonants for vowel in vowels for last in ("", "", *consonants)]
    return ["".join(draw.choices(syllables, k=draw.choice((1, 2, 2, 3, 3, 4)))) for _ in range(count)]


def _replaced(words: Words, draw: random.Random, language: Language) -> Words:
    place = draw.randrange(len(words))
    return (*words[:place], language.word(draw), *words[place + 1 :])


def _added(words: Words, draw: random.Random, language: Language) -> Words:
    place = draw.randrange(len(words) + 1)
    return (*words[:place], language.word(draw), *words[place:])


def _swapped(words: Words, draw: random.Random, language: Language) -> Words:
    place = draw.randrange(len(words) - 1)
    return (*words[:place], words[place + 1], words[place], *words[place + 2 :])


def _letter(text: str, draw: random.Random, language: Language) -> str:
    place = draw.randrange(len(text))
    return text[:place] + language.word(draw)[0] + text[place + 1 :]


def _by_words(change: Callable[[Words, random.Random, Language], Words]) -> Callable[..., str]:
    return lambda words, draw, language: language.space.join(change(words, draw, language))


def _by_text(change: Callable[[str, random.Random, Language], str]) -> Callable[..., str]:
    return lambda words, draw, language: change(language.space.join(words), draw, language)


EDITS: dict[str, Callable[[Words, random.Random, Language], str]] = {
    "case and punctuation": _by_text(lambda text, draw, language: f"“{text.upper()}!”"),
    "a number added": _by_text(lambda text, draw, language: f"{text} {draw.randrange(10_000)}"),
    "a letter replaced": _by_text(_letter),
    "a word replaced": _by_words(_replaced),
    "a word added": _by_words(_added),
    "two words swapped": _by_words(_swapped),
    "a shop's or site's ending": _by_text(lambda text, draw, language: text + draw.choice(_ENDS)),
}


def _alone(draw: random.Random, count: int) -> Iterator[Caption]:
    known, shares = languages(draw)
    for number in range(count):
        (language,) = draw.choices(known, shares)
        yield Caption(language.space.join(language.caption(draw)), number, "alone", language.script)


def _edited(draw: random.Random, count: int) -> Iterator[Caption]:
    known, shares = languages(draw)
    for number in range(count // (len(EDITS) + 1)):
        (language,) = draw.choices(known, shares)
        words, family = language.caption(draw), 10**8 + number
        yield Caption(language.space.join(words), family, "original", language.script)
        for kind, edit in EDITS.items():
            yield Caption(edit(words, draw, language), family, kind, language.script)


def _files(draw: random.Random, count: int) -> Iterator[Caption]:
    for _ in range(count):
        which = draw.randrange(len(_FILES))
        yield Caption(_FILES[which].format(draw.randrange(10**6)), 2 * 10**8 + which, "file name", "Latin")


def _shops(draw: random.Random, count: int) -> Iterator[Caption]:
    words = languages(draw)[0][0].words
    products = [" ".join(draw.choice(words) for _ in range(3)) for _ in range(200)]
    for _ in range(count):
        product, shop = draw.randrange(len(products)), draw.randrange(len(_SHOPS))
        text = f"{products[product]} {draw.randrange(10**5)} - Buy online at {_SHOPS[shop]}"
        yield Caption(text, 3 * 10**8 + product * len(_SHOPS) + shop, "shop page", "Latin")


def _sentences(draw: random.Random, count: int) -> Iterator[Caption]:
    words = languages(draw)[0][0].words
    for _ in range(count):
        names = [draw.choice(words).title() for _ in range(4)]
        yield Caption(_SENTENCE.format(*names), 4 * 10**8, "names in a sentence", "Latin")
