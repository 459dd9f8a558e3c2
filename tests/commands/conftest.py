"""The command line as a function."""

import sys

import pytest


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `fgq` with arguments; returns status, output and error lines."""
    from fgq.commands.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fgq", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return stopped.value.code or 0, told.out, told.err.splitlines()

    return call
