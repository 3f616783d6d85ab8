"""`python -m episoded.daemon`: the same as the `episoded` command."""

from .cli import main

if __name__ == "__main__":
    main()
