"""`python -m releaser`."""

from releaser.cli import main

if __name__ == "__main__":
    main()
