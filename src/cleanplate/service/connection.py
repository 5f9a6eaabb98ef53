"""The connection: uvicorn's own, that does not wait for ever.

Contract: a request's head must have come `limits.read_seconds` after the connection, or after the last answer's keep
alive was interrupted by its first byte; a body that nobody reads any more must end within that time; a client that
takes no answer off is left after it. Beyond `limits.connections` a new connection is told 503 and closed. (The time for
a body that is read is the body's: see `bodies`.)
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cleanplate.service.limits import Limits

_FULL = b'{"error":"too many connections (--limits.connections); try again in 2 s"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_FULL), _FULL)
)


def connections(limits: Limits) -> type[H11Protocol]:
    """The kind of connection that keeps these limits."""

    class Connection(H11Protocol):
        _reading: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(_REFUSAL)
                transport.close()
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            if not self.transport.is_closing():
                super().data_received(data)
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._reading, self._writing):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def timeout_keep_alive_handler(self) -> None:
            self._leave() if self.transport.get_write_buffer_size() else super().timeout_keep_alive_handler()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._writing = self.loop.call_later(limits.read_seconds, self._leave)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._writing is not None:
                self._writing.cancel()
                self._writing = None

        def _watch(self) -> None:
            """Time runs while a head is awaited, and while a body comes that nobody reads."""
            awaited = self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE
            if not awaited and self._reading is not None:
                self._reading.cancel()
                self._reading = None
            elif awaited and self._reading is None:
                self._reading = self.loop.call_later(limits.read_seconds, self._leave)

        def _leave(self) -> None:
            self.transport.abort()

    return Connection
