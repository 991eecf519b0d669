"""PostgreSQL's codec goes through the kit by the call that any engine's author makes."""

from __future__ import annotations

import pytest

from rdsp_codecs.postgres import CODEC
from rdsp_codecs.testing import Check, codec_checks


@pytest.mark.parametrize("check", codec_checks(CODEC), ids=str)
def test_postgresql_passes(check: Check) -> None:
    check()
