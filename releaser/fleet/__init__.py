"""Many sites of one host: the file that lists them, and commands that ask or update all of them."""
