"""The backends: found or built, started as compose services or native processes, and proven.

``site`` says where a stack lives, ``recipes`` and ``build`` get its programs, ``backends`` knows
how each is started and asked, ``native`` and ``compose`` run them, ``verify`` proves the path.
Nothing here prints: progress goes to a callable that takes one line of text.
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
