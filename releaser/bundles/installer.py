"""The program that `python3 BUNDLE` runs, on a host that has only Python."""

# Runs from Python 3.8 on, to report a Python that is too old. Whoever starts it trusts the file already: it compares
# the hashes of the tools, so that no damaged file runs, and `releaser bundle install` then verifies the signature.
INSTALLER_TEXT = '''\
"""Install releaser from this bundle unless it is installed, and let it install the bundle itself."""

import glob
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile


def main():
    if sys.version_info < (3, 11):
        sys.exit("error: releaser needs Python 3.11 or newer; start this file with one: python3.11 FILE")
    words, home = sys.argv[1:], os.path.join(os.path.expanduser("~"), ".local", "share", "releaser", "bundled")
    if words[:1] in (["-h"], ["--help"]):
        print("usage: python3 FILE --into DIRECTORY (--signers FILE | --unsigned)")
        print("       python3 FILE --only-releaser LINK")
        return
    file = os.path.abspath(sys.argv[0])
    with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as scratch:
        manifest = json.loads(archive.read("manifest.json"))
        tools = [one for one in manifest["files"] if one["path"].startswith("tools/")]
        if manifest["base"] or not tools:
            why = "it is a delta" if manifest["base"] else "it was made with --no-installer"
            sys.exit("error: this file does not contain releaser: %s. On a host with releaser, run `releaser bundle "
                     "install %s`" % (why, file))
        kind = [one["sha256"] for one in tools] + [sys.base_prefix, *sys.version_info[:2]]
        wanted = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]
        place = os.path.join(home, wanted)
        if not os.path.exists(os.path.join(place, "bin", "releaser")):
            for one in tools:
                data = archive.read(one["path"])
                if hashlib.sha256(data).hexdigest() != one["sha256"]:
                    sys.exit("error: %s is damaged; get the bundle again" % one["path"])
                with open(os.path.join(scratch, one["path"][len("tools/"):]), "wb") as stream:
                    stream.write(data)
            try:
                install(scratch, place)
            except (OSError, subprocess.CalledProcessError) as error:
                here = "Python %d.%d" % sys.version_info[:2]
                sys.exit("error: releaser cannot be installed with %s on this host (%s): the bundle has releaser for "
                         "%s. Start the file with that Python, or install releaser otherwise and run `releaser "
                         "bundle install %s`" % (here, error, describe(tools), file))
    if words[:1] == ["--only-releaser"] and len(words) == 2:
        link_to(os.path.join(place, "bin", "releaser"), words[1])
        return
    os.execv(os.path.join(place, "bin", "releaser"), ["releaser", "bundle", "install", file, *words])


def describe(tools):
    """Say for which Python and platform the wheels of releaser are: the Python that made them, not the site's."""
    tags = [one["path"][:-len(".whl")].split("-")[-3:] for one in tools]
    pythons = sorted({"3." + python[3:] for python, abi, _ in tags if python == abi and python.startswith("cp3")})
    platforms = sorted({platform.split(".")[0] for *_, platform in tags if platform != "any"})
    return "Python %s on %s" % (" and ".join(pythons or ["3"]), " or ".join(platforms or ["any platform"]))


def install(wheels, place):
    (wheel,) = [one for one in os.listdir(wheels) if one.startswith("uv-")]
    uv, every = os.path.join(wheels, "uv"), [os.path.join(wheels, one) for one in sorted(os.listdir(wheels))]
    with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".data/scripts/uv")]
        with archive.open(name) as source, open(uv, "wb") as target:
            shutil.copyfileobj(source, target)
    os.chmod(uv, stat.S_IRWXU)
    for one in glob.glob(os.path.join(glob.escape(os.path.dirname(place)), "*.new")):
        maker = one.split(".")[-2]
        if maker == str(os.getpid()) or not os.path.exists("/proc/" + maker):  # whoever made it was killed
            shutil.rmtree(one, ignore_errors=True)
    fresh = "%s.%d.new" % (place, os.getpid())
    env = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    env["UV_CACHE_DIR"] = os.path.join(wheels, "cache")
    steps = (
        ["venv", "--quiet", "--relocatable", "--python", sys.executable, fresh],
        ["pip", "install", "--quiet", "--offline", "--no-index", "--find-links", wheels, "--link-mode", "copy",
         "--python", os.path.join(fresh, "bin", "python"), *every],
    )
    for words in steps:
        subprocess.run([uv, "--no-config", *words], env=env, check=True)
    try:
        os.rename(fresh, place)
    except OSError:  # another one was as quick
        shutil.rmtree(fresh)


def link_to(program, link):
    if os.path.realpath(link) != os.path.realpath(program):
        os.makedirs(os.path.dirname(os.path.abspath(link)), exist_ok=True)
        fresh = "%s.%d.new" % (link, os.getpid())
        os.symlink(program, fresh)
        os.replace(fresh, link)
        print("%s is %s" % (link, program))


main()
'''
