"""The runtime on Trio: listens, borrows, relays. `rdsp.app` puts it together; engines are in `rdsp_codecs`."""

import rdsp_codecs  # noqa: F401 - it chooses between compiled modules and written ones, also of this package
