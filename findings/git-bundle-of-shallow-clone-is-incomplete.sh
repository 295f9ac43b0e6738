#!/usr/bin/env bash
# A bundle of a shallow clone lacks commits, but `git bundle create` and `git bundle verify` find nothing wrong with it.
# Expected: `create` refuses, or records the missing commits as prerequisites; or at least `verify` reports the bundle.
# Seen with git 2.39.5: both end with 0, and `verify` says "The bundle records a complete history". A clone of it ends
# with 128, "remote did not send all necessary objects". `verify` asks for prerequisites, of which the bundle names none;
# it does so in an empty repository, too. So a backup by bundles from a CI checkout with `--depth` is first missed at the
# restore: only a clone of the bundle is a test. Output:
#   full: create 0, verify 0 (complete history), clone 0
#   shallow: create 0, verify 0 (complete history), clone 128
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
export HOME=$place GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org LC_ALL=C
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
cd "$place"
git --version

git init --quiet --initial-branch=main full
for word in first second; do
    echo "$word" > full/file
    git -C full add file
    git -C full commit --quiet --message="$word"
done
git clone --quiet --depth=1 "file://$place/full" shallow
git init --quiet empty

try() { # REPOSITORY: pack it into a bundle, and use that
    local create=0 verify=0 clone=0 history="no word about the history"
    git -C "$1" bundle create --quiet "$place/$1.bundle" HEAD main || create=$?
    git -C empty bundle verify "$place/$1.bundle" > log 2>&1 || verify=$?
    grep --quiet "records a complete history" log && history="complete history"
    git clone --quiet "$1.bundle" "$1-restored" 2> /dev/null || clone=$?
    echo "$1: create $create, verify $verify ($history), clone $clone"
}

found="$(try full; try shallow)"
echo "$found"
[[ "$found" == "full: create 0, verify 0 (complete history), clone 0
shallow: create 0, verify 0 (complete history), clone 128" ]] || { echo "The behaviour has changed."; exit 1; }
