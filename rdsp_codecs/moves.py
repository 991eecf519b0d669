"""What a relay tells its caller.

A relay is called once per chunk, so it makes no objects: each call returns a small set of flags, and the bytes wait
in the relay's two outboxes, `to_server` and `to_client`, in order. The caller empties an outbox before it calls the
relay again.
"""

from __future__ import annotations

from typing import Final

NOTHING: Final = 0
WANT_BACKEND: Final = 1
"""The relay holds client bytes and has no backend: borrow one, then call `attached`."""
OVER: Final = 2
"""The request is over: ledger empty, end mark seen, both directions between frames. See `transaction` and `pins`."""
PINNED: Final = 4
"""A pin was added; `pins.fresh()` tells which."""
UNPINNED: Final = 8
"""A pin was lifted."""
BYE: Final = 16
"""The client said good-bye; whatever it sent afterwards is ignored. Again when nothing is owed to it any more."""
FATAL: Final = 32
"""The server ended the connection in its own words, which are in `to_client`: hand them over, then close both."""
AGAIN: Final = 128
"""With `OVER`: the client has said more meanwhile. When the backend is given back, call `from_client(b"")`."""
VACATE: Final = 256
"""What was handed on fails where a database has connections of others: those that no client could use must close."""
KILL: Final = 1024
"""The client asks that another session's request be cancelled, or the session ended: see `Relay.victim`."""
ANEW: Final = 2048
"""The client wants to be somebody else, on the same connection: all of its session is to end, and a login to begin. See
`Relay.greet_anew`."""
UNFIT: Final = 64
"""The backend cannot be brought into the session's state; nothing of the request has reached it. Borrow another one."""
MORE: Final = 512
"""There was more to do than may be done at once: call `Relay.go_on` after others have had their turn, and neither
`from_client` nor `from_server` before that. May come with any other flag.
"""
