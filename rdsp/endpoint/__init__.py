"""Listening addresses and what is behind them; called by `rdsp.app`."""
