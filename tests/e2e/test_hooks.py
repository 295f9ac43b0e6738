"""The hooks `before_live`, `before_restart`, `after_live` and `on_failure`."""

import json
from typing import Any

import pytest

from tests.e2e.scenes import CODE, NEW_IS_SICK, eventually, mostly_slow, says, silent, step_names
from tests.e2e.test_crash import children
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail

#: Notes what a hook sees, then ends as it is asked to; a nested releaser knows the variables of hooks.
HOOK = """\
import json, os, subprocess, sys, time
name, end = sys.argv[1:]
seen = {key.removeprefix("RELEASER_").lower(): value for key, value in os.environ.items() if key[:9] == "RELEASER_"}
live = os.path.basename(os.path.dirname(os.path.realpath(".venv"))) if os.path.islink(".venv") else ""
record = os.environ["SITE_RECORD"]
with open(record + ".hooks", "a") as file:
    edition, new = (open(os.path.join(place, "shop.py")).read().partition("EDITION = ")[2][:1]
                    for place in (".", seen.get("tree", ".")))
    told = {"live": live, "edition": edition, "new": new, "prefix": sys.prefix, "outcome": json.load(sys.stdin)}
    file.write(json.dumps({"hook": name, **told, **seen}) + "\\n")
if end == "hangs":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)", record], start_new_session=True)
    time.sleep(99)
sys.exit("the vault is closed" if end == "fails" else 0)
"""


def hooks(**ends: str) -> dict[str, str | None]:
    """Return `.env` with a hook for each name, and how it ends."""
    commands = {f"RELEASER_{name.upper()}": f"python hook.py {name} {end}" for name, end in ends.items()}
    return {**commands, "RELEASER_RESTART_TIMEOUT": "5s"}


def calls(site: SampleSite) -> list[dict[str, Any]]:
    """Return what each hook saw, in order, and forget it."""
    path = site.record.with_name(f"{site.record.name}.hooks")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


#: A hook: exit code, live release and subject of the mail if it fails or hangs.
FAILED: dict[str, tuple[int, str, str]] = {
    "before_live": (5, "old", "Failed: site, before_live with alpha 1.1.0"),
    "after_live": (7, "new", "Updated: site, alpha 1.1.0, 1 problem"),
    "on_failure": (5, "old", "Failed: site, tests with alpha 1.1.0"),
}
CASES = [f"{name} {end}" for name in FAILED for end in ("succeeds", "fails", "hangs")]


@pytest.mark.slow
@pytest.mark.parametrize("case", mostly_slow(CASES, "before_live fails", "after_live fails"))
def test_law_10_28_what_a_hook_decides(make_site: SiteFactory, case: str) -> None:
    name, end = case.split()
    is_good = end == "succeeds" and name != "on_failure"
    code, live, subject = (0, "new", "Updated: site, alpha 1.1.0") if is_good else FAILED[name]
    with mail_server() as server:
        mailing = {"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": server.host}
        site = make_site.live(files={"hook.py": HOOK}, dotenv={**mailing, **hooks(**{name: end})})
        site.publish("alpha", "1.1.0", broken=name == "on_failure")
        site.push_from_elsewhere(CODE)
        old, head, restarted = site.live(), site.head(), site.restarted_at()
        finished = site.releaser("update", "--json", check=code)
        assert [mail["Subject"].partition(" [")[0] for _, mail, _ in server.mails] == [subject]
        text = read_mail(server.mails[0][1])
    answer = json.loads(finished.stdout)
    new = next(release for release in site.states() if release != old)
    assert (site.live(), site.head() == head) == ((new, False) if live == "new" else (old, True))
    [seen] = calls(site)
    expected = {"hook": name, "release": new, "previous": old, "live": old, "edition": "1", "result": "failed"}
    if name == "on_failure":
        expected["exit_code"] = "5"
    else:
        is_after = name == "after_live"
        expected |= {"result": "updated" if is_after else "ready", "live": new if is_after else old}
        expected |= {"edition": "2" if is_after else "1"}
        assert (name in step_names(answer), site.restarted_at() == restarted) == (True, live == "old")
    assert {key: seen[key] for key in expected} == expected
    assert "smtp_host" not in seen
    venv = new if name == "before_live" else seen["live"]
    assert seen["prefix"] in (str(site.release(venv) / "venv"), *([str(site.link)] if venv == seen["live"] else []))
    assert seen["new"] == ("2" if name != "on_failure" else "1"), "the tree of `before_live` has the candidate's code"
    assert not list(site.state.glob("shadow-*"))
    outcome = seen["outcome"]
    assert outcome.keys() == answer.keys(), "a hook reads the object that --json prints"
    assert (outcome["result"], outcome["previous"]) == (expected["result"], old if name != "on_failure" else None)
    assert [change["new"] for change in outcome["changes"]] == ["1.1.0"]
    assert (len(outcome["new_commits"]), "build" in step_names(outcome)) == (1, True)
    assert (outcome["exit_code"], new in outcome["headline"]) == (5 if name == "on_failure" else 0, True)
    if end != "succeeds":
        why = "the vault is closed" if end == "fails" else "still running after"
        says(finished, f"`{name}` failed", why)
        assert (why in text) == (name != "on_failure"), "the mail is safe before that hook begins"
    assert not children(site)


