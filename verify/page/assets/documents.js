// The data block: the envelopes byte for byte, and the keys that whoever made the page trusted.

const PAGE_TYPE = 'safety-receipts/page/1';
const RECEIPT_TYPES = ['urn:safety-receipts:evaluation:1'];
const PLAN_TYPES = ['urn:safety-receipts:plan:1'];
const AUDIT_TYPES = [
  'urn:safety-receipts:audit:1', 'urn:safety-receipts:audit:2', 'urn:safety-receipts:audit-public:1',
  'urn:safety-receipts:audit-start:1', 'urn:safety-receipts:audit-start:2',
];
const MIB = 1024 * 1024;
const LIMITS = { plan: 64 * MIB, receipt: 16 * MIB, audit: 32 * MIB };
const MAX_AUDITS = 10_000;
const MAX_KEYS = 64;

function readBlob(blob, what) {
  if (typeof blob?.name !== 'string' || typeof blob.gzip !== 'string') {
    throw new Refused(`${what} is not in this page.`);
  }
  return decodeBase64(blob.gzip, `${what} in this page`);
}

async function readStatement(blob, what, limit, types) {
  return new Statement(await gunzip(readBlob(blob, what), limit, what), what, types);
}

function readKeys(entries) {
  if (!Array.isArray(entries) || entries.length > MAX_KEYS) {
    throw new Refused('The page does not say which keys it was made with.');
  }
  return entries.map(({ role, keyid, pem }) => {
    const keys = readPem(String(pem));
    if (keys.length !== 1 || !['evaluator', 'auditor'].includes(role)) {
      throw new Refused('A key of this page cannot be read.');
    }
    if (keys[0].keyid !== keyid) throw new Refused('A key of this page has another fingerprint than is said.');
    return { role, key: keys[0] };
  });
}

class PageData {
  static async read(element) {
    const data = parseJson(element?.textContent ?? '', 'The data of this page');
    if (data?.page !== PAGE_TYPE) {
      throw new Refused('The data of this page is of a kind that its script does not know.');
    }
    const page = new PageData();
    page.keys = readKeys(data.keys);
    page.receipt = await readStatement(data.receipt, 'The receipt', LIMITS.receipt, RECEIPT_TYPES);
    page.plan = await readStatement(data.plan, 'The plan', LIMITS.plan, PLAN_TYPES);
    page.audits = [];
    if (!Array.isArray(data.audits) || data.audits.length > MAX_AUDITS) {
      throw new Refused('The audits are not in this page.');
    }
    for (const [i, blob] of data.audits.entries()) {
      page.audits.push(await readStatement(blob, `Audit ${i + 1}`, LIMITS.audit, AUDIT_TYPES));
    }
    page.evidence = data.evidence === null ? null : readBlob(data.evidence, 'The evidence');
    return page;
  }

  keysOf(role) {
    return this.keys.filter((entry) => entry.role === role).map((entry) => entry.key);
  }

  get pointers() {
    const named = [['r', this.receipt], ['p', this.plan], ...this.audits.map((audit, i) => [`a${i}`, audit])];
    return new Pointers(new Map(named));
  }
}
