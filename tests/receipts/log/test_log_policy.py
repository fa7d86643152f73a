"""Log policies: every rule of C2SP tlog-policy, and what is accepted."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from witness_policies import LOG, MEMORY, SIGNERS, VLOG, V, load, seen, with_lines
from witnessing import ORIGIN, TWO_KINDS, MemoryLog, log_signer, witness_signer

from safety_receipts.receipts.errors import FileAccessError, IntegrityError, MalformedError
from safety_receipts.receipts.keys import KeyType
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.note import (
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
)
from safety_receipts.receipts.log.formats.policy import WitnessGroup, load_log_policy

QUANTUM = witness_signer(KeyType.ML_DSA_44, "example.com/q")


EXAMPLE = f"""\
# The example of the specification, with keys.
log {VLOG} https://log.example.com

witness X1 {V[0]} https://x1.example.com
witness X2 {V[1]}
witness X3 {V[2]}
group X-witnesses 2 X1 X2 X3

\t # and another organization
witness Y1\t{V[3]}
  witness Y2  \t {V[4]}\t
witness Y3 {V[5]} https://y3.example.com/prefix/
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example_of_the_specification(tmp_path: Path) -> None:
    policy = load(EXAMPLE, tmp_path)
    assert [(log.key, log.url) for log in policy.logs] == [(LOG.public, "https://log.example.com")]
    assert [witness.name for witness in policy.witnesses] == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    assert [witness.key for witness in policy.witnesses] == [one.public for one in SIGNERS[:6]]
    assert policy.witnesses[0].url == "https://x1.example.com"
    assert policy.witnesses[1].url is None
    assert dict(policy.groups) == {
        "X-witnesses": WitnessGroup(2, ("X1", "X2", "X3")),
        "Y-witnesses": WitnessGroup(1, ("Y1", "Y2", "Y3")),
        "X-and-Y": WitnessGroup(2, ("X-witnesses", "Y-witnesses")),
    }
    assert policy.quorum == "X-and-Y"
    accepted = policy.accept(seen({0: 30, 2: 10, 5: 20}))
    assert accepted.time == 30
    assert [one.time for one in accepted.seen] == [30, 10, 20]
    assert policy.accept(seen({0: 30, 1: 9, 2: 10, 4: 7, 5: 20})).time == 10
    for few in ({}, {0: 1}, {0: 1, 1: 1}, {0: 1, 3: 1, 4: 1, 5: 1}, {3: 1, 4: 1, 5: 1}):
        assert not policy.has_quorum(seen(few))
        with pytest.raises(IntegrityError, match=r"asks for \(X-and-Y\), too few"):
            policy.accept(seen(few))


HEAD = f"log {VLOG}\nwitness a {V[0]}\nwitness b {V[1]}\nwitness c {V[2]}\n"


WRITTEN = [
    "quorum none\n",
    f"log {VLOG}\nquorum none\n",
    "\t quorum \t none \t\n",
    "# a comment, of é and tabs\t\n\n \t\n  # another\nquorum none",
    f"{HEAD}quorum a\n",
    f"witness a {V[0]}\nquorum a\nlog {VLOG}\nwitness b {V[1]}\n",
    f"{HEAD}group g 1 a\nquorum g\n",
    f"{HEAD}group g 3 a b c\nquorum g\n",
    f"{HEAD}group all all a b\ngroup any any c all\nquorum any\n",
    f"{HEAD}group 2 2 a b\nquorum 2\n",
    f"{HEAD}group g any a b\nquorum c\n",
    f"{HEAD}group g any a b\nquorum a\n",
    f"witness quorum {V[0]}\nquorum quorum\n",
    f"witness {V[0]} {V[0]}\nquorum {V[0]}\n",
    f"log {VLOG}\nlog {log_signer().public.vkey}\nquorum none\n",
    f"witness a {QUANTUM.public.vkey}\nlog {QUANTUM.public.vkey}\nquorum a\n",
    f"witness K {V[0]}\nwitness \u212a {V[1]}\nquorum \u212a\n",
    f"witness \u00e9 {V[0]}\nwitness e\u0301 {V[1]}\nquorum e\u0301\n",
    f"witness a\u00a0b {V[0]}\nquorum a\u00a0b\n",
    f"witness a\u0085b\u2028 {V[0]}\nquorum a\u0085b\u2028\n",
]


@pytest.mark.parametrize("text", WRITTEN, ids=range(len(WRITTEN)))
def test_what_is_a_policy(text: str, tmp_path: Path) -> None:
    load(text, tmp_path)


