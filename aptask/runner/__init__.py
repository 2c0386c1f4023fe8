"""The runner: the process that holds jobs' processes on one machine."""
