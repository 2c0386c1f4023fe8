"""Executors: where jobs run, as the scheduler sees it."""
