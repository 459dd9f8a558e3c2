"""Playroom scenes written in the layouts of public datasets, by code that shares nothing with the readers."""
