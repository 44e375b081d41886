"""From a config and options to a run: read, check, prepare, build."""
