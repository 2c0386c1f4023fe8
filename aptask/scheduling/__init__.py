"""The clerk who runs the line of jobs."""
