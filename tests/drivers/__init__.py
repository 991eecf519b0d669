"""Real drivers and frameworks: each runs a program of its own, directly and through the proxy."""
