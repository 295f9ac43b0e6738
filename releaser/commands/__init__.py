"""The click commands: parse, call one function, render the answer. No logic."""
