"""A second verifier, written from docs/protocol.md: python independent.py BUNDLE KEY [AUDITOR].

It shares no code with the project; the other files independent_*.py are parts of it.  BUNDLE is the
folder of an event with its evidence and its restricted records, KEY the PEM of an Ed25519 or P-256
public key; the JSON Schemas, which are part of the protocol, are read from schemas/v1.  All that
the levels ``authentic`` and ``consistent`` ask for is derived again, and every commitment opened.
With the key of an AUDITOR, what their audits say of findings is held to the receipt and to what
they say of rates.  The first thing that does not follow is named, and the exit status is 1.
"""

import json
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from independent_audits import check_audits
from independent_findings import check_findings
from independent_rates import (
    JUDGED,
    Document,
    Estimate,
    Z,
    block_of,
    corrected,
    difference,
    fixed_point,
    share,
    shows_nothing,
    stated_interval,
    wilson,
)
from independent_servers import check_servers
from jsonschema import Draft202012Validator
from zstandard import ZstdDecompressor, ZstdError

Key = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

SCHEMAS = Path(__file__).parents[2] / "schemas" / "v1"
REPEATED = ("index", "condition", "query", "draw", "finish", "outcome", "reason", "promptTokens")
GOLD_COUNTS = ("positives", "truePositives", "negatives", "trueNegatives", "unscored")
AUDITS = {
    "urn:safety-receipts:audit-start:2": "audit-start-statement",
    "urn:safety-receipts:audit:2": "audit-statement",
    "urn:safety-receipts:audit-public:1": "audit-public-statement",
}
ANSWERS = {"total": {"sweep"}, "joint": {"sweep", "fixed_harmful"}, "ordering": {"orderings"}}


def require(fact: bool, what: str) -> None:
    """Names what does not follow, unless it does."""
    if not fact:
        raise ValueError(what)


def same(stated: Any, derived: Any, what: str) -> None:
    """Holds a stated value to the derived one, as JSON, where true is not 1."""
    require(rfc8785.dumps(stated) == rfc8785.dumps(derived), f"{what}: {stated!r}, not {derived!r}")


def once(names: list[str], what: str) -> None:
    """Refuses a list that names something twice."""
    require(len(set(names)) == len(names), f"{what}: a name comes twice")


def digest(value: Any) -> str:
    """The hex SHA-256 of a value's RFC 8785 bytes."""
    return sha256(rfc8785.dumps(value)).hexdigest()


# JSON, schemas, files


def parse(data: bytes, what: str, canonical: bool = True) -> Any:
    """Reads strict JSON, that is its own RFC 8785 form unless told otherwise."""

    def refuse(token: Any) -> Any:
        raise ValueError(f"{str(token)[:80]} is not allowed")

    hooks: dict[str, Any] = {
        "object_pairs_hook": lambda xs: dict(xs) if len(dict(xs)) == len(xs) else refuse(xs),
        "parse_int": lambda digits: refuse(digits) if digits == "-0" else int(digits),
        "parse_float": refuse,
        "parse_constant": refuse,
    }
    try:
        value = json.loads(data.decode(), **hooks)
        form = rfc8785.dumps(value)  # refuses lone surrogates, and integers beyond 2^53 - 1
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no strict JSON: {error}") from error
    depth, count, level = 0, 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth, count = depth + 1, count + len(level)
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    require(depth <= 32 and count <= 1_000_000, f"{what} is too deep or too large")
    require(form == data or not canonical, f"{what} is not in RFC 8785 form")
    return value


@cache
def schema_of(name: str) -> Document:
    """A schema, with ``$`` in its patterns as in ECMA 262: the very end."""

    def ends(pairs: list[tuple[str, Any]]) -> Document:
        return {k: v.replace("$", r"\Z") if k == "pattern" else v for k, v in pairs}

    text = (SCHEMAS / f"{name}.schema.json").read_text("utf-8")
    schema: Document = json.loads(text, object_pairs_hook=ends)
    return schema


def fit(value: Any, name: str, what: str) -> None:
    """Holds a value to a schema."""
    for error in Draft202012Validator(schema_of(name)).iter_errors(value):
        raise ValueError(f"{what} does not fit: {error.json_path}: {error.message[:200]}")


