"""The demonstration: a workflow that hashes a directory tree and survives being killed at any moment.

``tree`` walks, ``manifest`` writes, ``activities`` wraps both, ``workflows`` orders them, ``program`` is the command.
"""
