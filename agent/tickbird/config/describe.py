"""The configuration told to people and editors: JSON Schema and a commented example."""

from __future__ import annotations

from typing import Any

import msgspec

from .loader import NO_KEYS
from .schema import Config

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):[^}]+\}"}
_SCALARS = ("string", "number", "integer", "boolean")


def schema() -> dict[str, Any]:
    """JSON Schema of the file; closed, so that an editor marks an unknown key."""
    (root,), parts = msgspec.json.schema_components(
        [Config], schema_hook=lambda _: {}, ref_template="#/$defs/{name}"
    )
    parts = {name: part for name, part in parts.items() if "properties" in part}
    for part in parts.values():
        for key in NO_KEYS:
            part["properties"].pop(key, None)
        part["additionalProperties"] = False
        part["properties"] = {k: _adjusted(v) for k, v in part["properties"].items()}
    parts["RedactConfig"]["properties"]["patterns"] = {
        "oneOf": [{"enum": ["default", "none"]}, parts["RedactConfig"]["properties"]["patterns"]],
        "default": "default",
    }
    return {"$schema": _DRAFT, "title": "tickbird configuration", **root, "$defs": parts}


def _adjusted(node: Any) -> Any:
    """Without the defaults, which are in parsed form (900.0 for 15m), and with a reference
    allowed wherever a value has a pattern or a list of words to hold to."""
    if isinstance(node, list):
        return [_adjusted(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {key: _adjusted(value) for key, value in node.items() if key != "default"}
    if "written" in node:
        # What stands in the file is not of the type that it becomes when read.
        node.pop("$ref", None)
        node["type"] = node.pop("written")
    if "enum" in node or node.get("type") in _SCALARS or isinstance(node.get("type"), list):
        return {"anyOf": [node, _REFERENCE]}
    return node


EXAMPLE = """\
# tickbird.yaml: everything that can be set, with its default where there is one.
# It runs as it is. What would need a file, a secret or a service of yours is commented out: take
# the # at the very beginning of a line away, and nothing else.
# An empty file is valid. Unknown keys are refused. Paths are absolute (~/ is your home folder).
# Durations: 100ms, 10s, 15m, 1h. Sizes: 64MB, 8MiB, 1GiB. Ratios: 2%, 99.9%.
# Any value may hold ${env:NAME} or ${file:/path}; $${ stands for a literal ${.

instance: default              # name of this agent; its state folder and socket follow it

#service:                      # defaults for the resource of every target
#  namespace: shop             # service.namespace
#  environment: production     # deployment.environment.name

collector:
  endpoint: none               # keeps what it sees to itself; else OTLP/HTTP: http://127.0.0.1:4318
  timeout: 10s                 # for one request
  retry_status: []             # to be tried again beside 429, 502, 503, 504: [500], say
#  headers:                    # secrets by env or file only: "Bearer ${file:/run/secrets/otlp}"
#    x-scope-orgid: shop
#  tls:                        # PEM files; cert and key go together
#    ca: /etc/ssl/certs/ca-certificates.crt
#    cert: /etc/tickbird/cert.pem
#    key: /etc/tickbird/key.pem

backends:                      # where verify -c looks for what it sent
  prometheus: http://127.0.0.1:9090
  loki: http://127.0.0.1:3100
  jaeger: http://127.0.0.1:16686
  alertmanager: http://127.0.0.1:9093
  grafana: http://127.0.0.1:3000

# This key goes before the variable TICKBIRD_STATE_DIR; without both: as root /var/lib/tickbird.
#state_dir: ~/.local/state/tickbird

api:                           # the local page and JSON; loopback only
  listen: 127.0.0.1:8425       # the next free port if taken
#  token_file: ~/.config/tickbird/token  # default: made in the state folder; none: no token asked

intake:
  otlp_http: 127.0.0.1:8426    # where the services' own SDKs may send; the next free port if taken

# Without targets: every Node and Python service of this user that listens on a port.
#targets:
#  - name: checkout            # service.name; else package.json or pyproject.toml, else the command
#    match: {command: "node .*checkout"} # RE2, on the command line with its arguments
#    logs: ["/var/log/checkout/*.log"]
#    http: {url: "http://127.0.0.1:3000/healthz", interval: 10s}
#    scrape: {url: "http://127.0.0.1:3000/metrics", interval: 10s}
#    loop:
#      method: auto            # auto, trace, probe, attach (puts a probe into a running Node)
#      stall_threshold: 100ms  # an iteration of at least this long is a stall
#    slo: {availability: 99.9%, latency: {p99: 300ms}}
#    labels: {team: payments}  # become resource attributes
#  - {name: by-pid, match: {pid: 4711}}  # the other ways to find a process; one per target
#  - {name: by-pidfile, match: {pidfile: /run/app.pid}}
#  - {name: by-port, match: {port: 8000}}
#  - {name: by-unit, match: {unit: billing.service}}         # systemd unit
#  - {name: by-container, match: {container: 3f2a9c81d0e4}}  # id, 12 characters or more
#  - {name: only-logs, logs: ["/var/log/nginx/access.log"]}

logs:
  start_at: beginning          # beginning or end; for files never seen before
  compressed: false            # true reads rotated files that are compressed (.gz) too
  format: auto                 # auto, json, logfmt, plain, cri, docker
  multiline: auto              # auto joins the lines of stack traces; none leaves them apart
  correlate: true              # put trace and correlation ids on records
#  rate_limit:                 # of each service; what is above is dropped, counted and told
#    lines_per_second: 1000
#    burst: 10000              # lines at once; default: ten seconds' worth
  mode: structured             # structured, or raw: the line as it is, for a Collector that parses

redact:
  patterns: default            # default, none, or a list: [default, email, "CUST-[0-9]{8}"]
  keys: [card_number]          # fields whose values never leave, beside the shipped ones
  mode: mask                   # mask, or hash: the same secret looks the same; needs a salt
#  salt: ${env:TICKBIRD_SALT}  # 16 characters or more; by env or file only

recorder:                      # the last minutes, in memory
  keep: 15m
  memory: 8MiB

spool:
  size: 1GiB                   # most that output of `tickbird exec` may wait on disk

budget:                        # what the agent may cost; health says when it is exceeded
  cpu: 2%                      # of one core, for measuring; what is beyond it is shed
  memory: 64MiB

sampling:
  interval: 1s                 # how often a process is measured
  export_interval: 10s         # how often metrics are sent
"""
