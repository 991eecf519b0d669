"""What happens in the proxy, told to whoever wants to know: events, logs, statistics."""
