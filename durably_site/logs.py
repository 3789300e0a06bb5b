"""Lines of the log that nobody outside can make up."""

from __future__ import annotations

import logging

#: What would begin a line, or what a terminal would obey instead of show.
_CONTROLS = {
    code: repr(chr(code))[1:-1]
    for code in (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029)
}


class Indented(logging.Formatter):
    """Each record begins at the left edge, and its further lines do not.

    Much of what is logged was sent by somebody, such as the name that a sign-in was tried with.
    """

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(_CONTROLS).replace("\n", "\n  ")
