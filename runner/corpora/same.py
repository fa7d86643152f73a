"""When two requests are one request, by named rules.

Rows are dropped, queries clustered and pools decontaminated by the rule that a plan names, and what
they come to is sealed: an earlier plan is held to the rule it was made under.
"""

from __future__ import annotations

import unicodedata
from typing import Final

FIRST_REQUEST_RULE: Final = "requests/1"
"""The rule of plans that name none."""

REQUEST_RULE: Final = "requests/2"
"""The rule of plans that are made now."""

REQUEST_RULES: Final = (FIRST_REQUEST_RULE, REQUEST_RULE)
"""All that are known."""


def known_rule(named: str | None) -> str:
    """Return the rule that a plan names, if it is known; else today's.

    That it names another is told by the checks.

    Args:
        named: The plan's ``requestRule``; None: it names none.
    """
    rule = named or FIRST_REQUEST_RULE
    return rule if rule in REQUEST_RULES else REQUEST_RULE


def _characters(ranges: str) -> frozenset[str]:
    """Return the characters of code points written in hex, each alone or first-last."""
    bounds = [part.split("-") for part in ranges.split()]
    return frozenset(
        chr(code) for pair in bounds for code in range(int(pair[0], 16), int(pair[-1], 16) + 1)
    )


IGNORABLE: Final = _characters(
    "00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F "
    "FEFF FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)
"""Characters that show nothing: Default_Ignorable_Code_Point (Unicode 16.0,
DerivedCoreProperties.txt), with the places reserved for more of them."""

FULL_STOPS: Final = _characters(
    "002E 0589 061D-061E 06D4 0700-0702 0837 0839 083D-083E 0964-0965 104A-104B 1362 1368 166E "
    "1735-1736 17D4-17D5 1803 1809 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F "
    "2CF9 2E3C 3002 A4FF A60E A6F3 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11142 111C5-111C6 111CD "
    "111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 16A6E-16A6F 16AF5 "
    "16B37-16B38 16B44 16E98 1BC9F 1DA88"
)
"""What ends a statement in any script: Sentence_Terminal (PropList.txt) as far as Unicode 14.0
assigns it and NFKC leaves it, without question and exclamation marks, which can change what is
asked."""

_ENDS: Final = "".join(sorted(FULL_STOPS)) + " "
_WITHOUT_IGNORABLE: Final = dict.fromkeys(map(ord, IGNORABLE))


def normalised_request(text: str, rule: str = REQUEST_RULE) -> str:
    """Return the form in which two requests are the same request.

    Characters that show nothing are taken out, then comes Unicode NFKC (UAX #15), every run of
    white space becomes one space, and the ends are stripped, of full stops at the end too.  Of a
    request that asks nothing, nothing is left.  Case stays: it can change what is asked.  NFKC is
    stable for characters that are assigned (Unicode stability policy); only those newer than the
    interpreter's tables can differ between Python versions.

    Args:
        text: A request.
        rule: One of :data:`REQUEST_RULES`; by the first, nothing is taken out and full stops
            stay.
    """
    if rule == FIRST_REQUEST_RULE:
        return " ".join(unicodedata.normalize("NFKC", text).split())
    shown = unicodedata.normalize("NFKC", text.translate(_WITHOUT_IGNORABLE))
    return " ".join(shown.split()).rstrip(_ENDS)
