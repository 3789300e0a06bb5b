"""Pages for the people who run jobs: views by page, presenters, forms. Reads only.

Whatever changes a run calls the engine.
"""
