"""How a database of each earlier version becomes one of the next.

Rules: a step is never changed once it was released, and `schema.sql` is what all of them lead to.
Each version has its database among the tests, which open it with the present code.
"""

from __future__ import annotations

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""The statements that lead from a version to the one after it."""
