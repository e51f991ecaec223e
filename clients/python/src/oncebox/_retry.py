"""When a call is made again, and after how long."""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Optional

from ._errors import BusyError, ConnectionFailed, OnceboxError

#: The first pause where the service names none, and the longest of those.
FIRST, LONGEST = 0.25, 8.0


class Again(enum.Enum):
    """What is reason enough to make a call again."""

    NEVER = enum.auto()
    #: Only that the service says that it did nothing. So nothing is ever run twice.
    REFUSED = enum.auto()
    #: Also that the connection broke: what is done twice is done once.
    LOST = enum.auto()


@dataclass(frozen=True)
class Retry:
    #: How often a call is made again.
    times: int
    #: Seconds; what would take longer is given up at once.
    patience: float

    def pause(self, failed: OnceboxError, tried: int, again: Again) -> Optional[float]:
        """Seconds until the next try; `None` for none."""
        if tried >= self.times or not _mendable(failed, again):
            return None
        asked = failed.retry_after if isinstance(failed, BusyError) else None
        if asked is None:
            return random.uniform(0.5, 1) * min(LONGEST, FIRST * 2.0**tried)
        # Never earlier than asked, and not all at once.
        return asked + random.uniform(0, 0.25) * min(asked, 4) if asked <= self.patience else None


def _mendable(failed: OnceboxError, again: Again) -> bool:
    if again is Again.NEVER:
        return False
    if isinstance(failed, ConnectionFailed):
        return again is Again.LOST
    if not isinstance(failed, BusyError) or failed.code == "interrupted":
        return False
    # A 503 that is not in the service's words is a proxy's, and that may have passed it on before.
    return failed.status == 429 or failed.code is not None or again is Again.LOST


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds, from a header in seconds or with a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, at - time.time())
