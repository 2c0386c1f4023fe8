"""The `aptask` command: a client for people and shells."""
