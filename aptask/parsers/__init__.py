"""From what a program writes to how far it is.

Rules: a parser is a pure object, bytes in and Progress out, with neither reactor nor clock nor I/O.
There is one for each program of the table, three for what many programs have in common (`percent`,
`count`, `json`), one that finds out which of them fits (`auto`), and regular expressions for the
rest. They cope with output cut at any byte, lines without an end, colours and bytes that are not
text; they never fall, and do a bounded amount of work for each piece of output.
"""

from aptask.parsers.base import FileSize, Parser, nothing
from aptask.parsers.table import NAMES, make_parser

__all__ = ["NAMES", "FileSize", "Parser", "make_parser", "nothing"]
