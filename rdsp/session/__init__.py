"""One client's stay, from accept to close."""
