// Marks of charts held to the numbers that they stand for, by the scales that the chart states.

const SHAPES = ['circle', 'line', 'rect', 'path', 'polyline', 'polygon'];
// Of these charts are made; others could move a mark (`animate`), or draw one again (`use`).
const PARTS = [...SHAPES, 'g', 'text', 'tspan', 'title', 'desc', 'bdi'];
const POSITIONS = ['cx', 'cy', 'x1', 'y1', 'x2', 'y2', 'x', 'y'];
const TOLERANCE = 0.06;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?$/;

const CURVES = { linear: (value) => value, log1p: Math.log1p };

function readNumber(text) {
  if (typeof text === 'number') return text;
  if (typeof text !== 'string' || !NUMBER.test(text)) throw new Refused('It has no number to stand for.');
  return Number(text);
}

// The scale `KIND FROM TO PXFROM PXTO`: where a value stands, and where the chart ends.
function readScale(text) {
  const [kind, ...numbers] = (text ?? '').trim().split(/\s+/);
  if (!Object.hasOwn(CURVES, kind) || numbers.length !== 4) throw new Refused('The chart states no scale.');
  const curve = CURVES[kind];
  const [from, to, start, end] = numbers.map(readNumber);
  const place = (value) => start + ((end - start) * (curve(value) - curve(from))) / (curve(to) - curve(from));
  return { place, ends: [start, end] };
}

// Holds one mark to its scales; throws Refused.
function checkMark(mark, scales, pointers) {
  const entries = mark.getAttribute('data-geo').split(';');
  const isData = entries.some((entry) => !entry.includes('='));
  if (!isData && mark.localName !== 'text' && !isAcross(mark, scales)) {
    throw new Refused('It stands for no number that is signed.');
  }
  for (const entry of entries) {
    const parts = entry.trim().split(/\s+/);
    const [attribute, axis, source] = parts;
    if (parts.length !== 3 || !POSITIONS.includes(attribute) || !Object.hasOwn(scales, axis)) {
      throw new Refused('It does not say what it stands for.');
    }
    const isLiteral = source.startsWith('=');
    const value = readNumber(isLiteral ? source.slice(1) : pointers.find(source, mark).value);
    const wanted = scales[axis].place(value);
    const stands = readNumber(mark.getAttribute(attribute));
    if (!(Math.abs(stands - wanted) <= TOLERANCE)) {
      throw new Refused(`It does not stand where ${value} belongs.`);
    }
    if (isLiteral && mark.localName === 'text') checkTick(mark, value);
  }
}

// Whether a mark is a straight line from one side of the chart to the other, such as that of zero: of
// marks that stand for literals alone, only these could not be taken for results.
function isAcross(mark, scales) {
  if (mark.localName !== 'line') return false;
  const [x1, x2, y1, y2] = ['x1', 'x2', 'y1', 'y2'].map((name) => readNumber(mark.getAttribute(name)));
  const spans = (a, b, { ends }) => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    return Math.abs(low - Math.min(...ends)) <= TOLERANCE && Math.abs(high - Math.max(...ends)) <= TOLERANCE;
  };
  return (x1 === x2 && spans(y1, y2, scales.y)) || (y1 === y2 && spans(x1, x2, scales.x));
}

// A line of an axis or a grid: level or upright.
function isFrame(mark) {
  if (!mark.hasAttribute('data-frame') || mark.localName !== 'line') return false;
  return ['x', 'y'].some((axis) => mark.getAttribute(`${axis}1`) === mark.getAttribute(`${axis}2`));
}

// A label of an axis that is a number is the one at whose place it stands: 50 % at 0.5.
function checkTick(mark, value) {
  const match = /^([-−]?[0-9][0-9,]*(?:\.[0-9]+)?)(\s*%)?$/.exec(mark.textContent.trim());
  if (match === null) return;
  const shown = Number(match[1].replaceAll(',', '').replace('−', '-')) / (match[2] === undefined ? 1 : 100);
  if (Math.abs(shown - value) > 1e-9 * Math.max(1, Math.abs(value))) {
    throw new Refused(`The label stands at ${value}.`);
  }
}

function scalesOf(chart) {
  return { x: readScale(chart.getAttribute('data-xscale')), y: readScale(chart.getAttribute('data-yscale')) };
}

function checkCharts(body, pointers, marks) {
  let held = 0;
  let wrong = 0;
  let first = null;
  const charts = body.querySelectorAll('[data-chart]');
  for (const chart of charts) {
    for (const mark of chart.querySelectorAll('*')) {
      try {
        if (!PARTS.includes(mark.localName) || mark.hasAttribute('transform')) {
          throw new Refused('No chart is made with this.');
        }
        if (mark.hasAttribute('data-geo')) {
          checkMark(mark, scalesOf(chart), pointers);
          held++;
        } else if (SHAPES.includes(mark.localName) && !isFrame(mark)) {
          throw new Refused('This mark stands for nothing that is signed.');
        }
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        const address = marks.add(mark, error.message);
        first ??= address;
        wrong++;
      }
    }
  }
  for (const mark of body.querySelectorAll('svg, [data-geo]')) {
    if (mark.closest('svg[data-chart]') === null) {
      const address = marks.add(mark, 'This drawing is no chart that can be checked.');
      first ??= address;
      wrong++;
    }
  }
  if (wrong) {
    const number = plural(wrong, 'mark in the charts does', 'marks in the charts do');
    return fails(`${number} not stand where the signed numbers belong.`, first);
  }
  const drawings = plural(charts.length, 'chart', 'charts');
  return holds(`${plural(held, 'mark', 'marks')} in ${drawings} stand where the signed numbers belong.`);
}
