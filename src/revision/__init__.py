"""Reads a commit or the working tree under limits: nothing is run, fetched, checked out or followed."""
