"""The runtime on Trio: listens, borrows, relays. `rdsp.app` puts it together; engines are in `rdsp_codecs`."""
