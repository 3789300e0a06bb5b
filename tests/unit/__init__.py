"""Parts that need no run: values, settings, the registry, discovery."""
