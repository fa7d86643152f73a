// The page's own words, which nobody signed: held to a digest in the page.  It finds what was edited
// by accident or with little care; whoever also writes the digest or this script anew is not found.

const DIGESTED_ATTRIBUTES = [
  'alt', 'aria-label', 'aria-labelledby', 'for', 'href', 'id', 'placeholder', 'title', 'value',
];
const LIVE = ['verdict', 'verdict-detail', 'checks'];

// What no page is made with: it could show what no text node holds, hide what one holds, or turn the
// digits of a number round.
const NEVER_THERE = [
  'iframe', 'frame', 'object', 'embed', 'portal', 'img', 'picture', 'image', 'audio', 'video', 'canvas',
  'template', 'link', 'base', 'bdo', '[dir]', '[style]', '[srcdoc]', '[hidden]:not(#verifier)',
].join();

// What keeps the page from loading and sending anything, and other scripts and styles out of it.
const POLICY = new RegExp(
  "^default-src 'none'; script-src 'sha256-[A-Za-z0-9+/=]{44}'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; "
    + "img-src data:; base-uri 'none'; form-action 'none'$",
);

function textDigest(body) {
  const pieces = [];
  const visit = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      pieces.push(node.data.replace(/[\t\n\r\f ]+/g, ''));
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.shadowRoot !== null) pieces.push('shadow'); // shows other words in place of the element's
    if (['script', 'style'].includes(node.localName) || node.hasAttribute('data-live')) return;
    for (const name of DIGESTED_ATTRIBUTES) {
      if (node.hasAttribute(name)) pieces.push(`\u0001${name}=${node.getAttribute(name)}`);
    }
    node.childNodes.forEach(visit);
  };
  body.childNodes.forEach(visit);
  return hex(sha256(utf8(pieces.join(''))));
}

function checkWords(body) {
  const live = [...body.querySelectorAll('[data-live]:not(noscript)')].map((element) => element.id);
  if (live.length !== LIVE.length || !LIVE.every((id) => live.includes(id))) {
    return fails('The page has other places for results of verification than it was made with.');
  }
  const policies = [...body.ownerDocument.head.querySelectorAll('meta[http-equiv]')].map((meta) => meta.content);
  if (policies.length !== 1 || !POLICY.test(policies[0])) {
    return fails('The page lacks the policy that keeps it from loading anything.');
  }
  if (body.querySelector(NEVER_THERE) !== null) {
    return fails('The page holds an element that no such page is made with.');
  }
  if (textDigest(body) !== body.getAttribute('data-text')) {
    return fails('The words of this page are not those that it was made with.');
  }
  return holds('The words of this page are those that it was made with. Nobody signed them: they are the tool’s.');
}
