"""What the pipeline stores of an original: its hashes, its size, and how far two perceptual hashes are apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow import pc, udf
from .colours import colours
from .decoding import MAX_PIXELS, Decoded, Undecodable, decode, media_type
from .pdq import pdq, pdq_dihedral, pdq_with_dihedral
from .phash import phash, phash_hex

__all__ = [
    "Fingerprint",
    "fingerprint",
    "pdq",
    "pdq_dihedral",
    "pdq_distance",
    "phash",
    "phash_distance",
    "phash_hex",
]

_PDQ_BYTES = 32


@dataclass(frozen=True)
class Fingerprint:
    """The original bytes of a picture, in numbers. What cannot be known of bytes that cannot be decoded is None.

    Attributes:
        sha256, md5: of the bytes, hex.
        size_bytes: of the file.
        mime: media type by the bytes; None if they are no image.
        width_px, height_px: as shown, that is upright.
        phash: signed 64-bit integer with the bits of ``imagehash.phash``.
        pdq: 32 bytes whose ``hex()`` is what ThreatExchange prints.
        pdq_quality: 0 to 100.
        pdq_dihedral: PDQ of all eight orientations, if asked for.
        error: one of ``decoding.REASONS``; None where the bytes were decoded.
        error_detail: what was found, for people.
        decoded: the pixels, so that the rendition needs no second decoding.
    """

    sha256: str
    md5: str
    size_bytes: int
    mime: str | None
    width_px: int | None = None
    height_px: int | None = None
    phash: int | None = None
    pdq: bytes | None = None
    pdq_quality: int | None = None
    pdq_dihedral: tuple[bytes, ...] | None = None
    error: str | None = None
    error_detail: str | None = None
    decoded: Decoded | None = field(default=None, repr=False, compare=False)

    @cached_property
    def colours(self) -> bytes | None:
        """768 bytes, made when asked for, see ``colours``; None also where transparency shows nothing on white."""
        return colours(self.decoded.rgb, self.decoded.alpha) if self.decoded else None


def fingerprint(data: bytes, *, max_pixels: int = MAX_PIXELS, dihedral: bool = False) -> Fingerprint:
    """All hashes of an original, from one decoding, which its colours need no second of.

    Args: data: the whole file. max_pixels: see ``decode``. dihedral: also PDQ of the other seven orientations.
    Returns: a row with ``error`` set where the bytes cannot be decoded. Raises nothing.
    """
    sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
    mime = media_type(data)
    try:
        picture = decode(data, max_pixels=max_pixels)
    except Undecodable as error:
        return Fingerprint(sha256, md5, len(data), mime, error=error.reason, error_detail=error.detail)
    code, quality, turns = pdq_with_dihedral(picture.rgb) if dihedral else (*pdq(picture.rgb), None)
    return Fingerprint(
        sha256=sha256,
        md5=md5,
        size_bytes=len(data),
        mime=mime,
        width_px=picture.width_px,
        height_px=picture.height_px,
        phash=phash(picture.luma),
        pdq=code,
        pdq_quality=quality,
        pdq_dihedral=tuple(turns) if turns else None,
        decoded=picture,
    )


@udf(pa.int64(), pa.int64(), returns=pa.int32())
def phash_distance(a: pa.Array, b: pa.Array) -> pa.Array:
    """Bits in which two pHashes differ, 0 to 64.

    Args: a, b: int64[n].
    Returns: int32[n]; null where either is null.
    """
    known = pc.and_(pc.is_valid(a), pc.is_valid(b))
    return _differing_bits(phash_words(a), phash_words(b), known)


@udf(pa.binary(), pa.binary(), returns=pa.int32())
def pdq_distance(a: pa.Array, b: pa.Array) -> pa.Array:
    """Bits in which two PDQ hashes differ, 0 to 256.

    Args: a, b: binary[n], 32 bytes each.
    Returns: int32[n]; null where either is null or has another length.
    """
    known = pc.and_(is_pdq(a), is_pdq(b))
    return _differing_bits(pdq_words(a), pdq_words(b), known)


@udf(pa.string(), returns=pa.int64())
def phash_bits(key: pa.Array) -> pa.Array:
    """A pHash as imagehash prints it, as the signed integer that tables hold.

    Args: key: string[n] of 16 hex digits; null stays null.
    Returns: int64[n]; null where it is no such text.
    """
    numbers = [int(value, 16) if _is_hex(value, 16) else None for value in key.to_pylist()]
    return pa.array(numbers, pa.uint64()).cast(pa.int64(), safe=False)


@udf(pa.string(), returns=pa.binary())
def hex_bytes(key: pa.Array) -> pa.Array:
    """The bytes that hex digits spell, such as a PDQ hash as ThreatExchange prints it.

    Args: key: string[n]; null stays null.
    Returns: binary[n]; null where it is no hex text of whole bytes.
    """
    return pa.array([bytes.fromhex(value) if _is_hex(value) else None for value in key.to_pylist()], pa.binary())


@udf(pa.binary(), pa.int32(), returns=pa.binary())
def pdq_turn(pdq_dihedral: pa.Array, turn: pa.Array) -> pa.Array:
    """PDQ of one of the eight orientations of a picture; 0 is the picture as it is.

    Args: pdq_dihedral: binary[n], 256 bytes each, as ``image`` holds them. turn: int32[n], 0 to 7.
    Returns: binary[n], 32 bytes; null stays null.
    """
    found = pa.nulls(len(turn), pa.binary())
    for at in turn.unique().to_pylist():  # eight at most
        one = pc.binary_slice(pdq_dihedral, at * _PDQ_BYTES, (at + 1) * _PDQ_BYTES)
        found = pc.if_else(pc.equal(turn, at), one, found)
    return found


def _is_hex(text: str | None, digits: int | None = None) -> bool:
    if text is None or len(text) % 2 or (digits is not None and len(text) != digits):
        return False
    return all(char in "0123456789abcdefABCDEF" for char in text)


def phash_words(hashes: pa.Array) -> NDArray[np.uint64]:
    """int64[n] as uint64[n, 1]; null becomes 0."""
    return hashes.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)[:, None]


def is_pdq(hashes: pa.Array) -> pa.Array:
    """bool[n]: which of binary[n] have the 32 bytes of a PDQ hash; null has none."""
    return pc.fill_null(pc.equal(pc.binary_length(hashes), _PDQ_BYTES), False)


def pdq_words(hashes: pa.Array) -> NDArray[np.uint64]:
    """binary[n] as uint64[n, 4]; what is no PDQ hash becomes 0."""
    hashes, known = hashes.cast(pa.binary()), is_pdq(hashes)
    if pc.all(known).as_py() is not True:
        hashes = pc.if_else(known, hashes, pa.scalar(bytes(_PDQ_BYTES), hashes.type))
    # All of one length now, so that the bytes lie side by side.
    _, offsets, data = hashes.buffers()
    first = np.frombuffer(offsets, np.int32)[hashes.offset] if len(hashes) else 0
    return np.frombuffer(data or b"", np.uint64, len(hashes) * 4, first).reshape(-1, 4)


def _differing_bits(a: NDArray[np.uint64], b: NDArray[np.uint64], known: pa.Array) -> pa.Array:
    bits = np.bitwise_count(a ^ b).sum(axis=1, dtype=np.int32)
    return pa.array(bits, pa.int32(), mask=~known.to_numpy(zero_copy_only=False))
