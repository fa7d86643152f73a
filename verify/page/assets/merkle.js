// The RFC 6962 root of a growing list of lines.

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

class MerkleRoot {
  constructor() {
    this.size = 0;
    // Roots of the complete subtrees that the leaves so far split into, largest first: one for each
    // bit of the size that is set.
    this.peaks = [];
  }

  append(line) {
    let node = sha256(LEAF, line);
    // As in binary counting, each carry joins two equal subtrees.
    for (let size = this.size; size % 2 === 1; size = Math.floor(size / 2)) {
      node = sha256(NODE, this.peaks.pop(), node);
    }
    this.peaks.push(node);
    this.size++;
  }

  root() {
    if (this.size === 0) return sha256();
    return this.peaks.reduceRight((right, left) => sha256(NODE, left, right));
  }
}
