"""The one kind of error that says: the input was wrong, here is what and what to do."""


class FgqError(ValueError):
    """Bad input. The message is one line that names the file, tensor, scene or parameter and what to do.

    The command line prints the message alone and exits with status 2.
    """
