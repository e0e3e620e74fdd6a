"""A peer's side of a data benchmark, once: `python data_peers.py WORK OPTIONS`; the last line is a measurement
(bench/data_harness.ts). The work itself is run(options) of data_peer_WORK.py."""

import importlib
import json
import re
import resource
import sys

work, options = sys.argv[1], json.loads(sys.argv[2])
done = importlib.import_module(f"data_peer_{work}").run(options)
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024
print(json.dumps({
    **done,
    "cpuSeconds": sum(u.ru_utime + u.ru_stime for u in usage),
    "peakBytes": peak,
}))
