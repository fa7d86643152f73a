// Who signed: receipt, plan and audits, by keys of the page or of the reader.

// Keys that the reader gave: whole, or by their fingerprint alone.
class GivenKeys {
  constructor() {
    this.keys = new Map();
    this.fingerprints = new Set();
  }

  get isEmpty() {
    return this.fingerprints.size === 0;
  }

  has(key) {
    return this.fingerprints.has(key.keyid);
  }

  // Takes what a reader pasted or dropped: keys in PEM form, and fingerprints of 64 hex digits, which
  // may stand in groups.
  add(text) {
    const keys = readPem(text);
    const rest = text.replace(PEM_FORM, ' ');
    if (rest.includes('-----BEGIN')) throw new Refused('A key that you gave is damaged, or is of another kind.');
    const words = rest.toLowerCase().replace(/[\s:]+/g, '');
    const fingerprints = words.match(/[0-9a-f]{64}/g) ?? [];
    if (fingerprints.join('') !== words || keys.length + fingerprints.length === 0) {
      throw new Refused('What you gave is neither a public key in PEM form nor a fingerprint of 64 hex digits.');
    }
    for (const key of keys) this.keys.set(key.keyid, key);
    for (const keyid of [...this.keys.keys(), ...fingerprints]) this.fingerprints.add(keyid);
  }
}

class Signers {
  constructor(page, given) {
    this.page = page;
    this.given = given;
  }

  // Each key once: those of a role in the page, then the reader's.
  keysFor(role) {
    const all = [...this.page.keysOf(role), ...this.given.keys.values()];
    return [...new Map(all.map((key) => [key.keyid, key])).values()];
  }

  async ofStatement(statement) {
    const keys = this.keysFor('evaluator');
    if (keys.length === 0) {
      return { signers: [], ...unsettled('The page names no key that its maker trusts, and you have given none.') };
    }
    const signers = await statement.signedBy(keys);
    if (signers.length === 0) {
      const name = statement.name.toLowerCase();
      return { signers, ...fails(`No key of this page, nor of yours, signed ${name} as it stands here.`) };
    }
    const [{ kind, keyid }] = signers;
    return { signers, ...holds(`Signed with the ${kind} key ${keyid.slice(0, 16)}…`) };
  }

  async ofAudits() {
    const { audits, receipt } = this.page;
    const auditors = new Map();
    for (const audit of audits) {
      if (audit.subjectDigest !== receipt.digest || audit.predicate.receipt?.digest !== receipt.digest) {
        return { auditors, ...fails(`${audit.name} is about another receipt.`) };
      }
      const signers = await audit.signedBy(this.keysFor('auditor'));
      if (signers.length === 0) {
        const name = audit.name.toLowerCase();
        return { auditors, ...fails(`No auditor’s key of this page, nor one of yours, signed ${name}.`) };
      }
      for (const key of signers) auditors.set(key.keyid, key);
    }
    if (audits.length === 0) return { auditors, ...holds('There are no audits in this page.') };
    const number = plural(audits.length, 'statement of an auditor is', 'statements of auditors are');
    const signed = `${number} about this receipt, and signed.`;
    const strangers = [...auditors.values()].filter((key) => !this.given.has(key));
    if (strangers.length === 0) return { auditors, ...holds(`${signed} You gave the key.`) };
    const whose = strangers.map((key) => inFours(key.keyid)).join(', ');
    return { auditors, ...unsettled(`${signed} You have not said whose key this is; its fingerprint: ${whose}.`) };
  }
}

// Whether the reader knows the key that signed both; `auditors` are the keys that signed audits.
function checkTrust(receiptSigners, planSigners, auditors, given) {
  const ofPlan = new Set(planSigners.map((key) => key.keyid));
  const both = receiptSigners.filter((key) => ofPlan.has(key.keyid));
  const known = both.find((key) => given.has(key));
  if (known !== undefined) return holds(`You gave the key that signed receipt and plan: ${inFours(known.keyid)}.`);
  if (receiptSigners.length + planSigners.length === 0) {
    return unsettled('No key that is known here signed receipt and plan.');
  }
  // An auditor's key says nothing of the evaluator; every other one was given for nothing else.
  if ([...given.fingerprints].some((keyid) => !auditors.has(keyid))) {
    return fails('None of the keys that you gave signed both receipt and plan.');
  }
  if (both.length === 0) return fails('No one key signed both receipt and plan.');
  const about = given.isEmpty ? 'You have given no key yet.' : 'The key that you gave is the auditor’s.';
  return unsettled(
    `${about} Receipt and plan are signed with the key ${inFours(both[0].keyid)}: `
      + 'compare this fingerprint with what the evaluator says elsewhere, or give the key.',
  );
}
