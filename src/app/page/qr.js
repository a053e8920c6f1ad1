// QR codes: text to modules.   Spec: ISO/IEC 18004, byte mode, versions 1 to 10, error correction level M.
// Text of more than 213 bytes of UTF-8 does not fit; `encode` then gives null.

// By version: all codewords, those of error correction in a block, blocks, places of alignment patterns.
const VERSIONS = [
  null,
  [26, 10, 1, []],
  [44, 16, 1, [6, 18]],
  [70, 26, 1, [6, 22]],
  [100, 18, 2, [6, 26]],
  [134, 24, 2, [6, 30]],
  [172, 16, 4, [6, 34]],
  [196, 18, 4, [6, 22, 38]],
  [242, 22, 4, [6, 24, 42]],
  [292, 22, 5, [6, 26, 46]],
  [346, 26, 5, [6, 28, 50]],
];

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

// The field GF(256) with the polynomial 0x11d.
const EXP = [];
const LOG = [];
for (let i = 0, x = 1; i < 255; i++) {
  EXP[i] = x;
  LOG[x] = i;
  x = x < 128 ? x * 2 : (x * 2) ^ 0x11d;
}
const multiply = (a, b) => (a && b ? EXP[(LOG[a] + LOG[b]) % 255] : 0);

/** The rows of a QR code, each an array of booleans (true: dark), without the quiet zone; null: too long. */
export function encode(text) {
  const bytes = new TextEncoder().encode(text);
  const version = VERSIONS.findIndex((v, n) => v && 8 * (v[0] - v[1] * v[2]) >= 4 + lengthBits(n) + 8 * bytes.length);
  if (version < 0) return null;
  const codewords = interleave(version, dataCodewords(version, bytes));
  let best = null;
  for (let mask = 0; mask < 8; mask++) {
    const rows = draw(version, codewords, mask);
    const score = penalty(rows);
    if (!best || score < best.score) best = { score, rows };
  }
  return best.rows;
}

const lengthBits = (version) => (version < 10 ? 8 : 16);

function dataCodewords(version, bytes) {
  const [all, check, blocks] = VERSIONS[version];
  const bits = [];
  const put = (value, count) => {
    while (count--) bits.push((value >> count) & 1);
  };
  put(4, 4); // byte mode
  put(bytes.length, lengthBits(version));
  bytes.forEach((byte) => put(byte, 8));
  const capacity = 8 * (all - check * blocks);
  put(0, Math.min(4, capacity - bits.length));
  put(0, -bits.length & 7);
  for (let pad = 0xec; bits.length < capacity; pad ^= 0xec ^ 0x11) put(pad, 8);
  return Array.from({ length: capacity / 8 }, (_, n) => bits.slice(8 * n, 8 * n + 8).reduce((v, b) => 2 * v + b));
}

/** Splits the data into blocks, the longer ones last, and weaves them and their error correction together. */
function interleave(version, data) {
  const [, check, count] = VERSIONS[version];
  const short = Math.floor(data.length / count);
  const blocks = [];
  for (let n = 0, at = 0; n < count; n++) {
    const end = at + short + (n >= count - (data.length % count) ? 1 : 0);
    blocks.push(data.slice(at, end));
    at = end;
  }
  const weave = (parts) => {
    const longest = Math.max(...parts.map((part) => part.length));
    const columns = Array.from({ length: longest }, (_, i) => parts.map((part) => part[i]));
    return columns.flat().filter((value) => value !== undefined);
  };
  return [...weave(blocks), ...weave(blocks.map((block) => remainder(block, check)))];
}

/** The Reed-Solomon check codewords of a block. */
function remainder(block, count) {
  let generator = [1];
  for (let n = 0; n < count; n++) {
    const next = [...generator, 0];
    generator.forEach((factor, i) => (next[i + 1] ^= multiply(factor, EXP[n])));
    generator = next;
  }
  const rest = [...block, ...new Array(count).fill(0)];
  for (let i = 0; i < block.length; i++) {
    const lead = rest[i];
    generator.forEach((factor, j) => (rest[i + j] ^= multiply(factor, lead)));
  }
  return rest.slice(block.length);
}

