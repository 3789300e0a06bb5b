"""``make bench-peers``: this engine and others, measured side by side on this machine.

Not part of the product. The others are installed from the registries into a folder of their own
(``install``), each behind an adapter that does the same four things (``adapters``): many steps in
one run, many short runs, picking up, resuming. ``measure`` takes the engines in turn, and
``table`` prints what came of it.
"""
