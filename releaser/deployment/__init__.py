"""From a sealed release to a site that runs on it, and back."""
