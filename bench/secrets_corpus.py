"""Log lines that bear secrets, and lines that only look so, from a seed.

The secrets have the shapes that their issuers document, drawn at random; every one is put into
every kind of place where services log them by mistake.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

_ALNUM = string.ascii_letters + string.digits
_URL = _ALNUM + "-_"
_NAMES = (
    "password", "passwd", "db_password", "apiKey", "x-api-key", "client_secret", "access_token",
    "refreshToken", "AWS_SECRET_ACCESS_KEY", "privateKey", "secret", "Authorization", "Cookie",
)  # fmt: skip


class Planted(NamedTuple):
    """Lines read together and the ``secret`` in them, as a person would read it."""

    kind: str
    place: str
    text: str
    secret: str


def _draw(rng: random.Random, alphabet: str, count: int) -> str:
    # A digit and both cases, as almost every random token has them.
    return "a7Q" + "".join(rng.choices(alphabet, k=count - 3))


def _luhn(digits: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 if place & 1 else 2)
        total += number - 9 if number > 9 else number
    return digits + str(-total % 10)


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice((("4", 16), ("55", 16), ("2221", 16), ("6011", 16), ("37", 15)))
    rest = "".join(rng.choices(string.digits, k=length - 1 - len(prefix)))
    number = _luhn(prefix + rest)
    if rng.random() < 0.5:
        return number
    cuts = (0, 4, 8, 12, 16) if length == 16 else (0, 4, 10, 15)
    return rng.choice(" -").join(number[a:b] for a, b in pairwise(cuts))


def _iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 22), ("FR", 27), ("GB", 22), ("NL", 18)))
    body = "".join(rng.choices(string.digits, k=length - 4))
    if country in ("GB", "NL"):
        body = "ABCD" + body[4:]
    number = int("".join(str(int(char, 36)) for char in f"{body}{country}00"))
    iban = f"{country}{98 - number % 97:02d}{body}"
    if rng.random() < 0.5:
        return iban
    return " ".join(iban[at : at + 4] for at in range(0, length, 4))


def _jwt(rng: random.Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(json.dumps({"sub": rng.random()}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{_draw(rng, _URL, 43)}"


def _pem(rng: random.Random) -> str:
    raw = base64.b64encode(rng.randbytes(rng.randint(80, 300))).decode()
    lines = [raw[at : at + 64] for at in range(0, len(raw), 64)]
    kind = rng.choice(("", "RSA ", "EC ", "ENCRYPTED "))
    return "\n".join(
        [f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"]
    )


_SHAPES: dict[str, Callable[[random.Random], str]] = {
    "aws": lambda rng: "AKIA" + "".join(rng.choices(string.ascii_uppercase + "234567", k=16)),
    "github": lambda rng: rng.choice(("ghp_", "gho_", "ghs_")) + _draw(rng, _ALNUM, 36),
    "github-pat": lambda rng: f"github_pat_{_draw(rng, _ALNUM, 22)}_{_draw(rng, _ALNUM, 59)}",
    "gitlab": lambda rng: "glpat-" + _draw(rng, _URL, 20),
    "slack": lambda rng: f"xoxb-{rng.randint(10**11, 10**12)}-{_draw(rng, _ALNUM, 24)}",
    "stripe": lambda rng: "sk_live_" + _draw(rng, _ALNUM, 24),
    "google": lambda rng: "AIza" + _draw(rng, _URL, 35),
    "openai": lambda rng: "sk-proj-" + _draw(rng, _ALNUM, 48),
    "npm": lambda rng: "npm_" + _draw(rng, _ALNUM, 36),
    "sendgrid": lambda rng: f"SG.{_draw(rng, _URL, 22)}.{_draw(rng, _URL, 43)}",
    "jwt": _jwt,
    "pem": _pem,
    "card": _card,
    "iban": _iban,
}


def _password(rng: random.Random) -> str:
    return "".join(rng.choices(_ALNUM + "!#$%*+-./:=?@^_~", k=rng.randint(8, 24)))


def _escaped(text: str, rng: random.Random) -> str:
    """A JSON string with some of its ASCII characters written as escapes."""
    return "".join(
        f"\\u{ord(char):04x}" if char.isalnum() and rng.random() < 0.2 else json.dumps(char)[1:-1]
        for char in text
    )


_PLACES: dict[str, Callable[[str, random.Random], str]] = {
    "plain": lambda s, _: f"2026-01-02 10:00:00 INFO upstream said {s} and went on",
    "message": lambda s, _: json.dumps({"level": 30, "msg": f"retry with {s}", "n": 1}),
    "deep": lambda s, _: json.dumps({"a": {"b": [{"c": s}, 2]}, "msg": "x"}),
    "field name": lambda s, _: json.dumps({"seen": {s: 1}}),
    "behind an escape": lambda s, _: json.dumps({"err": f"failed:\n{s}\n    at f (a.js:1:2)"}),
    "escaped": lambda s, rng: f'{{"msg":"see {_escaped(s, rng)}","n":1}}',
    "json in json": lambda s, _: json.dumps({"body": json.dumps({"payload": s})}),
    "query": lambda s, _: f'10.0.0.1 "GET /a?x=1&v={s.replace(" ", "-")}&y=2 HTTP/1.1" 200',
    "logfmt": lambda s, _: f'level=info msg="got {s}" took=3ms',
    "exception": lambda s, _: f"ValueError: cannot read {s!r}",
}
_KEYED: dict[str, Callable[[str, str], str]] = {
    "json key": lambda k, s: json.dumps({"a": 1, k: s, "z": 2}),
    "nested key": lambda k, s: json.dumps({"req": {"headers": {k: s}}, "z": 2}),
    "logfmt key": lambda k, s: f"level=info {k}={s} user=bob",
    "quoted logfmt": lambda k, s: f'level=info {k}="{s}" user=bob',
    "header": lambda k, s: f"> {k}: {s}",
    "python repr": lambda k, s: f"config {{'{k}': '{s}', 'user': 'bob'}}",
    "inspect": lambda k, s: f"  '{k}': '{s}',",
    "json in json key": lambda k, s: json.dumps({"body": json.dumps({k: s, "z": 1})}),
}


def planted(seed: int, rounds: int) -> Iterator[Planted]:
    """``rounds`` secrets of every kind in every place that can hold it."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for kind, draw in _SHAPES.items():
            for place, put in _PLACES.items():
                if kind == "pem" and place in ("query", "logfmt", "exception", "plain"):
                    continue  # none of them holds several lines
                yield Planted(kind, place, put(secret := draw(rng), rng), secret)
        yield Planted("pem", "over lines", f"key is\n{(pem := _pem(rng))}\ndone", pem)
        for name in _NAMES:
            for place, write in _KEYED.items():
                yield Planted("key", place, write(name, secret := _password(rng)), secret)
        secret = _password(rng).translate(str.maketrans("@/:?#", "aaaaa"))
        yield Planted("url", "url", f"connect postgres://bob:{secret}@db:5432/shop", secret)
        basic = base64.b64encode(f"bob:{_password(rng)}".encode()).decode()
        yield Planted("basic", "header", f"Authorization: Basic {basic}", basic)
        yield Planted("bearer", "message", f"sent Bearer {(s := _draw(rng, _URL, 40))} to x", s)


