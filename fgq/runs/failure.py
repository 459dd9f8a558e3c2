"""What goes wrong although the input was right."""


class RunFailure(RuntimeError):
    """A chapter crashed or the book did not build. One line; the command line prints it and exits with status 1."""
