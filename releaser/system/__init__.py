"""Programs, files, signals and words, without any knowledge of sites and releases."""
