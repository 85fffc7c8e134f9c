"""Times that cannot be: what a clock has left behind that was ahead and has been set back.

What was asked at such a time may be of any age, so it counts as too old; what does not age stands.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# Clocks of the machines of a cluster differ by less.
ALLOWED = timedelta(minutes=5)
# Files come from places that know no time zones.
ALLOWED_OF_FILES = timedelta(days=1)


def ahead(at: datetime, now: datetime | None = None) -> bool:
    """Whether a time that should be over is still to come."""
    return at > (now or datetime.now(UTC)) + ALLOWED
