"""What goes wrong, in one line: bad input, or a run that failed although its input was right."""


class FgqError(ValueError):
    """Bad input. The message names the file, tensor, scene or parameter and what to do.

    The command line prints the message alone and exits with status 2.
    """


class RunFailure(RuntimeError):
    """A chapter crashed or the book did not build. The command line prints it and exits with status 1."""
