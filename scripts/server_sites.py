"""The small sites of `servers.py`: what a server or a worker runs, and how it is started again."""

OLD, NEW = "1.16.0", "1.17.0"  # of six, by which a page says on which release it runs
APP = """\
import six
VERSION = six.__version__.encode()  # read as the process starts

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(VERSION)))])
    return [VERSION]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    length = (b"content-length", str(len(VERSION)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": VERSION})
"""
# Both masters of a handover have the socket; its Python is that of the symlink.
GUNICORN = """\
def on_starting(server):
    server.START_CTX[0], server.START_CTX["args"][:2] = "{0}/python", ["{0}/python", "{0}/gunicorn"]
"""
TASKS = {
    "celery": """\
import os, time, six
from celery import Celery
folder = os.environ["QUEUE"]
app = Celery("tasks", broker="filesystem://", broker_transport_options={
    "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "-control"})
@app.task(acks_late=True)
def work(number):
    time.sleep(0.3)
    open(os.environ["DONE"], "a").write(f"{number} {six.__version__}\\n")
send = work.delay
""",
    "huey": """\
import os, time, six
from huey import SqliteHuey
app = SqliteHuey(filename=os.environ["QUEUE"] + ".db")
@app.task()
def work(number):
    time.sleep(0.3)
    open(os.environ["DONE"], "a").write(f"{number} {six.__version__}\\n")
send = work
""",
    "rq": """\
import os, time, six
from redis import Redis
from rq import Queue
queue = Queue(connection=Redis(unix_socket_path=os.environ["QUEUE"] + ".sock"))
def work(number):
    time.sleep(0.3)
    open(os.environ["DONE"], "a").write(f"{number} {six.__version__}\\n")
def send(number):
    queue.enqueue(work, number)
""",
}
FEED = """\
import itertools, os, sys, time, tasks
for number in itertools.count():
    tasks.send(number)
    open(os.environ["DONE"] + ".sent", "a").write(f"{number}\\n")
    time.sleep(0.5)
"""
# Stands in for systemd: it holds the socket, starts the command again when it has ended, and names its process.
SUPERVISOR = """\
import os, shlex, signal, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1]))) if sys.argv[2] == "socket" else None
env = dict(os.environ)
if listener:
    os.dup2(listener.fileno(), 3)
while True:
    process = subprocess.Popen(shlex.split(sys.argv[3]), pass_fds=[3] if listener else [])
    open("../server.pid.new", "w").write(str(process.pid))
    os.rename("../server.pid.new", "../server.pid")
    process.wait()
"""
RESTART = """\
old=$(cat ../server.pid); kill -{0} $old
until [ "$(cat ../server.pid)" != $old ]; do sleep 0.05; done
"""
APACHE = """\
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {pid}
ErrorLog {place}/apache.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User nobody
Group nogroup
<Directory {site}>
    Require all granted
</Directory>
Define registry {place}/registry
"""
MODULES = {
    "Passenger": """\
LoadModule passenger_module /usr/lib/apache2/modules/mod_passenger.so
PassengerRoot /usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini
PassengerInstanceRegistryDir ${{registry}}
PassengerUserSwitching off
PassengerDefaultUser nobody
PassengerMaxPoolSize 2
PassengerMinInstances 2
PassengerDisableSecurityUpdateCheck on
PassengerDisableAnonymousTelemetry on
PassengerPython {site}/.venv/bin/python
PassengerAppRoot {site}
DocumentRoot {site}/public
""",
    "mod_wsgi": """\
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
WSGIDaemonProcess shop processes=2 threads=4 python-home={site}/.venv python-path={site}
WSGIProcessGroup shop
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {site}/app.py
""",
}