@pytest.mark.slow
def test_a_refusal_of_before_live_is_mailed_once_and_asked_again_without_a_build(make_site: SiteFactory) -> None:
    with mail_server() as server:
        mailing = {"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": server.host}
        site = make_site.live(due="1.1.0", dotenv={**mailing, "RELEASER_BEFORE_LIVE": "test -e ../open"})
        says(site.releaser("update", check=5), "`before_live` failed", "RELEASER_BEFORE_LIVE= releaser update")
        again = site.releaser("update", "--json", check=5)
        answer = json.loads(again.stdout)
        assert (again.stderr, answer["result"], answer["failed_gate"]) == ("", "failed", "before_live")
        assert (len(server.mails), site.version("alpha"), site.json("status", check=10)["well"]) == (1, "1.0.0", False)
        site.edit("../open", "")
        silent_steps = step_names(site.json("update"))
        assert (site.version("alpha"), "build" in silent_steps, len(site.test_runs())) == ("1.1.0", False, 1)
        assert len(server.mails) == 2


@pytest.mark.slow
def test_a_rollback_asks_no_before_live_and_runs_the_others(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", files={"hook.py": HOOK})
    first, second = sorted(site.states())
    site.write_dotenv(hooks(before_live="fails", after_live="succeeds", on_failure="succeeds"))
    site.releaser("rollback", check=0)
    [seen] = calls(site)
    assert (seen["hook"], seen["release"], seen["previous"], seen["live"]) == ("after_live", first, second, first)
    site.releaser("rollback", check=9)
    assert calls(site) == []
    site.edit("shop.py", "mine")
    site.releaser("update", check=3)
    assert [(seen["hook"], seen["result"], seen["exit_code"]) for seen in calls(site)] == [
        ("on_failure", "refused", "3")
    ]
    site.write_dotenv(before_live="no-such-program")
    says(site.releaser("check", check=3), "before_live", "no-such-program")


@pytest.mark.slow
def test_on_failure_hears_of_an_automatic_rollback_and_may_ask_releaser(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"hook.py": HOOK})
    program = site.edit("../ask.sh", "set -e; releaser list --json > ../asked; python hook.py on_failure succeeds")
    sick = {"health_check": NEW_IS_SICK, "health_timeout": "0s"}
    site.write_dotenv(hooks(after_live="succeeds"), on_failure=f"sh {program}", **sick)
    old = site.live()
    site.edit("../sick", "")
    assert "on_failure" not in site.releaser("update", check=6).stderr
    [seen] = calls(site)
    assert (seen["result"], seen["exit_code"], seen["previous"], seen["live"]) == ("rolled-back", "6", old, old)
    listed = json.loads((site.outer / "asked").read_text(encoding="utf-8"))
    assert {row["id"] for row in listed} == {old, seen["release"]}


