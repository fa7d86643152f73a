// Evidence lines out of a file of zstd, of gzip, or as they are; one line at a time is held.

const MAX_LINE = 16 * 1024;
const MAX_EVIDENCE_FILE = 256 * 1024 * 1024;
const MAX_WINDOW = 128 * 1024 * 1024;
const SLICE = 64 * 1024;
// Four bytes of a zstd block can stand for 128 KiB: of so much input the output is 32 MiB at most.
const ZSTD_SLICE = 1024;

// Bytes come in, lines go out; a line break ends each, the last one too.
class LineSplitter {
  constructor(onLine) {
    this.onLine = onLine;
    this.rest = new Uint8Array(MAX_LINE + 1);
    this.length = 0;
  }

  push(bytes) {
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(10, at);
      const stop = end < 0 ? bytes.length : end;
      if (this.length + stop - at > MAX_LINE) throw new Refused('A line of the evidence is longer than any can be.');
      if (end >= 0 && this.length === 0) {
        this.onLine(bytes.subarray(at, end));
      } else {
        this.rest.set(bytes.subarray(at, stop), this.length);
        this.length += stop - at;
        if (end >= 0) {
          this.onLine(this.rest.subarray(0, this.length));
          this.length = 0;
        }
      }
      at = stop + 1;
    }
  }

  end() {
    if (this.length > 0) throw new Refused('The evidence is cut: its last line does not end.');
  }
}

// One frame, as fzstd also reads what it should not: further frames, and a window of any size, which it
// allocates before it has seen a block.  (RFC 8878, sections 3.1.1.1 and 3.1.1.2.)
function checkFrame(bytes) {
  const flags = bytes[4];
  const isSingle = (flags >> 5) & 1;
  const sizeBytes = flags >> 6 ? 1 << (flags >> 6) : isSingle;
  let at = 6 - isSingle + [0, 1, 2, 4][flags & 3];
  let contentSize = 0;
  for (let i = sizeBytes - 1; i >= 0; i--) contentSize = contentSize * 256 + (bytes[at + i] ?? 0);
  at += sizeBytes;
  const base = 2 ** (10 + (bytes[5] >> 3));
  const window = isSingle ? contentSize : base + (base / 8) * (bytes[5] & 7);
  if (!(window <= MAX_WINDOW)) throw new Refused('The evidence asks for more memory than any should.');
  for (let last = 0; !last; ) {
    if (at + 3 > bytes.length) throw new Refused('The evidence is cut: its zstd frame does not end.');
    const header = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    last = header & 1;
    at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  at += flags & 4 ? 4 : 0;
  if (at > bytes.length) throw new Refused('The evidence is cut: its zstd frame does not end.');
  if (at < bytes.length) throw new Refused('Something follows the zstd frame of the evidence.');
}

async function* unzstdParts(bytes) {
  checkFrame(bytes);
  let parts = [];
  const decompress = new fzstd.Decompress((part) => parts.push(part));
  for (let at = 0; at < bytes.length; at += ZSTD_SLICE) {
    try {
      decompress.push(bytes.subarray(at, at + ZSTD_SLICE), at + ZSTD_SLICE >= bytes.length);
    } catch {
      throw new Refused('The evidence is no valid zstd data.');
    }
    yield* parts;
    parts = [];
  }
}

// Which of the three a file is, by how it begins.
function partsOf(bytes) {
  const magic = hex(bytes.subarray(0, 4));
  if (magic === '28b52ffd') return unzstdParts(bytes);
  if (magic.startsWith('1f8b')) return gunzipParts(bytes, 'The evidence');
  if (bytes[0] === 0x7b) return [bytes];
  throw new Refused('The file is no evidence: neither zstd, nor gzip, nor lines of JSON.');
}

// Gives each line to `onLine`, and lets the browser work now and then.
async function readLines(bytes, onLine) {
  const lines = new LineSplitter(onLine);
  let since = performance.now();
  for await (const part of partsOf(bytes)) {
    for (let at = 0; at < part.length; at += SLICE) {
      lines.push(part.subarray(at, at + SLICE));
      if (performance.now() - since > 40) {
        await pause();
        since = performance.now();
      }
    }
  }
  lines.end();
}
