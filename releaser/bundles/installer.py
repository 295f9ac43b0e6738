"""The program that `python3 BUNDLE` runs, on a host that has only Python."""

# Runs from Python 3.8 on, to report a Python that is too old. Whoever starts it trusts the file already: it compares
# the hashes of the tools, so that no damaged file runs, and `releaser bundle install` then verifies the signature.
INSTALLER_TEXT = '''\
"""Install releaser from this bundle unless it is installed, and let it install the bundle itself."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile


def main():
    if sys.version_info < (3, 11):
        sys.exit("error: releaser needs Python 3.11 or newer; start this file with one: python3.11 FILE")
    words, file = sys.argv[1:], os.path.abspath(sys.argv[0])
    if words[:1] in (["-h"], ["--help"]):
        print("usage: python3 FILE --into DIRECTORY (--signers FILE | --unsigned)")
        print("       python3 FILE --only-releaser LINK")
        return
    only_releaser = words[:1] == ["--only-releaser"] and len(words) == 2
    home = os.path.join(os.path.expanduser("~"), ".local", "share", "releaser", "installed")
    if os.geteuid() == 0 and not only_releaser:
        home = "/opt/releaser-bundled"  # which every user can read
    with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as scratch:
        manifest = json.loads(archive.read("manifest.json"))
        tools = [one for one in manifest["files"] if one["path"].startswith("tools/")]
        if manifest["base"] or not tools:
            why = "it is a delta" if manifest["base"] else "it was made with --no-installer"
            sys.exit("error: this file does not contain releaser: %s. On a host with releaser, run `releaser bundle "
                     "install %s`" % (why, file))
        wheels = []
        for one in tools:
            data = archive.read(one["path"])
            if hashlib.sha256(data).hexdigest() != one["sha256"]:
                sys.exit("error: %s is damaged; get the bundle again" % one["path"])
            wheels.append(os.path.join(scratch, one["path"][len("tools/"):]))
            with open(wheels[-1], "wb") as stream:
                stream.write(data)
        sys.path[:0] = [wheel for wheel in wheels if os.path.basename(wheel).startswith("venv_releaser-")]
        from releaser.launcher.build import BuildError
        from releaser.launcher.install import default_link, install_newest, link_program, supported
        program = os.path.join(home, "bin", "releaser")
        by_path = "%s bundle install %s" % (shlex.quote(program), shlex.quote(file))
        try:
            is_new = install_newest(home, wheels)
        except (OSError, BuildError, subprocess.SubprocessError) as error:
            here, there = "%d.%d" % sys.version_info[:2], supported(wheels)
            advice = getattr(error, "advice", "")
            if here not in there:
                advice = "Start the file with one of these. " + advice
            other = "install releaser another way, and run `releaser bundle install %s`" % shlex.quote(file)
            if os.path.exists(program):
                other = "use the releaser that is installed: `%s`" % by_path
            sys.exit("error: releaser cannot be installed in %s with Python %s (%s): the bundle has releaser for "
                     "Python %s on %s. %s Or %s"
                     % (home, here, error, " and ".join(there), manifest["platform"], advice, other))
    link = words[1] if only_releaser else default_link()
    before = os.path.realpath(link)
    if not only_releaser and os.path.exists(link) and before != os.path.realpath(program):
        message = "%s exists and was not replaced; the releaser of this bundle is %s" % (link, program)
        message += ", to repeat: `%s`" % by_path
    else:
        message = link_program(home, link)
        if os.path.dirname(link) not in os.environ.get("PATH", "").split(os.pathsep) and not only_releaser:
            message += "; add %s to PATH, or repeat with `%s`" % (os.path.dirname(link), by_path)
    if not only_releaser:
        print(message, file=sys.stderr)
        os.execv(program, ["releaser", "bundle", "install", file, *words])
    if is_new or before != os.path.realpath(program):
        print(message)


main()
'''
