"""The comparison runner: the same messages on direct connections and through the proxy must get the same answers."""
