"""What tells a secret from what only looks like one: check digits and plausibility."""

from __future__ import annotations

import base64
import binascii
import re

_DOUBLED = bytes((2 * digit) // 10 + (2 * digit) % 10 for digit in range(10))
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {word[:2]: int(word[2:]) for word in _IBANS.split()}
"""Country to length; source: the IBAN registry of ISO 13616."""


def luhn(digits: bytes) -> bool:
    """Whether the check digit of a payment card number holds (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[digit - 48] if place & 1 else digit - 48
    return total % 10 == 0


def iban(text: bytes) -> bool:
    """Whether ``text``, without spaces, has its country's length and check digits (ISO 7064
    MOD 97-10)."""
    word = text.decode()
    if len(word) != _IBAN_LENGTHS.get(word[:2]):
        return False
    return int("".join(str(int(char, 36)) for char in word[4:] + word[:4])) % 97 == 1


def basic_credentials(text: bytes) -> bool:
    """Whether ``text`` is what follows ``Basic``: base64 of a name, a colon and a password."""
    try:
        return b":" in base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False


def random_looking(text: bytes) -> bool:
    """Whether ``text`` has a digit and a letter, as what is drawn at random mostly has."""
    return re.search(rb"[0-9]", text) is not None and re.search(rb"[A-Za-z]", text) is not None
