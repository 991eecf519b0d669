"""The codec goes through rdsp's kit for engines."""

import pytest
from rdsp_toy.codec import CODEC
from rdsp_toy.kit import WIRE

from rdsp_codecs.testing import codec_checks


@pytest.mark.parametrize("check", codec_checks(CODEC, WIRE), ids=str)
def test_the_toy_engine(check):
    check()
