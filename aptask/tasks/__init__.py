"""Tasks: what their authors write, and how the daemon comes to know of it without running it."""