REFUSED = [
    ("", 1, "one line with the quorum"),
    (HEAD, 5, "one line with the quorum"),
    (f"{HEAD}quorum none\nquorum none\n", 7, "one line with the quorum"),
    (f"{HEAD}quorum a\nquorum b\n", 7, "one line with the quorum"),
    ("quorum\n", 1, "begins with log, witness, group or quorum"),
    (f"{HEAD}quorum a b\n", 5, "begins with log, witness, group or quorum"),
    (f"{HEAD}quorum d\n", 5, "d is no witness or group of a line before"),
    (f"quorum a\nwitness a {V[0]}\n", 1, "a is no witness or group of a line before"),
    (f"{HEAD}quorum {V[0]}\n", 5, "no witness or group"),
    (f"{HEAD}Quorum none\n", 5, "not Quorum"),
    (f"{HEAD}mirror x\nquorum none\n", 5, "not mirror"),
    ("log\nquorum none\n", 1, "log VKEY"),
    (f"log {VLOG} url more\nquorum none\n", 1, "log VKEY"),
    ("log x\nquorum none\n", 1, "not a vkey"),
    (f"log {VLOG[:-1]}\nquorum none\n", 1, "not a vkey"),
    (f"log {V[0]}\nquorum none\n", 1, "0x01 or 0x06"),
    (f"log {VLOG}\nlog {VLOG}\nquorum none\n", 2, "listed twice"),
    (f"witness {V[0]}\nquorum none\n", 1, "witness NAME VKEY"),
    (f"witness a {V[0]} url more\nquorum none\n", 1, "witness NAME VKEY"),
    (f"witness a {VLOG}\nquorum none\n", 1, "0x04 or 0x06"),
    (f"witness none {V[0]}\nquorum none\n", 1, "none is taken"),
    (f"witness a {V[0]}\nwitness a {V[1]}\nquorum a\n", 2, "a is taken"),
    (f"witness a {V[0]}\nwitness b {V[0]}\nquorum a\n", 2, "listed twice"),
    (f"{HEAD}group g\nquorum a\n", 5, "group NAME"),
    (f"{HEAD}group g any\nquorum a\n", 5, "group NAME"),
    (f"{HEAD}group a any b\nquorum a\n", 5, "a is taken"),
    (f"{HEAD}group none any b\nquorum a\n", 5, "none is taken"),
    (f"{HEAD}group g any a\ngroup g any b\nquorum g\n", 6, "g is taken"),
    (f"{HEAD}group g any a\nwitness g {V[3]}\nquorum g\n", 6, "g is taken"),
    (f"{HEAD}group g any a g\nquorum g\n", 5, "g is no witness or group of a line before"),
    (f"{HEAD}group g any h\ngroup h any a\nquorum g\n", 5, "h is no witness"),
    (f"{HEAD}group g any none\nquorum g\n", 5, "none is no witness"),
    (f"{HEAD}group g any a a\nquorum g\n", 5, "a is a member twice"),
    (f"{HEAD}group g any a b\ngroup h any b c\nquorum h\n", 6, "b is a member twice"),
    (f"{HEAD}group g 0 a b\nquorum g\n", 5, "neither all, any nor a number"),
    (f"{HEAD}group g 3 a b\nquorum g\n", 5, "3 of 2 members"),
    (f"{HEAD}group g -1 a b\nquorum g\n", 5, "neither all, any nor a number"),
    (f"{HEAD}group g 01 a b\nquorum g\n", 5, "neither all, any nor a number"),
    (f"{HEAD}group g \u0661 a b\nquorum g\n", 5, "neither all, any nor a number"),
    (f"{HEAD}group g ALL a b\nquorum g\n", 5, "neither all, any nor a number"),
    (f"{HEAD}quorum none\r\n", 5, "control character"),
    (f"{HEAD}# bell \x07\nquorum none\n", 5, "control character"),
    (f"{HEAD}# delete \x7f\nquorum none\n", 5, "control character"),
    (f"{HEAD}quorum\x0bnone\n", 5, "control character"),
    (f"{HEAD}quorum\u00a0none\n", 5, "begins with log, witness, group or quorum"),
    (f"\ufefflog {VLOG}\nquorum none\n", 1, "begins with"),
]


