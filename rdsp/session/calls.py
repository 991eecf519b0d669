"""Why a session's turn is wanted: bits of `Splice.call`, plain numbers for speed. `splice` sets them, `run` answers."""

from __future__ import annotations

from typing import Final

REFUSED: Final = 4
CLIENT_GONE: Final = 8
SERVER_GONE: Final = 16
BYE: Final = 32
FAULT: Final = 64
PINNED: Final = 128
STOP: Final = 256
FREE: Final = 512
"""Nothing holds the session back any longer, and it is to stop."""
CANCEL: Final = 1024
"""A cancel came while the session waits for a backend."""
LISTENS: Final = 4096
"""A shared listener would free the session's backend."""
DEAF: Final = 8192
"""The shared listener that heard for the session is lost."""
OVERHEARD: Final = 16384
"""The client does not read what the shared listener hears for it."""
KILL: Final = 32768
"""The client wants another session to be ended, or what that one runs."""
KILLED: Final = 65536
"""Another session wants this one to end."""
ANEW: Final = 131072
"""The client wants to be somebody else."""
ENDING: Final = 2048
"""The session is ending: steps that still come find nothing to do."""