function draw(version, codewords, mask) {
  const size = 17 + 4 * version;
  const rows = Array.from({ length: size }, () => new Array(size).fill(null));
  const set = (x, y, dark) => {
    if (rows[y] && x >= 0 && x < size) rows[y][x] = Boolean(dark);
  };
  const square = (cx, cy, radius, dark) => {
    for (let y = -radius; y <= radius; y++) {
      for (let x = -radius; x <= radius; x++) set(cx + x, cy + y, dark(Math.max(Math.abs(x), Math.abs(y))));
    }
  };
  for (let i = 8; i < size - 8; i++) {
    set(i, 6, i % 2 === 0);
    set(6, i, i % 2 === 0);
  }
  const places = VERSIONS[version][3];
  for (const x of places) {
    for (const y of places) {
      const corner = (x === 6 && y === 6) || (x === 6 && y === size - 7) || (x === size - 7 && y === 6);
      if (!corner) square(x, y, 2, (ring) => ring !== 1);
    }
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (ring) => ring !== 2 && ring !== 4);
  drawVersion(version, size, set);
  drawFormat(mask, size, set);

  // The data runs in pairs of columns from the right, up and down in turn, around the vertical timing pattern.
  let bit = 0;
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let n = 0; n < size; n++) {
      const y = up ? size - 1 - n : n;
      for (const x of [right, right - 1]) {
        if (rows[y][x] !== null) continue;
        const value = bit < 8 * codewords.length && (codewords[bit >> 3] >> (7 - (bit & 7))) & 1;
        bit++;
        rows[y][x] = Boolean(value) !== (MASKS[mask](x, y) === 0);
      }
    }
  }
  return rows;
}

/** `value` followed by its check bits by the polynomial `by` of `degree`. */
function withCheck(value, by, degree) {
  let rest = value << degree;
  for (let top = 31 - Math.clz32(rest); top >= degree; top = 31 - Math.clz32(rest)) rest ^= by << (top - degree);
  return (value << degree) | rest;
}

function drawVersion(version, size, set) {
  if (version < 7) return;
  const bits = withCheck(version, 0x1f25, 12);
  for (let i = 0; i < 18; i++) {
    const a = size - 11 + (i % 3);
    const b = Math.floor(i / 3);
    set(a, b, (bits >> i) & 1);
    set(b, a, (bits >> i) & 1);
  }
}

function drawFormat(mask, size, set) {
  // Level M has the number 0.
  const bits = withCheck(mask, 0x537, 10) ^ 0x5412;
  const along = [0, 1, 2, 3, 4, 5, 7, 8];
  for (let i = 0; i < 15; i++) {
    const dark = (bits >> i) & 1;
    if (i < 8) {
      set(8, along[i], dark);
      set(size - 1 - i, 8, dark);
    } else {
      set(i === 8 ? 7 : 14 - i, 8, dark);
      set(8, size - 15 + i, dark);
    }
  }
  set(8, size - 8, true);
}

/** How hard a code is to read, by the four rules of the specification. */
function penalty(rows) {
  const size = rows.length;
  const columns = rows.map((_, x) => rows.map((row) => row[x]));
  let score = 0;
  for (const line of [...rows, ...columns]) {
    const text = line.map(Number).join("");
    for (const run of text.match(/0{5,}|1{5,}/g) ?? []) score += run.length - 2;
    for (let i = 0; i + 11 <= size; i++) {
      const part = text.slice(i, i + 11);
      if (part === "10111010000" || part === "00001011101") score += 40;
    }
  }
  let dark = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      dark += rows[y][x];
      const same = (dx, dy) => rows[y + dy]?.[x + dx] === rows[y][x];
      if (same(1, 0) && same(0, 1) && same(1, 1)) score += 3;
    }
  }
  return score + 10 * Math.floor(Math.abs((20 * dark) / (size * size) - 10));
}
