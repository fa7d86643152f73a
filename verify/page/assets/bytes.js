// Bytes: base64 in its one form, UTF-8 that is nothing else, SHA-256, gzip within bounds.

// What is wrong with a document, in a sentence for people; anything else that is thrown is a fault of
// this script.
class Refused extends Error {}

function sha256(...parts) {
  const hash = new nobleSha256._SHA256();
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function hex(bytes) {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

// Without `fatal`, bytes that are no UTF-8 would become U+FFFD, and without `ignoreBOM` a byte-order
// mark would go unseen: other bytes would read as the same text.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes, what) {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    throw new Refused(`${what} is not UTF-8.`);
  }
}

// `atob` takes white space, missing padding and stray bits, so that many texts give the same bytes:
// encoding again leaves one.  `urlSafe` also takes the other alphabet, as DSSE allows, but no mixture.
function decodeBase64(text, what, urlSafe = false) {
  const other = urlSafe && /[-_]/.test(text);
  const plain = other && !/[+/]/.test(text) ? text.replaceAll('-', '+').replaceAll('_', '/') : text;
  let binary = '';
  try {
    binary = atob(plain);
  } catch {
    throw new Refused(`${what} is not base64.`);
  }
  if (btoa(binary) !== plain) throw new Refused(`${what} is not base64 in its canonical form.`);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function encodeBase64(bytes) {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function concatenate(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const GZIP_SLICE = 16 * 1024; // can stand for 16 MiB, which is then the most that is held

// The parts of a gzip file of one member, as they come.  The browser's own stream refuses a file that
// is cut, has a wrong checksum, or goes on after the member.
async function* gunzipParts(bytes, what) {
  const { readable, writable } = new DecompressionStream('gzip');
  const writer = writable.getWriter();
  const feed = async () => {
    for (let at = 0; at < bytes.length; at += GZIP_SLICE) await writer.write(bytes.subarray(at, at + GZIP_SLICE));
    await writer.close();
  };
  feed().catch(() => undefined); // what is wrong with the bytes, the reader is told too
  const reader = readable.getReader();
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch {
        throw new Refused(`${what} is not a whole gzip file.`);
      }
      if (part.done) return;
      yield part.value;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // or the rest of a bomb is unpacked for nobody
  }
}

// All of a gzip file, of at most `limit` bytes.
async function gunzip(bytes, limit, what) {
  const parts = [];
  let length = 0;
  for await (const part of gunzipParts(bytes, what)) {
    length += part.length;
    if (length > limit) throw new Refused(`${what} is longer than ${thousands(String(limit))} bytes.`);
    parts.push(part);
  }
  return concatenate(parts);
}

// Lets the browser draw and answer the reader.  A message comes at once, where a timer that follows
// others is held back by some milliseconds.
function pause() {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}
