"""A small invented web to try fairshard on: pictures, hosts, lists, opt-outs, and what must become of each row.

``README.md`` beside this file tells the whole; ``server.SampleWeb`` plays the hosts on loopback.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the sample web lies: ``config.yaml``, ``web.yaml``, lists, registries, pictures, paintings."""
