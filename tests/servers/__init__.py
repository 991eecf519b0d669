"""Real servers, the proxy as a process, and a raw client, for live tests."""
