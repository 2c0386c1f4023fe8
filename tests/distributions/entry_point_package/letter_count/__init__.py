"""Counts letters."""
