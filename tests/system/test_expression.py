"""A constant expression does what a compiled one does, and is compiled at its first use."""

import re
from unittest.mock import patch

from releaser.system.expression import expression


def test_it_does_what_a_compiled_one_does() -> None:
    with patch.object(re, "compile", side_effect=re.compile) as compiles:
        word = expression(r"(?P<first>[a-z])\w*", re.IGNORECASE)
        assert not compiles.called
        found = word.fullmatch("Tea")
        assert found is not None
        assert found["first"] == "T"
        assert word.sub("x", "tea and milk") == "x x x"
        assert [*word.finditer("a b")][1].group() == "b"
        assert word.pattern == r"(?P<first>[a-z])\w*"
        assert expression(rb"\d").search(b"a1")
        assert compiles.called
