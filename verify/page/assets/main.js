// The page: reads itself once, and is checked again whenever the reader gives something.

const MAX_KEY_FILE = 64 * 1024;

class SelfVerifyingPage {
  constructor(document) {
    this.document = document;
    this.root = document.documentElement;
    this.marks = new Marks();
    this.reset();
    this.working = Promise.resolve();
    this.asked = 0;
  }

  reset() {
    this.given = new GivenKeys();
    this.file = null; // evidence that the reader gave, in place of what the page embeds
    this.evidence = null; // the promise of what was found in evidence; it is read once
    this.notes = [];
  }

  // One run at a time: of what is asked meanwhile the last is what counts.
  verify() {
    this.root.dataset.working = '';
    const number = ++this.asked;
    this.working = this.working.then(async () => {
      if (number !== this.asked) return;
      await this.run().catch(() => fail(this.root));
      if (number === this.asked) delete this.root.dataset.working;
    });
  }

  async run() {
    const start = performance.now();
    const results = new Results((name) => { this.root.dataset.working = name; });
    results.notes.push(...this.notes);
    this.marks.clear();
    try {
      await this.check(results);
    } catch (error) {
      results.add('script', fails(`The check could not be finished (${error}).`));
    }
    showResults(this.document, results);
    this.root.dataset.verifiedMs = (performance.now() - start).toFixed(1);
  }

  async check(results) {
    const { body } = this.document;
    results.add('page-text', checkWords(body)); // before anything is marked
    try {
      this.data ??= await PageData.read(this.document.getElementById('data'));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      results.add('documents', fails(error.message));
      return;
    }
    const { data } = this;
    results.isInstrument = data.receipt.predicate.instrument === true;
    const audits = plural(data.audits.length, 'statement of an auditor', 'statements of auditors');
    const all = data.audits.length ? `Receipt, plan and ${audits}` : 'Receipt and plan';
    results.add('documents', holds(`${all} are here, byte for byte.`));
    await pause();
    await this.checkSigners(results);
    const named = data.receipt.predicate.plan?.digest === data.plan.digest;
    results.add('plan-named', named
      ? holds('The receipt names this plan, by its digest.')
      : fails('The receipt names another plan.'));
    await pause();
    results.add('numbers', checkNumbers(body, data.pointers, this.marks));
    await pause();
    results.add('charts', checkCharts(body, data.pointers, this.marks));
    await pause();
    results.add('evidence', await this.checkEvidence(results));
  }

  async checkSigners(results) {
    const { data, given } = this;
    const signers = new Signers(data, given);
    try {
      const receipt = await signers.ofStatement(data.receipt);
      const plan = await signers.ofStatement(data.plan);
      const audits = await signers.ofAudits();
      results.add('receipt-signature', receipt);
      results.add('plan-signature', plan);
      results.add('audits', audits);
      results.add('trust', checkTrust(receipt.signers, plan.signers, audits.auditors, given));
    } catch (error) {
      if (!(error instanceof Unsupported || error instanceof Refused)) throw error;
      const found = error instanceof Unsupported ? unsettled(error.message) : fails(error.message);
      for (const name of ['receipt-signature', 'plan-signature', 'trust']) results.add(name, found);
    }
  }

  async checkEvidence(results) {
    const { receipt, plan, evidence } = this.data;
    if (this.file !== null && this.file.size > MAX_EVIDENCE_FILE) {
      const most = `${count(MAX_EVIDENCE_FILE / MIB)} MiB`;
      const text = `The file is larger than ${most}, which is more than a page can read; use receipts verify.`;
      results.notes.push(text);
      return unsettled(text);
    }
    if (this.file === null && evidence === null) {
      const isHeld = receipt.predicate.evidence?.access === 'auditors';
      return unsettled(isHeld
        ? 'It is held by auditors, and not published.'
        : 'It is not in this page; give the file points.jsonl.zst of the bundle.');
    }
    this.evidence ??= this.readEvidence(this.file ?? evidence);
    return this.evidence;
  }

  // `source`: the bytes, or a file that has them.
  async readEvidence(source) {
    const { receipt, plan } = this.data;
    try {
      const bytes = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : source;
      const problem = await checkEvidence(bytes, plan.predicate, receipt.predicate);
      if (problem !== null) return fails(problem);
      const lines = plural(receipt.predicate.evidence.size, 'line has', 'lines have');
      return holds(`${lines} the sealed Merkle root, and give all counts, reasons and rates of the receipt.`);
    } catch (error) {
      if (error instanceof DOMException) return fails('The file of the evidence cannot be read.');
      if (!(error instanceof Refused)) throw error;
      return fails(error.message);
    }
  }

  // Takes keys from texts; what is none is said beside the verdict.
  giveKeys(texts) {
    this.notes = [];
    for (const text of texts) {
      try {
        this.given.add(text);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        this.notes.push(error.message);
      }
    }
    this.verify();
  }

  giveEvidence(file) {
    this.file = file;
    this.evidence = null;
    this.verify();
  }

  // A key is told from evidence by how a small file reads.
  async giveFiles(files) {
    const keys = [];
    for (const file of files) {
      const text = file.size <= MAX_KEY_FILE ? await file.text().catch(() => '') : '';
      if (text.includes('-----BEGIN')) keys.push(text);
      else this.giveEvidence(file);
    }
    if (keys.length) this.giveKeys(keys);
  }

  listen() {
    const find = (id) => this.document.getElementById(id);
    const [form, text, keyFiles, evidenceFile] =
      ['trust', 'trust-text', 'trust-file', 'evidence-file'].map(find);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (text.value.trim()) this.giveKeys([text.value]);
      else this.verify();
    });
    keyFiles.addEventListener('change', async () => {
      const small = [...keyFiles.files].filter((file) => file.size <= MAX_KEY_FILE);
      const texts = await Promise.all(small.map((file) => file.text().catch(() => '')));
      const large = keyFiles.files.length - small.length;
      this.giveKeys(texts.concat(large ? 'a file that is too large for a key' : []));
    });
    evidenceFile.addEventListener('change', () => {
      if (evidenceFile.files.length) this.giveEvidence(evidenceFile.files[0]);
    });
    find('forget-button').addEventListener('click', () => {
      form.reset();
      evidenceFile.value = '';
      this.reset();
      this.verify();
    });
    // Without this, a browser that is dropped a file leaves the page for it.
    this.document.addEventListener('dragover', (event) => event.preventDefault());
    this.document.addEventListener('drop', (event) => {
      event.preventDefault();
      this.giveFiles([...event.dataTransfer.files]);
    });
    find('verifier').hidden = false;
  }
}

// Where not even the results can be shown: parts of the page are missing.
function fail(root) {
  root.dataset.verification = 'failed';
  delete root.dataset.working;
}

function start() {
  const page = new SelfVerifyingPage(document);
  try {
    page.listen();
    page.verify();
  } catch {
    fail(document.documentElement);
  }
}

if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', start);
else start();
