#!/usr/bin/env bash
# `git update-index --no-skip-worktree --no-assume-unchanged FILE` ends with 0, and clears one of the two flags alone.
# Expected: both, or an error about options that exclude each other.
# Seen with git 2.39.5: whatever their order, only assume-unchanged is cleared; skip-worktree stays, so git still does not
# show the change of the file. Two calls clear both. Output:
#   both in one call: S; in the other order: S; in two calls: H
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
export HOME="$place" GIT_CONFIG_NOSYSTEM=1
git --version
git init --quiet
echo one > file
git add file
flag() { git ls-files -v file | cut -c1; }
mark() { git update-index --assume-unchanged file; git update-index --skip-worktree file; }

mark
git update-index --no-skip-worktree --no-assume-unchanged file
first="$(flag)"
mark
git update-index --no-assume-unchanged --no-skip-worktree file
second="$(flag)"
mark
git update-index --no-assume-unchanged file
git update-index --no-skip-worktree file
third="$(flag)"
echo "both in one call: $first; in the other order: $second; in two calls: $third"

if [ "$first$second$third" != SSH ]; then
  echo "git behaves otherwise now" >&2
  exit 1
fi