@pytest.mark.parametrize(("text", "line", "why"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_policy(text: str, line: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=why) as refused:
        load(text, tmp_path)
    assert refused.value.place == f"line {line}"
    assert refused.value.file == str(tmp_path / "policy")


def test_octets_beyond_ascii_are_opaque(tmp_path: Path) -> None:
    text = f"log {VLOG}\nwitness \xff {V[0]} http://\xfe/\nwitness \xc3 {V[1]}\nquorum \xff\n"
    policy = load(text.encode("latin-1"), tmp_path)
    names = [witness.name.encode("utf-8", "surrogateescape") for witness in policy.witnesses]
    assert names == [b"\xff", b"\xc3"]
    assert policy.has_quorum(seen({0: 1}))
    assert not policy.has_quorum(seen({1: 1}))
    # A key's name is UTF-8, or nobody's.
    named = witness_signer(name="example.com/é").public.vkey
    assert load(f"witness a {named}\nquorum a\n", tmp_path).witnesses[0].key.name.endswith("é")
    with pytest.raises(MalformedError, match="not UTF-8"):
        load(f"witness a {named}\nquorum a\n".encode("latin-1"), tmp_path)


def test_a_key_is_one_key_whatever_it_is_called(tmp_path: Path) -> None:
    one = SIGNERS[0].public
    renamed = NoteKey("example.com/other", one.kind, one.material)
    with pytest.raises(MalformedError, match="listed twice"):
        load(f"witness a {one.vkey}\nwitness b {renamed.vkey}\nquorum a\n", tmp_path)
    log = NoteKey("example.com/other", SignatureKind.ED25519, LOG.public.material)
    with pytest.raises(MalformedError, match="listed twice"):
        load(f"log {VLOG}\nlog {log.vkey}\nquorum none\n", tmp_path)


def test_a_weak_key_is_refused(tmp_path: Path) -> None:
    """Under the identity false signatures hold, and nobody's private key is needed."""
    for kind, word in ((SignatureKind.ED25519, "log"), (SignatureKind(4), "witness a")):
        weak = NoteKey("example.com/x", kind, (1).to_bytes(32, "little")).vkey
        with pytest.raises(MalformedError, match="a weak one"):
            load(f"{word} {weak}\nquorum none\n", tmp_path)


def test_files_that_are_long_or_missing(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="No such file"):
        load_log_policy(tmp_path / "none")
    load("#" * 1_000_000 + "\nquorum none\n", tmp_path)
    with pytest.raises(MalformedError, match="1,048,576"):
        load("#" * 1_100_000 + "\nquorum none\n", tmp_path)


def test_many_and_deep(tmp_path: Path) -> None:
    """At least 32 of each are wanted; 900 groups in one another are no trouble either."""
    signers = [witness_signer(name=f"example.com/{number}") for number in range(40)]
    logs = [log_signer(f"example.com/log{number}").public.vkey for number in range(40)]
    lines = [f"log {vkey}" for vkey in [VLOG, *logs]]
    lines += [f"witness {n} {one.public.vkey}" for n, one in enumerate(signers)]
    lines += ["group g0 40 " + " ".join(map(str, range(40)))]
    lines += [f"group g{n + 1} all g{n}" for n in range(900)]
    policy = load("\n".join([*lines, "quorum g900", ""]), tmp_path)
    signed = MEMORY.signed(3)
    made = [one.cosign(signed.checkpoint, n + 1) for n, one in enumerate(signers)]
    assert policy.accept(with_lines(signed, *made)).time == 40
    assert not policy.has_quorum(with_lines(signed, *made[1:]))
    more = [f"group h{n} any g900" if n == 0 else f"group h{n} any h{n - 1}" for n in range(100)]
    with pytest.raises(MalformedError, match="more than 1,024"):
        load("\n".join([*lines, *more, "quorum h99", ""]), tmp_path)


# what is accepted


def test_only_logs_of_the_policy_are_accepted(tmp_path: Path) -> None:
    policy = load(f"{HEAD}quorum none\n", tmp_path)
    assert policy.accept(MEMORY.signed(3)).time is None
    other = MemoryLog(log_signer("example.com/other"))
    with pytest.raises(IntegrityError, match=r"accepts no log example\.com/other"):
        policy.accept(other.signed(3))
    with pytest.raises(IntegrityError, match="did not sign this checkpoint"):
        policy.accept(MemoryLog(log_signer()).signed(3))
    signed = MEMORY.signed(3)
    forged = SignedCheckpoint(
        SignedNote(signed.note.text, MEMORY.signed(4).note.signatures), signed.checkpoint
    )
    with pytest.raises(IntegrityError, match="does not verify"):
        policy.accept(forged)
    impossible = LOG.sign(LogCheckpoint(ORIGIN, 0, bytes(32)))
    with pytest.raises(IntegrityError, match="another root than no tree"):
        policy.accept(impossible)
    # Another log's key under this origin's name is not this log's.
    elsewhere = load(f"log {log_signer().public.vkey}\nquorum none\n", tmp_path)
    with pytest.raises(IntegrityError, match="did not sign"):
        elsewhere.accept(signed)


def test_a_cosignature_of_a_known_witness_that_is_false(tmp_path: Path) -> None:
    policy = load(f"{HEAD}quorum a\n", tmp_path)
    other = SIGNERS[1].cosign(MEMORY.signed(4).checkpoint, 7)
    with pytest.raises(IntegrityError, match=r"a cosignature of example\.com/w1 does not verify"):
        policy.accept(with_lines(seen({0: 5}, 3), other))
    # Of a witness that nobody here knows nothing is said.
    unknown = SIGNERS[5].cosign(MEMORY.signed(4).checkpoint, 7)
    assert policy.accept(with_lines(seen({0: 5}, 3), unknown)).time == 5


def test_the_log_s_own_key_is_no_witness(tmp_path: Path) -> None:
    policy = load(f"{HEAD}quorum a\n", tmp_path)
    with pytest.raises(IntegrityError, match="too few"):
        policy.accept(MEMORY.signed(3))


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_witnesses_of_both_kinds(kind: KeyType, tmp_path: Path) -> None:
    signer = witness_signer(kind, "example.com/any")
    policy = load(f"log {VLOG}\nwitness any {signer.public.vkey}\nquorum any\n", tmp_path)
    signed = MEMORY.signed(9)
    assert policy.accept(with_lines(signed, signer.cosign(signed.checkpoint, 77))).time == 77
    other = witness_signer(kind, "example.com/any")
    with pytest.raises(IntegrityError, match="too few"):
        policy.accept(with_lines(signed, other.cosign(signed.checkpoint, 77)))
    with pytest.raises(IntegrityError, match="does not verify"):
        policy.accept(with_lines(signed, signer.cosign(MEMORY.signed(8).checkpoint, 77)))
    with pytest.raises(IntegrityError, match="does not verify"):
        policy.accept(with_lines(signed, signer.cosign(signed.checkpoint, 2**63)))


def test_a_log_that_signs_with_ml_dsa(tmp_path: Path) -> None:
    signer = witness_signer(KeyType.ML_DSA_44, ORIGIN)
    policy = load(f"log {signer.public.vkey}\nwitness a {V[0]}\nquorum a\n", tmp_path)
    checkpoint = MEMORY.signed(3).checkpoint
    line = signer.cosign(checkpoint, 4)
    signed = SignedCheckpoint(SignedNote(checkpoint.text(), (line,)), checkpoint)
    assert policy.accept(with_lines(signed, SIGNERS[0].cosign(checkpoint, 6))).time == 6
    with pytest.raises(IntegrityError, match="did not sign"):
        policy.accept(MEMORY.signed(3))


def test_an_origin_that_no_message_of_ml_dsa_holds(tmp_path: Path) -> None:
    log = log_signer("a" * 256)
    policy = load(f"log {log.public.vkey}\nwitness q {QUANTUM.public.vkey}\nquorum q\n", tmp_path)
    key = QUANTUM.public
    line = NoteSignature(key.name, key.id, bytes(8 + 2420))
    with pytest.raises(IntegrityError, match="does not verify"):
        policy.accept(with_lines(MemoryLog(log).signed(3), line))


def test_of_several_cosignatures_the_earliest_counts(tmp_path: Path) -> None:
    policy = load(f"{HEAD}quorum a\n", tmp_path)
    again = SIGNERS[0].cosign(MEMORY.signed(5).checkpoint, 3)
    assert policy.accept(with_lines(seen({0: 5}), again)).time == 3


def test_who_says_no_time_has_seen_it_and_nobody_knows_when(tmp_path: Path) -> None:
    policy = load(f"{HEAD}group g 2 a b c\nquorum g\n", tmp_path)
    assert policy.accept(seen({0: 0, 1: 8})).time is None
    assert policy.accept(seen({0: 0, 1: 8, 2: 9})).time == 9


def test_every_subset_of_the_example_s_witnesses(tmp_path: Path) -> None:
    policy, number = load(EXAMPLE, tmp_path), 0
    for size in range(7):
        for who in combinations(range(6), size):
            wanted = len({0, 1, 2} & set(who)) >= 2 and bool({3, 4, 5} & set(who))
            assert policy.has_quorum(seen(dict.fromkeys(who, 1))) is wanted
            number += 1
    assert number == 64
