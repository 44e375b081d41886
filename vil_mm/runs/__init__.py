"""From a config and options to a run: reading, checks, tasks, and what is built."""