@pytest.mark.slow
def test_law_08_after_live_runs_again_if_a_kill_ended_it(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    program = site.edit("../meet.py", WAITING_TESTS + "\nunittest.main()\n")
    site.write_dotenv(after_live=f"python {program}")
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        process.kill()
        process.wait(timeout=30)
    new = site.live()
    with meeting() as met, site.starting("prune", env=met.env) as process:
        with met.kept_waiting():
            eventually(lambda: (site.state / "journal.json").exists(), "the journal")
        assert process.wait(timeout=60) == 0
    assert (site.live(), site.version("alpha"), site.head()) == (new, "1.1.0", site.remote_head())
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_03_before_live_has_the_products_of_the_candidate_and_the_live_checkout(make_site: SiteFactory) -> None:
    tree = "cp $RELEASER_TREE/made.txt ../made; cp $RELEASER_TREE/uv.lock ../lock"
    tree = f"sh -c '{tree}; realpath $RELEASER_TREE/.venv > ../link; realpath $VIRTUAL_ENV > ../venv; pwd > ../cwd; "
    tree += "echo $DJANGO_SETTINGS_MODULE > ../settings'"
    build = "sh -c 'cat shop.py > made.txt'"
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_BEFORE_BUILD": build, "RELEASER_BEFORE_LIVE": tree})
    wsgi = "import django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.live')\n"
    site.push_from_elsewhere({**CODE, ".gitignore": "made.txt\n.venv\n", "wsgi.py": wsgi})
    before, earlier = site.live(), (site.path / "uv.lock").read_bytes()
    site.releaser("update", check=0)
    assert site.live() != before
    read = {name: (site.outer / name).read_text(encoding="utf-8").strip() for name in ("made", "venv", "cwd", "link")}
    assert read["made"] == CODE["shop.py"].strip() == (site.path / "made.txt").read_text(encoding="utf-8").strip()
    assert (read["venv"], read["link"], read["cwd"]) == (*[str(site.release() / "venv")] * 2, str(site.path))
    assert (site.outer / "settings").read_text(encoding="utf-8").strip() == "shop.live"
    assert (site.outer / "lock").read_bytes() == (site.release() / "uv.lock").read_bytes() != earlier


@pytest.mark.slow
def test_law_04_before_restart_is_part_of_the_change_and_of_the_way_back(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"hook.py": HOOK})
    old = site.live()
    note = site.edit("../note.sh", "readlink .venv >> ../order")
    site.write_dotenv(before_restart="python hook.py before_restart succeeds", restart=f"sh {note}")
    answer = site.json("update")
    names = step_names(answer)
    assert names.index("flip") < names.index("before_restart") < names.index("restart")
    [seen] = calls(site)
    assert (seen["result"], seen["release"], seen["previous"], seen["live"]) == (
        "updated",
        site.live(),
        old,
        site.live(),
    )
    site.releaser("rollback", check=0)
    assert [(seen["release"], seen["live"]) for seen in calls(site)] == [(old, old)]
    site.write_dotenv(before_restart="python hook.py before_restart fails", restart=f"sh {note}")
    site.publish("alpha", "1.2.0")
    finished = site.releaser("update", check=6)
    says(finished, "`before_restart` failed", "the vault is closed", "rolled back")
    forth, back = calls(site)
    assert site.live() == old
    assert (forth["result"], back["result"]) == ("updated", "rolled-back")
    assert (back["release"], back["previous"], back["live"]) == (forth["release"], old, old)
    assert (back["outcome"]["failed_release"], back["outcome"]["release"]) == (forth["release"], old)
    assert "the vault is closed" in back["outcome"]["headline"]
    restarts = (site.outer / "order").read_text(encoding="utf-8").split()
    assert (len(restarts), old in restarts[-1]) == (3, True), "also after a hook that failed on the way back"


@pytest.mark.slow
def test_law_08_before_restart_runs_again_if_a_kill_ended_it(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    program = site.edit("../meet.py", WAITING_TESTS + "\nunittest.main()\n")
    site.write_dotenv(before_restart=f"python {program}")
    restarted = site.restarted_at()
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        process.kill()
        process.wait(timeout=30)
    assert site.restarted_at() == restarted
    with meeting() as met, site.starting("prune", env=met.env) as process:
        with met.kept_waiting():
            assert site.restarted_at() == restarted
        assert process.wait(timeout=60) == 0
    assert (site.restarted_at() == restarted, site.version("alpha")) == (False, "1.1.0")
