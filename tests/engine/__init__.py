"""The engine's promises, one file a subject."""
