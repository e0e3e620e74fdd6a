"""Starts a job from a recipe file and follows it to its end, without a line of anneal's own code.

    python3 examples/client.py RECIPE.yaml        (needs pyzmq and msgpack; the daemon runs: anneal up)

The protocol is described in docs/protocol.md.
"""
import os, sys, uuid
import msgpack, zmq

state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
home = os.environ.get("ANNEAL_HOME") or os.path.join(state, "anneal")
context = zmq.Context()
commands = context.socket(zmq.DEALER)
commands.connect(f"ipc://{home}/anneald.sock")


def call(command, **fields):
    commands.send_multipart([b"1", uuid.uuid4().hex.encode(), msgpack.packb({"command": command, **fields})])
    _version, _request, body = commands.recv_multipart()
    reply = msgpack.unpackb(body)
    if not reply.pop("ok"):
        sys.exit("{code}: {message}".format(**reply["error"]))
    return reply


path = os.path.abspath(sys.argv[1])
with open(path) as file:
    job = call("job.submit", recipe=file.read(), base_dir=os.path.dirname(path), source=path)["job"]["id"]

events = context.socket(zmq.SUB)
events.connect(call("hello")["events"])
events.subscribe(f"job.{job}.")
last = 0
while True:
    # What is stored is complete; what is published only says that there is more.
    for event in call("job.events", job=job, since=last)["events"]:
        last = event["seq"]
        print(event["kind"], event["body"], flush=True)
        if event["kind"] == "state" and event["body"]["state"] in ("succeeded", "failed", "cancelled"):
            sys.exit(event["body"]["state"] != "succeeded")
    if events.poll(timeout=1000):
        events.recv_multipart()
