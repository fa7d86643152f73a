// Numbers and words of the page held to the signed documents.

const DIGIT = /\p{Nd}/u;
const NO_WORDS = '[data-live], script, style';

// What is found wrong on the page, so that it can be shown, and taken back before the page is read again.
class Marks {
  constructor() {
    this.marked = new Map();
  }

  // Marks an element; returns the address of the first one.
  add(element, title) {
    if (!this.marked.has(element)) {
      this.marked.set(element, [element.getAttribute('title'), element.getAttribute('id')]);
      element.classList.add('mismatch');
      element.setAttribute('title', title);
      if (!element.id) element.id = `mismatch-${this.marked.size}`;
    }
    return `#${element.id}`;
  }

  clear() {
    for (const [element, [title, id]] of this.marked) {
      element.classList.remove('mismatch');
      if (element.getAttribute('class') === '') element.removeAttribute('class');
      restore(element, 'title', title);
      restore(element, 'id', id);
    }
    this.marked.clear();
  }
}

function restore(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

// What a pointer names: the document, and the value in its predicate (undefined: there is none).
class Pointers {
  // `statements`: each document by the name that pointers have for it.
  constructor(statements) {
    this.statements = statements;
  }

  absolute(pointer, element) {
    if (pointer.startsWith('/')) return pointer;
    const base = element.parentElement?.closest('[data-in]')?.getAttribute('data-in');
    if (!base?.startsWith('/')) throw new Refused('It does not say where it stands in a document.');
    return pointer === '' ? base : `${base}/${pointer}`;
  }

  find(pointer, element) {
    const [, name, ...steps] = this.absolute(pointer, element).split('/');
    const statement = this.statements.get(name);
    if (statement === undefined) throw new Refused('The document that it names is not here.');
    let value = statement.predicate;
    for (const step of steps) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
      const isThere = Array.isArray(value)
        ? /^(0|[1-9][0-9]*)$/.test(key) && Number(key) < value.length
        : isObject(value) && Object.hasOwn(value, key);
      if (!isThere) return { statement, value: undefined, isRoot: false };
      value = value[key];
    }
    return { statement, value, isRoot: steps.length === 0 };
  }

  // A pointer's value as the page has to write it.
  rendered(pointer, as, element) {
    const { statement, value, isRoot } = this.find(pointer, element);
    if (as === 'keyid') return render(isRoot ? statement.signatures[0].keyid || null : value, as);
    return render(isRoot ? statement.digest : value, as);
  }
}

// Holds every bound element to the documents.
function checkNumbers(body, pointers, marks) {
  let held = 0;
  let wrong = 0;
  let first = null;
  const note = (element, title) => {
    const address = marks.add(element, title);
    first ??= address;
    wrong++;
  };
  for (const element of body.querySelectorAll('[data-at]')) {
    const [at, as] = ['data-at', 'data-as'].map((name) => element.getAttribute(name));
    try {
      const signed = pointers.rendered(at, as, element);
      if (collapse(element.textContent) === signed) held++;
      else note(element, `The signed document says: ${signed}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      note(element, error.message);
    }
  }
  const bound = wrong;
  for (const element of unboundNumbers(body)) note(element, 'This number is bound to nothing that is signed.');
  if (bound) {
    const number = plural(bound, 'number or word on this page differs', 'numbers or words on this page differ');
    return fails(`${number} from what is signed.`, first);
  }
  if (wrong) {
    const number = plural(wrong, 'number on this page is', 'numbers on this page are');
    return fails(`${number} bound to nothing that is signed.`, first);
  }
  const own = [...textsWithDigits(body)].filter((text) => text.parentElement.closest('[data-at]') === null);
  const further = plural(own.length, 'further number, as on an axis, is', 'further numbers, as on axes, are');
  const number = plural(held, 'number or word', 'numbers and words');
  return holds(`${number} on this page are those of the signed documents; ${further} the page’s own.`);
}

// Texts of the page, results of verification aside, that hold a digit of any script.
function* textsWithDigits(body) {
  const walker = body.ownerDocument.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    if (DIGIT.test(node.data) && node.parentElement.closest(NO_WORDS) === null) yield node;
  }
}

// Elements with such a text that neither a signed value stands behind, nor the page's own words.
function unboundNumbers(body) {
  const texts = [...textsWithDigits(body)];
  const unbound = texts.filter((text) => text.parentElement.closest('[data-at], [data-fixed]') === null);
  return new Set(unbound.map((text) => text.parentElement));
}

function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
