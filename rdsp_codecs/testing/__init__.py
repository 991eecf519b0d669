"""For engine authors' tests: drive conversations with plain bytes, and two of them against each other. No I/O."""

from rdsp_codecs.testing.duo import Script, duo, play

__all__ = ["Script", "duo", "play"]
