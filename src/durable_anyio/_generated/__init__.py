"""What is generated from `udl/` and the service's protos. Never edited: `nox -s gen` makes it anew and CI compares."""