def clean(seed: int, count: int) -> Iterator[str]:
    """Lines with no secret, of which many have what looks like one."""
    rng = random.Random(seed)

    def digits(size: int) -> str:
        return "".join(rng.choices(string.digits, k=size))

    def code(size: int) -> str:
        return f"{rng.getrandbits(size * 4):0{size}x}"

    makers: tuple[Callable[[], str], ...] = (
        lambda: json.dumps({"level": 30, "time": int(digits(13)), "reqId": code(32),
                            "responseTime": rng.random() * 100, "msg": "request completed"}),
        lambda: json.dumps({"event": "cart saved", "trace_id": code(32), "span_id": code(16),
                            "duration": rng.random(), "timestamp": "2026-01-02T03:04:05.678901Z"}),
        lambda: f'10.0.0.{rng.randint(1, 254)} - - "GET /i/{digits(6)}?page=2 HTTP/1.1" 200 512',
        lambda: f"order {digits(12)} of customer {digits(8)} shipped by {digits(10)}",
        lambda: f"commit {code(40)} built as sha256:{code(64)}",
        lambda: f"{code(8)}-{code(4)}-4{code(3)}-a{code(3)}-{code(12)} joined the room",
        lambda: f"used max_tokens={digits(4)} prompt_tokens: {digits(3)} tokens per second 12.5",
        lambda: f"the token was refreshed, next token expires in {digits(3)} s",
        lambda: "SyntaxError: Unexpected token: unexpected end of JSON input",
        lambda: "validation failed: password: must be at least 12 characters",
        lambda: "    at Object.<anonymous> (/srv/app/node_modules/express/lib/router.js:284:15)",
        lambda: f'  File "/srv/app/shop/auth.py", line {digits(3)}, in check_password',
        lambda: json.dumps({"dd": {"trace_id": digits(19), "span_id": digits(18)}, "msg": "x"}),
        lambda: f"GET http://cache-{digits(2)}:6379/keys/a@b took {rng.random() * 10}ms",
        lambda: f'time={digits(13)} level=info secretary=bob author=eve key={code(6)} passed=12',
        lambda: f"uploaded s3://bucket/{code(24)}/{digits(14)}.parquet etag {code(32)}",
        lambda: "basic authentication is off, bearer authentication is on",
        lambda: f"pod checkout-{code(10)}-{code(5)} on node ip-10-0-{digits(2)}-{digits(2)} ready",
        lambda: json.dumps({"password": None, "token": "", "secretRotated": True, "n": digits(4)}),
        lambda: base64.b64encode(rng.randbytes(33)).decode(),
    )  # fmt: skip
    for _ in range(count):
        yield rng.choice(makers)()
