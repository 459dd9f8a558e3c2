"""Readers of public datasets, a file each, and what they share: files of a download to `Scene`s."""
