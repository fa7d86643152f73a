// Strict JSON.  `JSON.parse` keeps the last of two keys of one name, and rounds large integers: two
// readers could then see two documents in the same signed bytes.

const MAX_JSON_DEPTH = 32;
const MAX_JSON_CONTAINERS = 1_000_000;

class JsonReader {
  constructor(text, what) {
    this.text = text;
    this.what = what;
    this.at = 0;
    this.containers = 0;
  }

  refuse(why) {
    throw new Refused(`${this.what} is no strict JSON: ${why} (at character ${this.at + 1}).`);
  }

  skipSpace() {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.at++;
    }
  }

  take(character) {
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  document() {
    const value = this.value(0);
    this.skipSpace();
    if (this.at !== this.text.length) this.refuse('something follows the document');
    return value;
  }

  value(depth) {
    this.skipSpace();
    const first = this.text[this.at];
    if (first === '{' || first === '[') {
      if (depth >= MAX_JSON_DEPTH) this.refuse(`it is nested deeper than ${MAX_JSON_DEPTH} levels`);
      if (++this.containers > MAX_JSON_CONTAINERS) this.refuse('it has too many arrays and objects');
      this.at++;
      return first === '{' ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (first === '"') return this.string();
    for (const [word, value] of JSON_WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.integer();
  }

  object(depth) {
    const result = Object.create(null); // no key, `__proto__` neither, means anything but itself
    this.skipSpace();
    if (this.take('}')) return result;
    for (;;) {
      this.skipSpace();
      if (this.text[this.at] !== '"') this.refuse('a key is missing');
      const key = this.string();
      if (key in result) this.refuse('a key appears twice in one object');
      this.skipSpace();
      if (!this.take(':')) this.refuse('a colon is missing');
      result[key] = this.value(depth);
      this.skipSpace();
      if (this.take('}')) return result;
      if (!this.take(',')) this.refuse('a comma is missing');
    }
  }

  array(depth) {
    const result = [];
    this.skipSpace();
    if (this.take(']')) return result;
    for (;;) {
      result.push(this.value(depth));
      this.skipSpace();
      if (this.take(']')) return result;
      if (!this.take(',')) this.refuse('a comma is missing');
    }
  }

  string() {
    let end = this.at;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.refuse('a string does not end');
    } while (this.isEscaped(end));
    let value = '';
    try {
      value = JSON.parse(this.text.slice(this.at, end + 1)); // of one string the browser's own reader is strict
    } catch {
      this.refuse('a string is malformed');
    }
    if (!value.isWellFormed()) this.refuse('a lone surrogate is no text');
    this.at = end + 1;
    return value;
  }

  // Whether an odd number of backslashes stands before a character.
  isEscaped(at) {
    let before = at;
    while (this.text[before - 1] === '\\') before--;
    return (at - before) % 2 === 1;
  }

  integer() {
    const form = /-?(?:0|[1-9][0-9]*)/y;
    form.lastIndex = this.at;
    const match = form.exec(this.text);
    if (match === null) this.refuse('a value is missing');
    const value = Number(match[0]);
    if (!Number.isSafeInteger(value)) this.refuse('an integer lies beyond what every reader holds');
    if (match[0] === '-0') this.refuse('-0 is no integer in canonical form');
    if (/[.eE]/.test(this.text[form.lastIndex] ?? '')) this.refuse('a number is no integer');
    this.at = form.lastIndex;
    return value;
  }
}

const JSON_WORDS = [
  ['null', null],
  ['true', true],
  ['false', false],
];

// Objects have no prototype; the only numbers are safe integers.
function parseJson(text, what) {
  return new JsonReader(text, what).document();
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
