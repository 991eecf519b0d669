"""What tests have to know about compiled modules."""

from __future__ import annotations

import pytest

from rdsp_codecs.choice import CHOICE, COMPILED

looks_inside = pytest.mark.skipif(
    CHOICE.name == COMPILED, reason="puts things into objects that only the written modules let in"
)
