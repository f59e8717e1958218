"""Reads a commit or the working tree under limits, without running, fetching, checking out or following anything."""
