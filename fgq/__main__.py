"""`python -m fgq` is the command `fgq`."""

from fgq.commands.cli import main

if __name__ == "__main__":
    main()
