// The page's own words and its frame, which nobody signed: held to a digest in the page.  It finds what
// was edited by accident or with little care; whoever also writes the digest or this script anew is not
// found.

const LIVE = ['verdict', 'verdict-detail', 'checks'];

// What no page is made with: it could show what no text node holds, hide what one holds, or turn the
// digits of a number round.
const NEVER_THERE = [
  'iframe', 'frame', 'object', 'embed', 'portal', 'img', 'picture', 'image', 'audio', 'video', 'canvas',
  'template', 'link', 'base', 'meta', 'font', 'bdo', 'slot', '[dir]', '[style]', '[srcdoc]', '[contenteditable]',
  '[hidden]:not(#verifier)', 'input:not(#trust-file, #evidence-file)',
].join();
const HEAD = ['meta', 'meta', 'meta', 'meta', 'meta', 'title', 'style'];
const ROOT_ATTRIBUTES = ['data-verification', 'data-verified-ms', 'data-working', 'lang'];
const TURNS_TEXT = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

// What keeps the page from loading and sending anything, and other scripts and styles out of it.
const POLICY = new RegExp(
  "^default-src 'none'; script-src 'sha256-[A-Za-z0-9+/=]{44}'; style-src 'sha256-([A-Za-z0-9+/=]{44})'; "
    + "img-src data:; base-uri 'none'; form-action 'none'$",
);

// The page as it was parsed without scripts.  A declarative shadow root shows other words in the place of
// an element's own, and a closed one is seen by nobody: no such root is in what this returns.
function bodyWithoutShadows(document) {
  const copy = new DOMParser().parseFromString(document.documentElement.outerHTML, 'text/html');
  copy.querySelectorAll('body script').forEach((script) => script.remove());
  return copy.body;
}

function textDigest(document) {
  const pieces = [document.head.querySelector('title')?.textContent ?? ''];
  const visit = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      pieces.push(node.data.replace(/[\t\n\r\f ]+/g, ''));
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE || ['script', 'style'].includes(node.localName)) return;
    pieces.push(`\u0001${node.localName}`);
    for (const name of node.getAttributeNames().sort()) {
      if (!isReaders(node, name)) pieces.push(`\u0002${name}=${node.getAttribute(name)}`);
    }
    if (!node.hasAttribute('data-live')) node.childNodes.forEach(visit);
  };
  visit(document.body);
  return hex(sha256(utf8(pieces.join(''))));
}

// Attributes that a reader or this script sets: what is unfolded, what is shown once scripts run.
function isReaders(node, name) {
  return (node.localName === 'details' && name === 'open') || (node.id === 'verifier' && name === 'hidden')
    || (node.localName === 'body' && name === 'data-text');
}

function checkWords(document) {
  const { body, head } = document;
  const live = [...document.querySelectorAll('[data-live]:not(noscript)')].map((element) => element.id);
  if (live.length !== LIVE.length || !LIVE.every((id) => live.includes(id) && body.querySelector(`#${id}`))) {
    return fails('The page has other places for results of verification than it was made with.');
  }
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  if (new Set(ids).size !== ids.length) return fails('Two parts of the page have one name.');
  const styles = document.querySelectorAll('style');
  const isOwn = styles.length === 1 && document.styleSheets.length === 1
    && hex(sha256(utf8(styles[0].textContent))) === STYLE_DIGEST;
  if (!isOwn) return fails('The page looks otherwise than it was made to: its style sheet is another.');
  const policies = [...head.querySelectorAll('meta[http-equiv]')].map((meta) => meta.content);
  const policy = policies.length === 1 ? POLICY.exec(policies[0]) : null;
  if (policy === null || hex(decodeBase64(policy[1], 'The policy')) !== STYLE_DIGEST) {
    return fails('The page lacks the policy that keeps it from loading anything.');
  }
  const isFramed = document.documentElement.getAttributeNames().every((name) => ROOT_ATTRIBUTES.includes(name))
    && [...head.children].map((element) => element.localName).join() === HEAD.join();
  if (!isFramed || body.querySelector(NEVER_THERE) !== null) {
    return fails('The page holds an element that no such page is made with.');
  }
  if (TURNS_TEXT.test(body.textContent)) return fails('The page holds a sign that turns text round.');
  if (textDigest(document) !== body.getAttribute('data-text')) {
    return fails('The words of this page are not those that it was made with.');
  }
  return holds('The words of this page are those that it was made with. Nobody signed them: they are the tool’s.');
}
