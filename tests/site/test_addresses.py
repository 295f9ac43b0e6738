"""The administrators' addresses as they stand in the settings."""

from __future__ import annotations

import json

import pytest

from releaser.site.values import Address, addresses, parse_address


def test_pairs_of_name_and_address() -> None:
    assert addresses('[["Ann Müller", "ann@example.org"], [" Bob ", " bob+web@mail.example.org "]]') == (
        Address(name="Ann Müller", address="ann@example.org"),
        Address(name="Bob", address="bob+web@mail.example.org"),
    )


def test_plain_addresses() -> None:
    assert addresses('["ann@example.org", "Bob <bob@localhost>"]') == (
        Address(name="", address="ann@example.org"),
        Address(name="Bob", address="bob@localhost"),
    )


def test_an_empty_list_has_nobody() -> None:
    assert addresses("[]") == ()


@pytest.mark.parametrize("text", ["", "ann@example.org", "[['Ann', 'ann@example.org']]", '[["Ann",', "[" * 100_000])
def test_not_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a JSON list of .*not JSON"):
        addresses(text)


@pytest.mark.parametrize("text", ["{}", '"ann@example.org"', "null", "1", '{"Ann": "ann@example.org"}'])
def test_not_a_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a JSON list of .*not "):
        addresses(text)


@pytest.mark.parametrize(
    "item", [1, None, True, {}, [], ["Ann"], ["Ann", "ann@example.org", "x"], ["Ann", None], [["a", "b@c"]]]
)
def test_a_wrong_item_is_shown_with_its_number(item: object) -> None:
    with pytest.raises(ValueError, match=r"wrong item 2: .* is neither a pair"):
        addresses(json.dumps([["Ann", "ann@example.org"], item]))


def test_a_lone_pair_that_is_not_in_a_list_of_pairs() -> None:
    with pytest.raises(ValueError, match="wrong item 1: the address 'Ann' has no @"):
        addresses('["Ann", "ann@example.org"]')


@pytest.mark.parametrize(
    "address",
    [
        "@example.org",
        "ann@",
        "ann@exam ple.org",
        "ann@b@c",
        "a..b@c",
        "ann@-c",
        "ann@c.",
        "ann,bob@c",
        "<ann@c>",
        "ann@c>",
        "ann(x)@c",
        '"ann"@c',
        "a" * 250 + "@example.org",
    ],
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"wrong item 1: the address .* is not of the form name@domain"):
        addresses(json.dumps([["Ann", address]]))


def test_an_address_outside_of_ascii() -> None:
    with pytest.raises(ValueError, match="is not ASCII"):
        addresses('[["Ann", "ann@müller.example"]]')


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\x1b", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("part", ["name", "address"])
def test_control_characters(part: str, bad: str) -> None:
    name, address = ("Ann" + bad, "ann@example.org") if part == "name" else ("Ann", "ann@example.org" + bad)
    with pytest.raises(ValueError, match=f"the {part} .* has control characters") as caught:
        addresses(json.dumps([[name, address]]))
    assert bad not in str(caught.value)


def test_control_characters_in_a_plain_address() -> None:
    with pytest.raises(ValueError, match="has control characters"):
        addresses(json.dumps(["ann@example.org\nBcc: all@example.org"]))


def test_an_enormous_wrong_value_is_not_shown_whole() -> None:
    with pytest.raises(ValueError, match="wrong item 1") as caught:
        addresses(json.dumps([["Ann", "x" * 10_000]]))
    assert len(str(caught.value)) < 200


def test_no_address_exists_that_cannot_be_mailed_to() -> None:
    with pytest.raises(ValueError, match="not of the form"):
        Address(name="Ann", address="ann@example.org\nBcc: all@example.org")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("r@example.org", ""),
        (" r@example.org ", ""),
        ("<r@example.org>", ""),
        ("Releaser on web1 <r@example.org>", "Releaser on web1"),
        ('"Releaser, web1" <r@example.org>', "Releaser, web1"),
    ],
)
def test_an_address_with_or_without_a_name(text: str, name: str) -> None:
    assert parse_address(text) == Address(name=name, address="r@example.org")


@pytest.mark.parametrize("text", ["", "releaser", "a@b, c@d", "a <b@c> d", "Releaser <r@example.org", "a@b\nX: y"])
def test_what_is_not_one_address(text: str) -> None:
    with pytest.raises(ValueError, match="the address"):
        parse_address(text)
