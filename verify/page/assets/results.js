// What was found, as the page shows it.  All texts become text nodes.

const LABELS = {
  documents: 'Signed documents',
  'receipt-signature': 'Signature of the receipt',
  'plan-signature': 'Signature of the plan',
  'plan-named': 'Plan before run',
  numbers: 'Numbers on this page',
  charts: 'Charts',
  'page-text': 'Words of this page',
  audits: 'Audits',
  evidence: 'Evidence',
  trust: 'Whose key',
  script: 'Verification',
};
const STATUS_WORDS = { ok: 'Holds.', bad: 'Does not hold.', open: 'Not settled.' };

class Results {
  // `onCheck` is told the name of each check that is made.
  constructor(onCheck = () => undefined) {
    this.onCheck = onCheck;
    this.checks = new Map();
    this.notes = []; // what the reader asked for and could not be done
    this.isInstrument = false;
  }

  add(name, { status, text, link = null }) {
    this.checks.set(name, { status, text, link });
    this.onCheck(name);
    return status === 'ok';
  }

  // In the words of `data-verification`.
  get verdict() {
    const all = [...this.checks.values()];
    if (all.some((check) => check.status === 'bad')) return 'failed';
    const needed = ['documents', 'receipt-signature', 'plan-signature', 'plan-named', 'numbers', 'charts', 'page-text', 'trust'];
    const isWhole = needed.every((name) => this.checks.get(name)?.status === 'ok');
    return isWhole && this.notes.length === 0 ? 'passed' : 'incomplete';
  }

  get sentence() {
    const [, wrong] = [...this.checks].find(([, check]) => check.status === 'bad') ?? [];
    if (wrong !== undefined) return `Do not rely on this page: ${wrong.text}`;
    if (this.verdict === 'incomplete') return this.whyIncomplete;
    const evidence = this.checks.get('evidence')?.status === 'ok' ? ', and counts and rates were counted again from the evidence' : '';
    return `Verified: a key that you gave signed receipt and plan, and every number on this page is in them${evidence}.`;
  }

  get whyIncomplete() {
    const signature = this.checks.get('receipt-signature');
    if (signature?.status === 'open') return `Not verified: ${signature.text}`;
    if (this.checks.get('trust')?.status === 'ok') return `Not verified in full: ${this.notes[0]}`;
    return 'Not verified yet: the page agrees with what is signed in it, but you have not said whose signature you trust.';
  }

  get details() {
    const sentences = [...this.notes];
    if (this.isInstrument) sentences.push('The receipt is of a test instrument: its numbers say nothing about any real model.');
    if (this.verdict === 'incomplete') sentences.push(this.checks.get('trust')?.text ?? '');
    const audits = this.checks.get('audits');
    if (audits?.status === 'open') sentences.push(audits.text);
    sentences.push(
      this.checks.get('evidence')?.status === 'ok'
        ? 'Not counted again here: intervals, corrections for the judge, findings, and what follows from the seed.'
        : 'Not checked here: whether the numbers follow from the evidence.',
      'This check is made by the page about itself. One that depends on no page: receipts verify, with the bundle.',
    );
    return sentences.filter(Boolean);
  }
}

function showResults(document, results) {
  const element = (name, text, properties = {}) => {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text;
    return made;
  };
  document.getElementById('verdict').textContent = results.sentence;
  document.getElementById('verdict-detail').replaceChildren(...results.details.map((text) => element('p', text)));
  const items = Object.keys(LABELS).filter((name) => results.checks.has(name)).map((name) => {
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