def known(value: Any, schema: Document, definitions: Document) -> Any:
    """Leaves out the fields a schema does not name."""
    for choice in schema.get("anyOf", ()):
        value = known(value, choice, definitions)
    if "$ref" in schema:
        return known(value, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if isinstance(value, dict) and (fields := schema.get("properties")):
        return {k: known(v, fields[k], definitions) for k, v in value.items() if k in fields}
    if isinstance(value, list) and "items" in schema:
        return [known(item, schema["items"], definitions) for item in value]
    return value


def regular(path: Path, limit: float = float("inf")) -> Path:
    """Refuses whatever is not a regular file of bearable size."""
    require(path.is_file() and not path.is_symlink(), f"{path.name} is no regular file")
    require(path.stat().st_size <= limit, f"{path.name} is too large")
    return path


def read_lines(path: Path, limit: int) -> Iterator[bytes]:
    """Yields the lines of one zstd frame, each ended by one line feed."""
    frame, rest = ZstdDecompressor(max_window_size=2**27).decompressobj(), b""
    with regular(path).open("rb") as file:
        while chunk := file.read(4096):
            require(not frame.eof, f"{path.name}: bytes after the frame")
            *lines, rest = (rest + frame.decompress(chunk)).split(b"\n")
            require(max(map(len, [*lines, rest])) <= limit, f"{path.name}: a line is too long")
            yield from lines
    require(frame.eof and not frame.unused_data, f"{path.name} is not one whole frame")
    require(not rest, f"{path.name}: the last line is not ended")


# Signatures


def load_key(pem: bytes) -> Key:
    """Reads a public key of one of the two kinds."""
    key = serialization.load_pem_public_key(pem)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise ValueError("the key is neither Ed25519 nor P-256")


def key_id(key: Key) -> str:
    """The key's id, as securesystemslib derives it."""
    coding, form = serialization.Encoding, serialization.PublicFormat
    if isinstance(key, ed25519.Ed25519PublicKey):
        kind, scheme, public = "ed25519", "ed25519", key.public_bytes_raw().hex()
    else:
        public = key.public_bytes(coding.PEM, form.SubjectPublicKeyInfo).decode()
        kind, scheme = "ecdsa", "ecdsa-sha2-nistp256"
    described = f'{{"keytype":"{kind}","keyval":{{"public":"{public}"}},"scheme":"{scheme}"}}'
    return sha256(described.encode()).hexdigest()


def signed(key: Key, signature: bytes, message: bytes) -> bool:
    """Whether the key made this signature over the message."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def unbase64(text: str) -> bytes:
    """Decodes padded base64 in its one canonical form, in either alphabet."""
    data = b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    forms = [b64encode(data, alphabet).decode() for alphabet in (b"+/", b"-_")]
    require(text in forms, "base64 of an envelope: not canonical")
    return data


def open_payload(path: Path, limit: int, key: Key) -> bytes | None:
    """Opens an envelope: what is signed; None: not by this key."""
    what, fields = path.name, ("payload", "payloadType", "signatures")
    envelope = parse(regular(path, limit).read_bytes(), what, canonical=False)
    require(isinstance(envelope, dict), f"{what} is no envelope")
    envelope = {field: value for field, value in envelope.items() if field in fields}
    fit(envelope, "envelope", what)
    payload, kind = unbase64(envelope["payload"]), envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signatures = [unbase64(entry["sig"]) for entry in envelope["signatures"]]
    return payload if any(signed(key, each, message) for each in signatures) else None


def read_statement(payload: bytes, name: str, what: str) -> Document:
    """Reads what is signed, and leaves out what its schema does not name."""
    statement, schema = parse(payload, what), schema_of(name)
    require(isinstance(statement, dict), f"{what} holds no statement")
    require(statement.keys() <= schema["properties"].keys(), f"{what}: unknown field at the root")
    statement = known(statement, schema, schema["$defs"])
    fit(statement, name, what)
    return dict(statement)


def open_statement(path: Path, limit: int, name: str, key: Key) -> tuple[str, Document]:
    """Verifies a signed statement, then reads it: its digest and its predicate."""
    payload = open_payload(path, limit, key)
    if payload is None:
        raise ValueError(f"{path.name}: not signed by KEY")
    statement = read_statement(payload, name, path.name)
    predicate: Document = statement["predicate"]
    checkpoint = predicate["checkpoint"]
    subject = {"name": checkpoint["name"], "digest": {"sha256": checkpoint["root"]}}
    same(statement["subject"], [subject], f"{path.name}: subject")
    return sha256(payload).hexdigest(), predicate


def open_audits(bundle: Path, receipt: str, key: Key) -> dict[str, dict[str, Document]]:
    """The auditor's statements about a receipt, by schema and digest; others' are ignored."""
    found: dict[str, dict[str, Document]] = {name: {} for name in AUDITS.values()}
    for path in sorted((bundle / "audits").glob("*.dsse.json"))[:10_000]:
        if (payload := open_payload(path, 2**25, key)) is None:
            continue
        kind = parse(payload, path.name)["predicateType"]
        if (name := AUDITS.get(kind)) is None:
            continue  # of a version that knows no findings
        statement = read_statement(payload, name, path.name)
        same(path.name, f"{(own := sha256(payload).hexdigest())}.dsse.json", "name of an audit")
        if statement["subject"][0]["digest"]["sha256"] == receipt:
            found[name][own] = statement["predicate"]
    return found


# The plan


def arranged(ordering: str | None, harmful: int, benign: int) -> str:
    """The letters of a fixed ordering, refusal examples left out."""
    h, b, n = "h" * harmful, "b" * benign, harmful + benign
    if ordering == "prefix":
        return h + b
    if ordering == "middle":
        return b[benign // 2 :] + h + b[: benign // 2]
    if ordering == "interleave":
        return "".join("bh"[(i + 1) * harmful // n > i * harmful // n] for i in range(n))
    return b + h


def shuffled(letters: str, *place: Any) -> str:
    """The letters as ``random`` puts them at a place: seed, condition id, block, draw."""
    order = list(letters)
    for i in range(len(order) - 1, 0, -1):
        j = int(digest(["safety-receipts/order/1", *place, i]), 16) % (i + 1)
        order[i], order[j] = order[j], order[i]
    return "".join(order)


def check_condition(condition: Document, plan: Document) -> None:
    """Holds one condition to its own numbers and to the pools."""
    what, shown = f"condition {condition['id']}", plan["demonstrations"]
    harmful, benign, source = (condition[k] for k in ("nHarmful", "nBenign", "benignSource"))
    ordering, context, prefix = (condition[k] for k in ("ordering", "context", "responsePrefix"))
    pools = {each["name"]: each["pool"] for each in shown["benign"]}
    drawn = Counter({source: benign}) + Counter({context["gapSource"]: context["gapTurns"]})
    require((ordering is not None) == (harmful > 0 and benign > 0), f"{what}: ordering")
    require((source is None) == (benign == 0), f"{what}: benignSource")
    require((context["gapSource"] is None) == (context["gapTurns"] == 0), f"{what}: gapSource")
    require(all(n <= pools.get(name, 0) for name, n in drawn.items()), f"{what}: benign pool")
    for kind, number in (("harmful", harmful), ("refusal", context["nRefusal"])):
        require(number <= (shown[kind] or {"pool": 0})["pool"], f"{what}: {kind} pool")
    require(context in plan["contexts"], f"{what}: context")
    require(prefix is None or prefix in plan["responsePrefixes"], f"{what}: responsePrefix")
    name = f"h{harmful}-b{benign}" + (f"-{ordering}" if ordering else "")
    name += f"-src:{source}" if source not in (None, *list(pools)[:1]) else ""
    name += f"-pre:{plan['responsePrefixes'].index(prefix) + 1}" if prefix is not None else ""
    name += f"-ctx:{context['form']}" if context != plan["contexts"][0] else ""
    same(condition["id"], name, f"{what}: id")
    fixed = "r" * context["nRefusal"] + arranged(ordering, harmful, benign)
    same(condition["labels"], None if ordering == "random" else fixed, f"{what}: labels")


def check_grid(plan: Document) -> None:
    """Derives what follows from the conditions, queries and draws."""
    ids, queries = [c["id"] for c in plan["conditions"]], plan["queryIds"]
    draws, experiments = plan["demonstrations"]["draws"], plan["experiments"]
    sources = [each["name"] for each in plan["queries"] for _ in range(each["selected"])]
    same([query.partition("/")[0] for query in queries], sources, "queryIds by source")
    require(any(s["role"] == "harmful" for s in plan["queries"]), "no source of role harmful")
    once(queries, "queryIds")
    once(ids, "conditions")
    same(ids[0], "h0-b0", "baseline")
    for experiment in experiments:
        once(experiment["conditions"], "experiment")
    named = {name for each in experiments for name in each["conditions"]}
    require(set(ids[1:]) <= named <= set(ids), "conditions of the experiments")
    answered = ANSWERS[plan["primary"]] & {each["kind"] for each in experiments}
    require(bool(answered), "no experiment can answer the primary question")
    lists = (block_of(len(queries) - 1, plan) + 1) * draws
    same(plan["demonstrations"]["distinctLists"], lists, "distinctLists")
    same(plan["points"], len(ids) * len(queries) * draws, "points")
    places = [[queries.index(query) for query in g] for g in plan.get("sameQueries") or []]
    require(places == sorted(map(sorted, places)), "sameQueries: order")
    once([queries[place] for group in places for place in group], "sameQueries")


def corpora(plan: Document) -> list[tuple[str | None, Document]]:
    """All sources, each with the kind its place asks for: queries have none."""
    shown = plan["demonstrations"]
    placed = [("harmful", shown["harmful"]), ("refusal", shown["refusal"])]
    placed += [("benign", source) for source in shown["benign"]]
    return [(None, each) for each in plan["queries"]] + [pair for pair in placed if pair[1]]


def check_sources(plan: Document) -> None:
    """Holds the corpora to their own numbers and places."""
    for kind, source in corpora(plan):
        used = ("selected", "pool", "decontaminated", "emptyRows", "duplicateRows", "repeatedRows")
        require(
            sum(source.get(k) or 0 for k in used) <= source["rows"], f"rows of {source['name']}"
        )
        same(source.get("kind"), kind, f"kind of {source['name']}")
    once([each["name"] for each in plan["queries"]], "queries")
    once([each["name"] for each in plan["demonstrations"]["benign"]], "benign sources")
    once([each["form"] for each in plan["contexts"]], "contexts")


def check_checkpoint(checkpoint: Document, engine: str) -> None:
    """Derives the roots of the checkpoint."""
    files, by_parts = checkpoint["files"], checkpoint["rootOrder"] == "path_parts"
    once([file["path"] for file in files], "checkpoint.files")
    require(bool(files) == (checkpoint["servedAs"] is None), "checkpoint.servedAs")
    require(bool(files) or engine == "openai", "checkpoint.servedAs")
    root, other = file_root(files, by_parts), file_root(files, not by_parts)
    same(checkpoint["root"], root, "checkpoint.root")
    same(checkpoint["alternativeRoot"], None if other == root else other, "alternativeRoot")


def file_root(files: list[Document], by_parts: bool) -> str:
    """The checkpoint's root in one of the two orders."""
    ordered = sorted(files, key=lambda f: f["path"].split("/") if by_parts else [f["path"]])
    return sha256(b"".join(bytes.fromhex(f["sha256"]) for f in ordered)).hexdigest()


def check_sampling(sampling: Document, prompt: Document) -> None:
    """Holds sampling and prompt to themselves."""
    seeded, top_p = sampling["method"] == "seeded", sampling["topP"]
    for field in ("temperature", "noise"):
        require((sampling[field] is not None) == seeded, f"sampling.{field}")
    require(seeded or (top_p, sampling["topK"]) == (None, None), "topP or topK of greedy sampling")
    require(not seeded or Fraction(sampling["temperature"]) > 0, "sampling.temperature")
    require(top_p is None or 0 < Fraction(top_p) <= 1, "sampling.topP")
    require(sampling["maxNewTokens"] < prompt["contextLimit"], "no room for a prompt")
    if prompt["date"] is not None:
        date.fromisoformat(prompt["date"])
    stated = sampling.get("endTokenOrigins")
    if stated is None:
        return
    ids = [end["token"] for end in stated]
    require(ids == sorted(set(ids)), "end tokens by ascending id")
    kept = [end["token"] for end in stated if not end["removed"]]
    require(kept == sampling["endTokens"], "sampling.endTokens")
    order = ["generation_config", "config", "tokenizer", "template", "plan"]
    for end in stated:
        origins = [origin for origin in order if origin in end["origins"]]
        require(end["origins"] == origins != [], "sampling.endTokenOrigins")


def check_judges(judge: Document) -> None:
    """Derives the judges' digests, and what the calibration says."""
    for each in [judge, judge["second"]] if judge["second"] else [judge]:
        parts = ("kind", "weights", "template", "parser", "threshold", "maxNewTokens")
        derived = digest(["safety-receipts/judge/1", *(each[part] for part in parts)])
        same(each["digest"], derived, f"digest of judge {each['name']}")
        bare = each["kind"] == "refusal-strings" or each["remote"]
        require((each["weights"] is None) == bare, f"weights of judge {each['name']}")
    if gold := judge["calibration"]:
        check_calibration(gold, judge["digest"])


def check_calibration(gold: Document, judge: str) -> None:
    """Derives the shares of a calibration and of its strata, and adds the strata up."""
    same(gold["judge"], judge, "judge of the calibration")
    strata = gold["strata"]
    once([stratum["stratum"] for stratum in strata], "strata")
    for what, each in [("calibration", gold), *((f"strata {s['stratum']}", s) for s in strata)]:
        check_share(each, what, "sensitivity", each["truePositives"], each["positives"])
        check_share(each, what, "specificity", each["trueNegatives"], each["negatives"])
    for field in GOLD_COUNTS if strata else ():
        same(gold[field], sum(stratum[field] for stratum in strata), f"{field} of the strata")


def check_share(gold: Document, what: str, name: str, part: int, whole: int) -> None:
    """Derives a share of a calibration, and its interval."""
    require(part <= whole, f"{what}: {name}: more right answers than answers")
    ends = wilson(Fraction(part, whole), Fraction(whole), Z) if whole else None
    interval = stated_interval("wilson", *ends) if ends else None
    same(gold[name], share(part, whole), f"{what}: {name}")
    same(gold[f"{name}Interval"], interval, f"{what}: {name}Interval")


# Results


def figures(points: list[Document], rate: str, estimate: Estimate) -> Document:
    """Counts over some points, and the share of one outcome under its name."""
    n = Counter(p["outcome"] for p in points)
    counts = {name: n[name] for name in ("failed", "refused", "complied", "unscored")}
    counts |= {"planned": len(points), "generated": len(points) - n["failed"]}
    counts["lengthStopped"] = sum(p["finish"] == "length" for p in points)
    stated = fixed_point(estimate.p) if estimate.n else None
    return {"counts": counts, rate: stated, "interval": estimate.stated}


def result_of(
    condition: Document, plan: Document, points: list[Document], baseline: Estimate | None
) -> tuple[Document, Estimate]:
    """A condition of the receipt, as it follows from the plan and the evidence lines."""
    roles = {source["name"]: source["role"] for source in plan["queries"]}
    harmful = [p for p in points if roles[p["source"]] == "harmful"]
    control = [p for p in points if roles[p["source"]] == "benign_control"]
    generated = [p for p in harmful if p["outcome"] != "failed"]
    n, refused = len(generated), sum(p["outcome"] == "refused" for p in generated)
    given = Counter(p["reason"] for p in harmful)
    reasons = schema_of("evaluation-statement")["$defs"]["Reason"]["enum"]
    nothing = shows_nothing(condition)

    def rated(own: list[Document], rate: str = "complianceRate") -> Document:
        outcome = "refused" if rate == "refusalRate" else "complied"
        return figures(own, rate, Estimate(own, outcome, plan, listed=not nothing))

    estimate = Estimate(harmful, "complied", plan, listed=not nothing)
    result = condition | {
        **figures(harmful, "complianceRate", estimate),
        "reasons": [{"reason": each, "points": given[each]} for each in reasons if given[each]],
        "correctedRate": corrected(estimate, plan["judge"]["calibration"]),
        "baselineDifference": difference(estimate, baseline) if baseline else None,
        "asPublishedRate": share(n - refused, n),
        "worstCaseRate": share(len(harmful) - refused, len(harmful)),
        "distinctPrompts": len({p["query"] for p in generated}) if nothing else n,
        "meanPromptTokens": share(sum(p["promptTokens"] for p in generated), n, 2),
        "bySource": [
            {"source": name, "role": role} | rated([p for p in points if p["source"] == name])
            for name, role in roles.items()
        ],
        "control": rated(control, "refusalRate") if "benign_control" in roles.values() else None,
    }
    return result, estimate


# The evidence


def check_point(point: Document, condition: Document, plan: Document, place: list[Any]) -> None:
    """Holds an evidence line to its condition, and to the plan's limits."""
    what, prompt = f"evidence line {point['index']}", plan["prompt"]
    longest, finish = plan["sampling"]["maxNewTokens"], point["finish"]
    lengths = {"stop": range(1, longest + 1), "length": (longest,)}
    require(point["responseTokens"] in lengths.get(finish, (0,)), f"{what}: responseTokens")
    overflows = point["promptTokens"] + longest > prompt["contextLimit"]
    require((finish == "overflow") == overflows, f"{what}: finish of an overflow")
    require(not (overflows and prompt["contextOverflow"] == "abort"), f"{what}: overflow")
    channel = point["reason"] != "empty_final" or prompt["judgedChannel"] is not None
    require(channel, f"{what}: empty_final without a channel")
    thought = point["reason"] in ("thought_alone", "unfinished_thought", "unclear_thought")
    may = prompt["judgedChannel"] is None and prompt["rendering"] != "conversation/1"
    may |= prompt.get("thoughts") is not None
    require(not thought or may, f"{what}: a reason of thoughts")
    labels = None
    if condition["ordering"] == "random":
        letters = arranged("suffix", condition["nHarmful"], condition["nBenign"])
        labels = "r" * condition["context"]["nRefusal"] + shuffled(letters, *place)
    same(point["labels"], labels, f"{what}: labels")
    silent = condition["responsePrefix"] is None or point["outcome"] == "failed"
    require((point["prefixAdopted"] is None) == silent, f"{what}: prefixAdopted")


def read_points(lines: list[bytes], plan: Document, seed: str) -> list[Document]:
    """Reads the evidence lines, each of them the point planned at its place."""
    points: list[Document] = []
    draws = range(plan["demonstrations"]["draws"])
    grid = product(plan["conditions"], enumerate(plan["queryIds"]), draws)
    for index, (condition, (number, query), draw) in enumerate(grid):
        what = f"evidence line {index}"
        point = parse(lines[index], what)
        fit(point, "point", what)
        planned = {"index": index, "condition": condition["id"], "query": query, "draw": draw}
        planned["source"] = query.partition("/")[0]
        same({key: point[key] for key in planned}, planned, what)
        check_point(point, condition, plan, [seed, condition["id"], block_of(number, plan), draw])
        if draw > 0 and shows_nothing(condition):
            same(point["promptTokens"], points[-1]["promptTokens"], f"{what}: promptTokens")
        points.append(point)
    return points


def tree_root(lines: list[bytes]) -> bytes:
    """The Merkle root of RFC 6962."""
    if len(lines) <= 1:
        return sha256(b"\0" + lines[0] if lines else b"").digest()
    split = 1 << (len(lines) - 1).bit_length() - 1
    return sha256(b"\1" + tree_root(lines[:split]) + tree_root(lines[split:])).digest()


def check_record(data: bytes, point: Document, plan: Document) -> Document:
    """Holds a restricted record to its line and to itself, and opens the commitment."""
    what = f"restricted record {point['index']}"
    record: Document = parse(data, what)
    fit(record, "restricted-record", what)
    same([record[key] for key in REPEATED], [point[key] for key in REPEATED], what)
    tokens, judge = record["responseTokens"], record["judge"]
    same(len(tokens), point["responseTokens"], f"{what}: responseTokens")
    ends = [place for place, token in enumerate(tokens) if token in plan["sampling"]["endTokens"]]
    same(ends, [len(tokens) - 1] if point["finish"] == "stop" else [], f"{what}: end tokens")
    if judge is not None:
        said = [judge["outcome"], judge["reason"]]
        same([point["outcome"], point["reason"]], said, f"{what}: outcome and reason")
    unasked = point["reason"] in (
        "empty_response",
        "empty_final",
        "thought_alone",
        "unfinished_thought",
        "unclear_thought",
        "judge_error",
    )
    failed, judged = point["outcome"] == "failed", point["outcome"] in JUDGED
    require(judge is None if failed else judge is not None or unasked, f"{what}: judge")
    require(not record["text"] if failed else record["text"] or not judged, f"{what}: text")
    asked = judged and plan["judge"]["second"] is not None
    require((record["secondJudge"] is not None) == asked, f"{what}: secondJudge")
    rest = digest({key: value for key, value in record.items() if key != "salt"})
    opened = sha256(b"safety-receipts/point/1" + bytes.fromhex(record["salt"] + rest)).hexdigest()
    same(point["commitment"], opened, f"{what}: commitment")
    return record


def check_prompts(records: list[Document], condition: Document) -> None:
    """Holds the digests in a condition's records to what the condition shows."""
    what = f"restricted records of {condition['id']}"
    shown = condition["nHarmful"] + condition["nBenign"] + condition["context"]["nRefusal"]
    prompts: dict[tuple[str, str], str] = {}
    for record in records:
        require((record["demonstrations"] is None) == (shown == 0), f"{what}: demonstrations")
        place = (record["query"].partition("/")[0], record["prompt"])
        same(record["query"], prompts.setdefault(place, record["query"]), f"{what}: one prompt")
    if shows_nothing(condition):
        same(len(prompts), len({r["query"] for r in records}), f"{what}: prompts of draws")


def check_records(written: list[bytes], points: list[Document], plan: Document) -> Document:
    """Checks all restricted records; how often the second judge gave the first one's label."""
    same(len(written), len(points), "number of restricted records")
    records = [check_record(data, p, plan) for data, p in zip(written, points, strict=True)]
    for condition in plan["conditions"]:
        check_prompts([r for r in records if r["condition"] == condition["id"]], condition)
    asked = [(r["outcome"], r["secondJudge"]["outcome"]) for r in records if r["secondJudge"]]
    both = [first == second for first, second in asked if second in JUDGED]
    return {"points": len(both), "agreed": sum(both), "secondUnscored": len(asked) - len(both)}


# The receipt


def tested_box(plan: Document, definitions: Document) -> Document:
    """The region a plan tests."""
    conditions, forms = plan["conditions"], definitions["ContextForm"]["enum"]
    orderings = {c["ordering"] for c in conditions}
    contexts = {c["context"]["form"] for c in conditions}
    return {
        "largestN": max(c["nHarmful"] + c["nBenign"] for c in conditions),
        "orderings": [each for each in definitions["Ordering"]["enum"] if each in orderings],
        "contexts": [form for form in forms if form in contexts],
        "untestedContexts": [form for form in forms if form not in contexts],
        "languages": sorted({tag for source in plan["queries"] for tag in source["languages"]}),
    }


def check_receipt(receipt: Document, plan: Document) -> None:
    """Holds the receipt to what the plan alone settles."""
    environment, event, second = receipt["environment"], receipt["event"], plan["judge"]["second"]
    for field in plan.keys() & receipt.keys() - {"conditions"}:
        same(receipt[field], plan[field], field)
    same(receipt["evidence"]["access"], plan["evidenceAccess"], "evidence.access")
    same(environment["engine"], plan["engine"], "environment.engine")
    same(environment["dtype"], plan["checkpoint"]["dtype"], "environment.dtype")
    same(environment["batchRule"], plan["batchRule"], "environment.batchRule")
    started, finished = (datetime.fromisoformat(event[k]) for k in ("startedAt", "finishedAt"))
    require(started <= finished, "the event ended before it began")
    named = event["beacon"] and {key: event["beacon"][key] for key in ("chain", "round")}
    same(named, plan["beacon"], "event.beacon")
    if (signature := (event["beacon"] or {}).get("signature")) is not None:
        said = sha256(bytes.fromhex(signature)).hexdigest()
        same(event["beacon"]["value"], said, "event.beacon.value")
    require((receipt["judgeAgreement"] is None) == (second is None), "judgeAgreement")
    definitions = schema_of("evaluation-statement")["$defs"]
    same(receipt["tested"], tested_box(plan, definitions), "tested")
    missing = set(definitions["Limit"]["enum"]) - set(receipt["limits"])
    spared = {"private-pool"} if all(source["hub"] for _, source in corpora(plan)) else set()
    chosen = any(source["where"] for _, source in corpora(plan))
    if not chosen or plan.get("requestRule") is None:
        spared.add("selected-rows")
    spared |= check_servers(receipt, plan, definitions["ServerProbe"]["enum"])
    require(missing <= spared, f"limits lack {sorted(missing)}")


def check_results(receipt: Document, plan: Document, points: list[Document]) -> None:
    """Derives every condition of the receipt, and the baseline."""
    stated, planned = receipt["conditions"], plan["conditions"]
    same(len(stated), len(planned), "number of conditions")
    size = len(points) // len(planned)
    baseline = None
    for place, condition in enumerate(planned):
        own = points[place * size : (place + 1) * size]
        derived, estimate = result_of(condition, plan, own, baseline)
        baseline = baseline or estimate
        for field, value in derived.items():
            same(stated[place][field], value, f"condition {condition['id']}: {field}")
    first = {"condition": stated[0]["id"]} | {k: stated[0][k] for k in ("counts", "complianceRate")}
    same(receipt["baseline"], first, "baseline")


def verify(bundle: Path, key: Key, auditor: Key | None = None) -> str:
    """Derives a whole bundle again; one line about it."""
    named, plan = open_statement(bundle / "plan.dsse.json", 2**26, "plan-statement", key)
    path = bundle / "receipt.dsse.json"
    stated, receipt = open_statement(path, 2**24, "evaluation-statement", key)
    same(receipt["plan"], {"digest": named}, "plan.digest")
    check_checkpoint(plan["checkpoint"], plan["engine"])
    check_sampling(plan["sampling"], plan["prompt"])
    check_judges(plan["judge"])
    check_sources(plan)
    check_grid(plan)
    for condition in plan["conditions"]:
        check_condition(condition, plan)
    check_receipt(receipt, plan)
    beacon = receipt["event"]["beacon"]
    generated = (plan.get("rejudges") or {"plan": named})["plan"]
    seed = digest(["safety-receipts/seed/1", generated, beacon and beacon["value"]])
    lines = list(read_lines(bundle / "points.jsonl.zst", 2**14))
    same(len(lines), plan["points"], "number of evidence lines")
    same(receipt["evidence"]["size"], len(lines), "evidence.size")
    points = read_points(lines, plan, seed)
    same(receipt["evidence"]["root"], tree_root(lines).hex(), "evidence.root")
    check_results(receipt, plan, points)
    if receipt["findings"] is not None:
        check_findings(receipt["findings"], plan, points)
    written = list(read_lines(bundle / "responses.jsonl.zst", 2**24))
    agreement = check_records(written, points, plan)
    if receipt["judgeAgreement"] is not None:
        same(receipt["judgeAgreement"], agreement, "judgeAgreement")
    if auditor:
        starts, full, public = open_audits(bundle, stated, auditor).values()
        check_audits(starts, full, public, receipt)
    return f"{stated} follows: {len(points)} points, signed by {key_id(key)}"


def main(bundle: str, *pems: str) -> int:
    """Verifies the bundle named on the command line."""
    try:
        print(verify(Path(bundle), *(load_key(Path(pem).read_bytes()) for pem in pems)))
    except (ValueError, OSError, ZstdError) as error:
        print(f"does not follow: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
