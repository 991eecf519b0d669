"""The configuration: `model` (the values), `load` (TOML to values), `diff` (two of them), `reference` (its own manual).

Objects of the proxy are handed their part of it, never the whole.
"""
