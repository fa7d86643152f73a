// DSSE envelopes around in-toto statements: the bytes that were signed, and by which key.

const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
const MAX_SIGNATURES = 16;

// The pre-authentication encoding: what is signed.  It is made of the payload as it came, which is
// never serialised again.
function preAuthentication(payload) {
  return concatenate([utf8(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload]);
}

class Statement {
  constructor(bytes, name, types) {
    this.name = name;
    const envelope = parseJson(decodeUtf8(bytes, name), name);
    if (!isObject(envelope) || envelope.payloadType !== PAYLOAD_TYPE || typeof envelope.payload !== 'string') {
      throw new Refused(`${name} is no envelope around a signed statement.`);
    }
    this.payload = decodeBase64(envelope.payload, `The payload of ${name}`, true);
    this.signatures = readSignatures(envelope.signatures, name);
    this.digest = hex(sha256(this.payload));
    const inside = `The payload of ${name}`;
    const statement = parseJson(decodeUtf8(this.payload, inside), inside);
    if (!isObject(statement) || statement._type !== STATEMENT_TYPE || !isObject(statement.predicate)) {
      throw new Refused(`${inside} is no in-toto statement.`);
    }
    if (!types.includes(statement.predicateType)) {
      throw new Refused(`${inside} is of another type than it should be.`);
    }
    const subject = statement.subject;
    if (!Array.isArray(subject) || subject.length !== 1 || typeof subject[0]?.digest?.sha256 !== 'string') {
      throw new Refused(`${inside} has not one subject.`);
    }
    this.subjectDigest = subject[0].digest.sha256;
    this.predicate = statement.predicate;
  }

  // Those of some keys that signed.  Each is tried on each signature: a key id is a hint that anybody
  // can write.
  async signedBy(keys) {
    const message = preAuthentication(this.payload);
    const signers = [];
    for (const key of keys) {
      for (const signature of this.signatures) {
        if (await key.verifies(signature.bytes, message)) {
          signers.push(key);
          break;
        }
      }
    }
    return signers;
  }
}

function readSignatures(signatures, name) {
  if (!Array.isArray(signatures) || signatures.length < 1 || signatures.length > MAX_SIGNATURES) {
    throw new Refused(`${name} does not have 1 to ${MAX_SIGNATURES} signatures.`);
  }
  return signatures.map((signature) => {
    if (typeof signature?.sig !== 'string' || typeof (signature.keyid ?? '') !== 'string') {
      throw new Refused(`A signature of ${name} has no signature in it.`);
    }
    const bytes = decodeBase64(signature.sig, `A signature of ${name}`, true);
    return { keyid: signature.keyid ?? '', bytes };
  });
}
