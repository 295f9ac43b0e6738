"""The git side: the checks, the commit that is to go live, the staging tree, moving the checkout, commit and push."""
