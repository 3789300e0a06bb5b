"""What somebody hostile may send, and where to.

``surfaces`` is the table: every page with the parameters that it reads, every form with the
fields that it takes, and every other route that answers a POST. A page or form that is not in
it fails a test, so a new one is attacked as soon as it is there.
"""
