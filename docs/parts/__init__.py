"""What the site needs beyond Sphinx, myst-nb and its theme: one small extension a module."""
