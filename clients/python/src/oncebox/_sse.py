"""Server-sent events (HTML standard, 9.2): bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerEvent:
    name: str
    data: str
    #: Of this event or of the last one before it that had one.
    last_id: str


class Decoder:
    """Of one stream; pieces may end anywhere."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._begun = False
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that this piece completes."""
        if b"\n" not in piece and b"\r" not in piece and not self._cr():
            # A long line is put together once, not at each of its pieces.
            self._rest.append(piece)
            return
        lines = b"".join([*self._rest, piece]).splitlines(keepends=True)
        # What follows a CR at the very end decides whether it is a line end of its own.
        whole = lines and lines[-1].endswith(b"\n")
        self._rest = [] if whole else lines[-1:]
        for line in lines if whole else lines[:-1]:
            event = self._line(line.rstrip(b"\r\n").decode("utf-8", errors="replace"))
            if event is not None:
                yield event

    def _cr(self) -> bool:
        return bool(self._rest) and self._rest[-1].endswith(b"\r")

    def _line(self, line: str) -> ServerEvent | None:
        if not self._begun:
            self._begun = True
            line = line[1:] if line.startswith("\ufeff") else line
        if not line:
            name, data = self._name, self._data
            self._name, self._data = "", []
            return ServerEvent(name or "message", "\n".join(data), self._id) if data else None
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        return None
