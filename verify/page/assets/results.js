// What was found, as the page shows it.  All texts become text nodes.

const LABELS = {
  documents: 'Signed documents',
  'receipt-signature': 'Signature of the receipt',
  'plan-signature': 'Signature of the plan',
  'plan-named': 'Plan that the receipt names',
  numbers: 'Numbers on this page',
  charts: 'Charts',
  'page-text': 'Words of this page',
  audits: 'Audits',
  evidence: 'Evidence',
  trust: 'Whose key',
  script: 'Verification',
};
// Without which no page is verified; evidence and audits may be elsewhere.
const NEEDED = [
  'documents', 'receipt-signature', 'plan-signature', 'plan-named', 'numbers', 'charts', 'page-text', 'trust',
];
const STATUS_WORDS = { ok: 'Holds.', bad: 'Does not hold.', open: 'Not settled.' };

// What a check found.
function holds(text) {
  return { status: 'ok', text, link: null };
}

// `link` leads to the first place on the page that is wrong.
function fails(text, link = null) {
  return { status: 'bad', text, link };
}

function unsettled(text) {
  return { status: 'open', text, link: null };
}

class Results {
  // `onCheck` is told the name of each check that is made.
  constructor(onCheck = () => undefined) {
    this.onCheck = onCheck;
    this.checks = new Map();
    this.notes = []; // what the reader asked for and could not be done
    this.isInstrument = false;
  }

  add(name, { status, text, link }) {
    this.checks.set(name, { status, text, link });
    this.onCheck(name);
  }

  is(name, status) {
    return this.checks.get(name)?.status === status;
  }

  // The names of the checks that were made, in the order in which they are shown.
  get names() {
    return Object.keys(LABELS).filter((name) => this.checks.has(name));
  }

  // In the words of `data-verification`.
  get verdict() {
    if (this.names.some((name) => this.is(name, 'bad'))) return 'failed';
    const isWhole = NEEDED.every((name) => this.is(name, 'ok'));
    return isWhole && this.notes.length === 0 ? 'passed' : 'incomplete';
  }

  get sentence() {
    const wrong = this.names.find((name) => this.is(name, 'bad'));
    if (wrong !== undefined) return `Do not rely on this page: ${this.checks.get(wrong).text}`;
    if (this.verdict === 'incomplete') return this.whyIncomplete;
    const both = 'a key that you gave signed receipt and plan, and every sealed number on this page is theirs';
    const evidence = this.is('evidence', 'ok') ? ', and counts and rates were counted again from the evidence' : '';
    return `Verified: ${both}${evidence}.`;
  }

  get whyIncomplete() {
    if (this.is('receipt-signature', 'open')) return `Not verified: ${this.checks.get('receipt-signature').text}`;
    if (this.is('trust', 'ok')) return `Not verified in full: ${this.notes[0]}`;
    return 'Not verified yet: the page agrees with what is signed in it, '
      + 'but you have not said whose signature you trust.';
  }

  get details() {
    const sentences = [...this.notes];
    if (this.isInstrument) {
      sentences.push('The receipt is of a test instrument: its numbers say nothing about any real model.');
    }
    for (const name of ['trust', 'audits']) {
      if (this.is(name, 'open')) sentences.push(this.checks.get(name).text);
    }
    sentences.push(
      this.is('evidence', 'ok')
        ? 'Not counted again here: intervals, corrections for the judge, findings, and what follows from the seed.'
        : 'Not checked here: whether the numbers follow from the evidence.',
      'This check is made by the page about itself. One that depends on no page: receipts verify, with the bundle.',
    );
    return sentences;
  }
}

function showResults(document, results) {
  const element = (name, text, properties = {}) => {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text;
    return made;
  };
  document.getElementById('verdict').textContent = results.sentence;
  const details = results.details.map((text) => element('p', text));
  document.getElementById('verdict-detail').replaceChildren(...details);
  const items = results.names.map((name) => {
    const { status, text, link } = results.checks.get(name);
    const item = element('li', '', { className: status });
    item.dataset.check = name;
    item.append(element('strong', LABELS[name]), ` ${STATUS_WORDS[status]} ${text}`);
    if (link !== null) item.append(' ', element('a', 'Show the first.', { href: link }));
    return item;
  });
  const list = document.getElementById('checks');
  list.replaceChildren(...items);
  const folded = list.closest('details');
  if (folded !== null && results.verdict === 'failed') folded.open = true;
  document.documentElement.dataset.verification = results.verdict;
}
