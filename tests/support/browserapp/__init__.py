"""An app whose jobs do what a browser test says."""
