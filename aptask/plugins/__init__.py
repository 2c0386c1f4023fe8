"""Tasks that ship, and those of others: a distribution adds `aptask/plugins/<module>.py` here.

It has no `__init__.py` there. Wherever on `sys.path` it lies, its folder becomes a part of this
package, by the rule of Twisted's plugin system; that one is not asked, since jobs' processes import
this and have no Twisted.
"""

import sys
from pathlib import Path

__all__: list[str] = []

for _entry in sys.path:
    _folder = Path(_entry, "aptask", "plugins").absolute()
    _is_part = _folder.is_dir() and not (_folder / "__init__.py").exists()
    if _is_part and str(_folder) not in __path__:
        __path__.append(str(_folder))
