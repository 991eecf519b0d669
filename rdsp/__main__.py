"""`python -m rdsp`: the same as the command `rdsp`."""

from rdsp.cli.main import main

if __name__ == "__main__":
    main()
