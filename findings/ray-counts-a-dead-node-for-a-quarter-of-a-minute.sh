#!/usr/bin/env bash
# ray 2.60.0: a node that dies (its processes are killed, as by a machine that is gone) is counted on for about a
# quarter of a minute: `cluster_resources()`, `available_resources()` and `nodes()` all have it as before, its idle
# CPUs as free.  A node that is told to leave is gone at once.  Whoever asks whether there is room for work, right
# after work was lost with a node, is told that there is.
# Seen: "told to leave: gone after 0 s" and "killed: gone after 16 s; until then 3 free CPUs too many".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""A node is taken from a cluster on this machine, gracefully and not."""
import sys
import time

import ray
from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


def seconds(graceful):
    """Return how long a node is counted, and whether all three agree until then."""
    node = cluster.add_node(num_cpus=3)
    while ray.cluster_resources()["CPU"] != 4 or ray.available_resources()["CPU"] != 4:
        time.sleep(0.05)
    begun, agree = time.monotonic(), True
    cluster.remove_node(node, allow_graceful=graceful)
    while ray.cluster_resources()["CPU"] != 1 and time.monotonic() - begun < 120:
        if time.monotonic() - begun < 5:  # later they learn of it one after the other
            agree = agree and sum(one["Alive"] for one in ray.nodes()) == 2
            agree = agree and ray.available_resources()["CPU"] == 4
        time.sleep(0.1)
    return time.monotonic() - begun, agree


left, _ = seconds(True)
died, agree = seconds(False)
print(f"told to leave: gone after {left:.0f} s")
print(f"killed: gone after {died:.0f} s; until then {3 if agree else 'not always 3'} free CPUs too many")
ray.shutdown()
cluster.shutdown()
sys.exit(0 if left < 5 < died and agree else "the behaviour has changed")
PY
RAY_USAGE_STATS_ENABLED=0 "$work/env/bin/python" "$work/try.py" >"$work/ray.log" 2>&1 ||
    { tail -n 3 "$work/ray.log"; exit 1; }
grep -E '^(told|killed)' "$work/ray.log"  # between them Ray writes of its own
