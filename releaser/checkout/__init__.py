"""The checkout: questions to git, the tree of a candidate, the move to a commit, and the commit of the lock."""
