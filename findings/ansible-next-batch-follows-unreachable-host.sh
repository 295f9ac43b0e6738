#!/usr/bin/env bash
# With `any_errors_fatal`, a host that cannot be reached ends its batch, but the next batch of the play begins.
# Expected: the play ends on all hosts, as it does after a host whose task fails.
# Seen with ansible-core 2.18.6. A play that ignores unreachable hosts, and whose last task fails for them, ends. Output:
#   a host that fails: none
#   a host that cannot be reached: done-third
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check ansible-core==2.18.6
export HOME="$place" ANSIBLE_HOME="$place/ansible" ANSIBLE_NOCOLOR=1 ANSIBLE_HOST_KEY_CHECKING=0 LC_ALL=C.UTF-8
tools/bin/ansible --version | head -1

cat > play.yml <<'END'
- hosts: sites
  gather_facts: false
  any_errors_fatal: true
  serial: [2, 1]
  tasks:
    - ansible.builtin.command: "{{ program | default('true') }}"
    - ansible.builtin.file: {path: "{{ playbook_dir }}/done-{{ inventory_hostname }}", state: touch, mode: "0600"}
END
roll_out() { # NAME VARIABLES: let the first of three hosts have these; name the hosts on which the last task was done
    rm -f done-*
    cat > hosts.ini <<END
[sites]
first $2
second
third
[sites:vars]
ansible_connection=local
ansible_python_interpreter=$place/tools/bin/python
END
    tools/bin/ansible-playbook -i hosts.ini play.yml > output 2>&1 || true
    echo "$1: $(ls done-* 2> errors || echo none)"
}
found="$(roll_out "a host that fails" "program=false")
$(roll_out "a host that cannot be reached" "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1")"
echo "$found"
[[ "$found" == "a host that fails: none
a host that cannot be reached: done-third" ]] || { echo "The behaviour has changed."; exit 1; }
