"""From files to windows: find, read, split, scale and cut."""
