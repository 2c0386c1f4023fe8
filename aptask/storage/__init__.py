"""The book: where jobs are kept."""
