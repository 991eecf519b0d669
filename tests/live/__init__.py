"""Real drivers and command-line clients through the proxy."""
