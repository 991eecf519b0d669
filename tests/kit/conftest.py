"""The example engine's sources, importable as they stand."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "toy-engine"
if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))
