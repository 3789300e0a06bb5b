"""The dashboard in a real browser, with a real web process and a real worker."""
