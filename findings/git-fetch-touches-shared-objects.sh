#!/usr/bin/env bash
# A fetch into a copy of a repository touches files of the original, if both share their objects by hard links.
# Expected: a fetch writes to its own repository alone. `git clone` of a local path makes such hard links by default.
# Seen with git 2.39.5: git unpacks a small fetch into loose objects, and sets the time of those that exist already. The
# inode is that of the original, too. Nothing is damaged; but backups, and tests of "it writes nothing", see a write.
# With `--keep` what was fetched stays a pack, and nothing is touched. Output:
#   fetch: objects of the original are touched; fetch --keep: untouched
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export HOME=$place GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
cd "$place"
git --version

times() { find "$1/.git/objects" -type f -printf '%P %T@\n' | sort; }
is_touched() { # ORIGINAL OPTION…: fetch into a hard-linked copy, and tell whether the original changed
    local original=$1 before
    shift
    rm -rf copy
    cp -al "$original" copy
    before=$(times "$original")
    git -C copy fetch --quiet "$@" origin main
    [[ "$(times "$original")" != "$before" ]] && echo touched || echo untouched
}

git init --quiet --bare --initial-branch=main remote.git
git init --quiet --initial-branch=main one
cd one
git remote add origin ../remote.git
echo first > file
git add file
git commit --quiet --message=first
git push --quiet --set-upstream origin main
cd ..
git clone --quiet "$place/remote.git" two
echo second > two/file
git -C two commit --quiet --all --message=second
# The same content lies in the first repository already, as a loose object that its history does not have.
echo second > one/other
git -C one hash-object -w other > /dev/null
git -C two push --quiet
git -C one remote set-url origin "$place/remote.git"
find one/.git/objects -type f -exec touch -d 2020-01-01 {} +

default=$(is_touched one)
find one/.git/objects -type f -exec touch -d 2020-01-01 {} +
kept=$(is_touched one --keep)
echo "fetch: objects of the original are $default; fetch --keep: $kept"
[[ "$default $kept" == "touched untouched" ]] || { echo "The behaviour has changed."; exit 1; }
