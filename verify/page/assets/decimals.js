// Numbers as the page writes them, digit for digit those of receipts/view/numerals.py: exact decimals,
// rounded half to even.  No double is rounded as JavaScript rounds, which takes ties upwards.

const NOTHING = '–';

// A decimal: `digits` · 10^−`places`, with its sign apart, as −0.0 is written with one.
function parseDecimal(value) {
  const match = /^(-?)([0-9]+)(?:\.([0-9]+))?$/.exec(String(value));
  if (match === null || !(typeof value === 'string' || Number.isSafeInteger(value))) {
    throw new Refused('What is signed there is no decimal number.');
  }
  const fraction = match[3] ?? '';
  return { negative: match[1] === '-', digits: BigInt(match[2] + fraction), places: fraction.length };
}

// The exact decimal of a double.
function exactly(double) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, double);
  const bits = view.getBigUint64(0);
  const stored = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & (2n ** 52n - 1n);
  const mantissa = stored ? fraction | (2n ** 52n) : fraction;
  const exponent = (stored || 1) - 1075;
  const negative = bits >> 63n === 1n;
  if (exponent >= 0) return { negative, digits: mantissa << BigInt(exponent), places: 0 };
  return { negative, digits: mantissa * 5n ** BigInt(-exponent), places: -exponent };
}

function divideHalfEven(numerator, denominator) {
  const quotient = numerator / denominator;
  const twice = 2n * (numerator % denominator);
  const up = twice > denominator || (twice === denominator && quotient % 2n === 1n);
  return up ? quotient + 1n : quotient;
}

function rescale({ negative, digits, places }, wanted) {
  const step = 10n ** BigInt(Math.abs(wanted - places));
  return { negative, digits: wanted >= places ? digits * step : divideHalfEven(digits, step), places: wanted };
}

function write({ negative, digits, places }, plus = '') {
  const text = String(digits).padStart(places + 1, '0');
  const whole = text.slice(0, text.length - places);
  return (negative ? '-' : plus) + (places ? `${whole}.${text.slice(-places)}` : whole);
}

// To some significant digits.
function significant(decimal, most) {
  const excess = String(decimal.digits).length - most;
  if (excess <= 0) return decimal;
  const digits = divideHalfEven(decimal.digits, 10n ** BigInt(excess));
  return significant({ ...decimal, digits, places: decimal.places - excess }, most);
}

// Python's decimals multiply with 28 digits.
function hundredfold(value) {
  const { negative, digits, places } = significant(parseDecimal(value), 28);
  return places >= 2
    ? { negative, digits, places: places - 2 }
    : { negative, digits: digits * 10n ** BigInt(2 - places), places: 0 };
}

// Without zeros at the end.
function shortest(decimal) {
  let { digits, places } = rescale(decimal, Math.max(decimal.places, 0));
  while (places > 0 && digits % 10n === 0n) {
    digits /= 10n;
    places--;
  }
  return { negative: decimal.negative, digits, places };
}

function thousands(text) {
  const [whole, fraction] = text.split('.');
  const grouped = whole.replace(/\B(?=(?:[0-9]{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

function signedNumber(decimal, places) {
  let rounded = rescale(decimal, places);
  if (decimal.digits !== 0n && rounded.digits === 0n) {
    // What would round to zero keeps one digit.
    rounded = rescale(decimal, decimal.places - String(decimal.digits).length + 1);
  }
  return write(rounded, '+').slice(rounded.digits === 0n ? 1 : 0).replace('-', '−');
}

// A p-value with three significant digits, of the double that it is read as, as C's %.3g.
function pNumber(value) {
  const decimal = parseDecimal(value);
  const floor = { negative: false, digits: 1n, places: 20 };
  const most = Math.max(decimal.places, floor.places);
  if (decimal.negative || rescale(decimal, most).digits <= rescale(floor, most).digits) return '< 1e-20';
  const rounded = significant(exactly(Number(value)), 3);
  const text = String(rounded.digits);
  const exponent = text.length - 1 - rounded.places;
  if (exponent >= -4 && exponent < 3) return write(shortest(rounded));
  return `${write(shortest({ ...rounded, places: text.length - 1 }))}e${exponent}`;
}

function count(value) {
  if (!Number.isSafeInteger(value)) throw new Refused('What is signed there is no whole number.');
  return thousands(String(value));
}

function plain(value) {
  parseDecimal(value);
  return String(value);
}

// Where Python's str.split splits, which is not quite JavaScript's \s.
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;

function collapse(text) {
  return text.replace(WHITE_SPACE, ' ').replace(/^ | $/g, '');
}

function asText(value) {
  if (typeof value !== 'string') throw new Refused('What is signed there is no text.');
  return collapse(value);
}

function asLength(value) {
  if (!Array.isArray(value)) throw new Refused('What is signed there is no list.');
  return count(value.length);
}

// By the value of `data-as`.
const RENDERINGS = {
  count,
  percent: (value) => write(rescale(hundredfold(value), 1)),
  points: (value) => signedNumber(hundredfold(value), 1),
  signed: (value) => signedNumber(parseDecimal(value), 3),
  signed2: (value) => signedNumber(parseDecimal(value), 2),
  p: pNumber,
  level: (value) => `${write(shortest(hundredfold(value)))} %`,
  whole: (value) => plain(value).split('.')[0],
  statistic: (value) => thousands(write(rescale(exactly(Number(plain(value))), 1))),
  plain,
  text: asText,
  length: asLength,
  digest: asText,
  keyid: asText,
  prefix12: (value) => asText(value).slice(0, 12),
  prefix16: (value) => asText(value).slice(0, 16),
};

// A value as the page has to write it; a dash for null, or for what is not there.
function render(value, as) {
  if (!Object.hasOwn(RENDERINGS, as)) throw new Refused('It does not say as what it is written.');
  return value === undefined || value === null ? NOTHING : RENDERINGS[as](value);
}
