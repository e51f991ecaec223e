"""What the generated models are made with."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any, Optional, Protocol, TypeVar, cast

from ._errors import ScriptFailed

V = TypeVar("V")


def text(raw: bytes) -> str:
    """As text; what is not UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", errors="replace")


def raw(data: Any, name: str) -> bytes:
    """The bytes that the document holds as text or in base64."""
    content = optional_raw(data, name)
    if content is None:
        raise KeyError(name)
    return content


def optional_raw(data: Any, name: str) -> Optional[bytes]:
    if name in data:
        return cast(bytes, data[name].encode("utf-8"))
    encoded = data.get(f"{name}_base64")
    return None if encoded is None else base64.b64decode(encoded, validate=True)


def there(value: Optional[V], whose: object) -> V:
    """What is asked for, where it may be missing."""
    if value is None:
        raise ValueError(f"there is no content: {whose!r}")
    return value


def moment(written: str) -> datetime:
    """A time as in RFC 3339, with any number of digits."""
    # Before 3.11, Python reads neither `Z` nor other than three or six digits.
    written = re.sub(r"[zZ]$", "+00:00", written)
    return datetime.fromisoformat(
        re.sub(r"\.(\d+)", lambda digits: f".{digits[1]:0<6.6}", written)
    )


class _Ended(Protocol):
    @property
    def success(self) -> bool: ...


E = TypeVar("E", bound=_Ended)


class Checked:
    """A result that can be insisted on."""

    def check(self: E) -> E:
        """This result, if the script ended with success; raises `ScriptFailed` otherwise."""
        if not self.success:
            raise ScriptFailed(cast(Any, self))
        return self
