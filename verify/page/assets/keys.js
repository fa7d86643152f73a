// Public keys: Ed25519, and P-256 with SHA-256.  WebCrypto verifies; what it does not look at is here.

const PEM_FORM = /-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END PUBLIC KEY-----/g;
const ED25519_PREFIX = '302a300506032b6570032100';
const P256_PREFIX = '3059301306072a8648ce3d020106082a8648ce3d03010703420004';

// Under a key of small order, or another spelling of one, whoever made the key has signatures that
// hold for many messages.  These are the y of all points of small order (RFC 8032, section 5.1).
const FIELD = 2n ** 255n - 19n;
const EIGHTH = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
const WEAK_Y = new Set([0n, 1n, FIELD - 1n, EIGHTH, FIELD - EIGHTH]);

function isWeakEd25519(raw) {
  let y = 0n;
  for (let i = 31; i >= 0; i--) y = (y << 8n) | BigInt(i === 31 ? raw[i] & 0x7f : raw[i]);
  return y >= FIELD || WEAK_Y.has(y);
}

class PublicKey {
  constructor(spki) {
    const text = hex(spki);
    if (text.startsWith(ED25519_PREFIX) && spki.length === 44) {
      this.algorithm = { name: 'Ed25519' };
      this.kind = 'Ed25519';
      const raw = spki.slice(12);
      if (isWeakEd25519(raw)) throw new Refused('The key is a weak one: under it false signatures hold.');
      this.keyid = keyId('ed25519', hex(raw), 'ed25519');
    } else if (text.startsWith(P256_PREFIX) && spki.length === 91) {
      this.algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
      this.kind = 'P-256';
      const lines = encodeBase64(spki).match(/.{1,64}/g).join('\n');
      const pem = `-----BEGIN PUBLIC KEY-----\n${lines}\n-----END PUBLIC KEY-----\n`;
      this.keyid = keyId('ecdsa', pem, 'ecdsa-sha2-nistp256');
    } else {
      throw new Refused('The key is neither an Ed25519 nor a P-256 public key.');
    }
    this.spki = spki;
    this.imported = null;
  }

  async verifies(signature, message) {
    const ed25519 = this.kind === 'Ed25519';
    const raw = ed25519 ? signature : fromDer(signature);
    if (raw === null || raw.length !== 64) return false;
    this.imported ??= await importKey(this);
    return crypto.subtle.verify(this.algorithm, this.imported, raw, message);
  }
}

// securesystemslib's id of a key: a hash of it, so that a reader may name a key by it.
function keyId(type, value, scheme) {
  return hex(sha256(utf8(`{"keytype":"${type}","keyval":{"public":"${value}"},"scheme":"${scheme}"}`)));
}

// A browser that cannot check this kind of key has not found a false signature.
class Unsupported extends Error {}

async function importKey(key) {
  if (globalThis.crypto?.subtle === undefined) {
    throw new Unsupported(
      'This browser checks signatures only in pages from a disk or over https: save the page and open the file.',
    );
  }
  try {
    return await crypto.subtle.importKey('spki', key.spki, key.algorithm, false, ['verify']);
  } catch (error) {
    if (error.name === 'NotSupportedError') {
      throw new Unsupported(`This browser does not know signatures of kind ${key.kind}.`);
    }
    throw new Refused('A key is no point of its curve.');
  }
}

// ECDSA's two numbers as WebCrypto wants them, 32 bytes each, from strict DER: every other spelling of
// the same two numbers is null.
function fromDer(der) {
  if (der.length < 8 || der.length > 72 || der[0] !== 0x30 || der[1] !== der.length - 2) return null;
  const raw = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1];
    const number = der.subarray(at + 2, at + 2 + length);
    if (der[at] !== 0x02 || length < 1 || number.length !== length) return null;
    if (number[0] & 0x80 || (number[0] === 0 && !(number[1] & 0x80))) return null; // negative, or padded
    const digits = number[0] === 0 ? number.subarray(1) : number;
    if (digits.length > 32) return null;
    raw.set(digits, end - digits.length);
    at += 2 + length;
  }
  return at === der.length ? raw : null;
}

// The keys in a text, each a PublicKey.
function readPem(text) {
  if (/PRIVATE KEY/.test(text)) {
    throw new Refused('This is a private key: give it to nobody.  The public key is the file KEY.pub.');
  }
  return [...text.matchAll(PEM_FORM)].map(
    (match) => new PublicKey(decodeBase64(match[1].replace(/\s/g, ''), 'The key')),
  );
}

function inFours(keyid) {
  return keyid.match(/.{1,4}/g).join(' ');
}
