"""The git side: checks, choice of the commit, the staging tree, moves of the checkout, commit and push."""
