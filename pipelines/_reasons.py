"""Reasons for which rows are left out, in words. Refusals are put into words by their verdict and kind."""

from __future__ import annotations

REASON_WORDS = {
    "duplicate_row": "a row that was there before",
    "null_url": "no URL",
    "bad_url": "not a URL",
    "null_caption": "no caption",
    "damaged_record": "a damaged record of an archive",
    "packed_body": "an archived page in a coding that is not unpacked (Brotli, zstd)",
    "format": "a format that holds no photographs (SVG, GIF, icon)",
    "long_url": "a URL of more than 2,048 characters",
    "short_caption": "a caption of fewer than five characters",
    "left:crawl_delay": "its host wants more time between requests than fetch.max_delay_s",
    "left:pause": "its host asked for a longer pause than fetch.max_delay_s; a later run asks",
    "left:network": "nobody answered any more, so the network had stopped; a later run goes on",
    "left:wait": "its host was waited for as long as fetch.max_wait_s; a later run goes on",
    "cap_caption": "too many with the same caption",
    "cap_creator": "too many by the same creator",
    "cap_domain": "too many from the same domain",
    "cap_visual_cluster": "too many pictures of that kind",
    "cap_template": "too many with nearly the same caption, numbers aside",
    "caption_short": "caption too short",
    "caption_long": "caption too long",
    "small_image": "picture too small",
    "aspect": "picture too long or too wide",
    "language": "caption in another language",
    "p_unsafe": "the source calls it unsafe",
    "p_watermark": "the source sees a watermark",
    "similarity": "caption does not fit the picture, by the source's score",
    "aesthetic": "below the aesthetic score asked for",
}
