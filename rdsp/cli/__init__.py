"""The command line. `main` is the console script; each command says only what to do and leaves the doing to others."""
