"""The actions of a change, one file each. To add one, see capabilities.py."""
