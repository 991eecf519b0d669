"""For engine authors' tests: a kit that puts any codec through its paces. No I/O. Needs Hypothesis (`rdsp[testing]`).

`check_codec` is the one call; `codec_checks` gives the same as parameters of a test. `duo` and `play` drive a codec's
conversations with plain bytes, for tests of an author's own.
"""

from rdsp_codecs.testing.check_anew import NotShown
from rdsp_codecs.testing.checks import CHECKS, Check, check_codec, codec_checks
from rdsp_codecs.testing.duo import Script, duo, play
from rdsp_codecs.testing.wire import Server, Wire

__all__ = ["CHECKS", "Check", "NotShown", "Script", "Server", "Wire", "check_codec", "codec_checks", "duo", "play"]
