"""The releases on disk: the store, the symlink, the journal, leases, retention, integrity."""
