// Fragmented MP4 as it arrives: bytes to segments, and what an initialization segment says.
// Spec: ISO/IEC 14496-12 (boxes), 14496-15 (H.264, H.265), AV1-ISOBMFF, RFC 6381 (codec names).

/** A box that claims to be longer than this is no stream of ours. */
const MAX_BOX = 64 << 20;

/** The boxes in `bytes` between `at` and `end`: [name, start of body, end]. */
function* boxes(bytes, at = 0, end = bytes.length) {
  while (at + 8 <= end) {
    const size = u32(bytes, at);
    if (size < 8 || at + size > end) return;
    yield [name(bytes, at + 4), at + 8, at + size];
    at += size;
  }
}

const u16 = (bytes, at) => (bytes[at] << 8) | bytes[at + 1];
const u32 = (bytes, at) => ((bytes[at] << 24) | (bytes[at + 1] << 16) | u16(bytes, at + 2)) >>> 0;
const u64 = (bytes, at) => u32(bytes, at) * 2 ** 32 + u32(bytes, at + 4);
const name = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const hex = (value) => value.toString(16);
const hex2 = (value) => hex(value).padStart(2, "0");

/** The first box along a path of names, such as ["moov", "trak"]: [start of body, end], or undefined. */
function find(bytes, path, at = 0, end = bytes.length) {
  for (const [kind, from, to] of boxes(bytes, at, end)) {
    if (kind === path[0]) return path.length > 1 ? find(bytes, path.slice(1), from, to) : [from, to];
  }
  return undefined;
}

/**
 * What an initialization segment holds: `mime` as addSourceBuffer takes it, null when a track is of a kind unknown
 * here; and by number the tracks: ticks of a second, whether it is video, flags of a sample that has none of its own.
 */
function describe(init) {
  const codecs = [];
  const tracks = new Map();
  const [at, end] = find(init, ["moov"]) ?? [0, 0];
  for (const [kind, from, to] of boxes(init, at, end)) {
    if (kind !== "trak") continue;
    const tkhd = find(init, ["tkhd"], from, to);
    const mdhd = find(init, ["mdia", "mdhd"], from, to);
    const hdlr = find(init, ["mdia", "hdlr"], from, to);
    const stsd = find(init, ["mdia", "minf", "stbl", "stsd"], from, to);
    if (!tkhd || !mdhd || !hdlr || !stsd) continue;
    const scale = u32(init, mdhd[0] + (init[mdhd[0]] ? 20 : 12));
    const video = name(init, hdlr[0] + 8) === "vide";
    tracks.set(u32(init, tkhd[0] + (init[tkhd[0]] ? 20 : 12)), { scale, video, flags: 0 });
    for (const [format, body, stop] of boxes(init, stsd[0] + 8, stsd[1])) codecs.push(codec(init, format, body, stop));
  }
  const [mvex, stop] = find(init, ["moov", "mvex"]) ?? [0, 0];
  for (const [kind, from] of boxes(init, mvex, stop)) {
    const track = kind === "trex" && tracks.get(u32(init, from + 4));
    if (track) track.flags = u32(init, from + 20);
  }
  const known = codecs.length > 0 && codecs.every(Boolean);
  const kind = [...tracks.values()].some((track) => track.video) ? "video" : "audio";
  return { mime: known ? `${kind}/mp4; codecs="${codecs.join(",")}"` : null, tracks };
}

/** The name of a sample entry's codec, or undefined. */
function codec(b, format, at, end) {
  const inVideo = (box) => find(b, [box], at + 78, end)?.[0];
  switch (format) {
    case "avc1":
    case "avc3": {
      const c = inVideo("avcC");
      return c && `${format}.${hex2(b[c + 1])}${hex2(b[c + 2])}${hex2(b[c + 3])}`;
    }
    case "hvc1":
    case "hev1": {
      const c = inVideo("hvcC");
      return c && `${format}.${hevc(b, c)}`;
    }
    case "av01": {
      const c = inVideo("av1C");
      if (!c) return undefined;
      const depth = b[c + 2] & 0x40 ? (b[c + 2] & 0x20 ? "12" : "10") : "08";
      const level = String(b[c + 1] & 31).padStart(2, "0");
      return `av01.${b[c + 1] >> 5}.${level}${b[c + 2] & 0x80 ? "H" : "M"}.${depth}`;
    }
    case "vp09": {
      const c = inVideo("vpcC");
      const two = (value) => String(value).padStart(2, "0");
      return c && `vp09.${two(b[c + 4])}.${two(b[c + 5])}.${two(b[c + 6] >> 4)}`;
    }
    case "mp4a":
      return mpegAudio(b, find(b, ["esds"], at + 28, end));
    case "Opus":
      return "opus";
    case "fLaC":
      return "flac";
    case "ac-3":
    case "ec-3":
      return format;
    case ".mp3":
      return "mp3";
    default:
      return undefined;
  }
}

function hevc(b, c) {
  const space = ["", "A", "B", "C"][b[c + 1] >> 6];
  let flags = 0;
  for (let i = 0; i < 32; i++) flags |= ((u32(b, c + 2) >>> i) & 1) << (31 - i);
  const constraints = [...b.subarray(c + 6, c + 12)];
  while (constraints.length && !constraints.at(-1)) constraints.pop();
  const tier = b[c + 1] & 0x20 ? "H" : "L";
  return [`${space}${b[c + 1] & 31}`, hex(flags >>> 0), `${tier}${b[c + 12]}`, ...constraints.map(hex)].join(".");
}

/** From the descriptors of an `esds` box: the object type, and for AAC what it is of. */
function mpegAudio(b, esds) {
  if (!esds) return undefined;
  const [start, end] = esds;
  let type = 0;
  let at = start + 4;
  while (at + 2 < end) {
    const tag = b[at++];
    while (b[at] & 0x80) at++; // the length takes several bytes
    at++;
    if (tag === 3) at += 3;
    else if (tag === 4) {
      type = b[at];
      at += 13;
    } else if (tag === 5) {
      const short = b[at] >> 3;
      return `mp4a.40.${short === 31 ? 32 + (((b[at] & 7) << 3) | (b[at + 1] >> 5)) : short}`;
    } else break;
  }
  return type && `mp4a.${hex(type).toUpperCase()}`;
}

/**
 * When the first sample of a fragment is decoded, in seconds, and whether a decoder can begin with it. `start` is
 * undefined when the fragment does not say.
 */
function look(fragment, tracks) {
  let start;
  let key = ![...tracks.values()].some((track) => track.video);
  const [at, end] = find(fragment, ["moof"]) ?? [0, 0];
  for (const [kind, from, to] of boxes(fragment, at, end)) {
    const tfhd = kind === "traf" && find(fragment, ["tfhd"], from, to);
    const tfdt = tfhd && find(fragment, ["tfdt"], from, to);
    const track = tfhd && tracks.get(u32(fragment, tfhd[0] + 4));
    if (!tfdt || !track) continue;
    const long = fragment[tfdt[0]];
    const time = (long ? u64(fragment, tfdt[0] + 4) : u32(fragment, tfdt[0] + 4)) / track.scale;
    start = Math.min(start ?? time, time);
    if (track.video) key ||= begins(fragment, track, tfhd[0], find(fragment, ["trun"], from, to));
  }
  return { start, key };
}

/** Whether the first sample of a track's run is one to begin with. */
function begins(b, track, tfhd, trun) {
  const NON_SYNC = 0x10000;
  const has = (box, flag) => Boolean(u32(b, box) & flag);
  const size = (box, flags) => flags.reduce((sum, [flag, bytes]) => sum + (has(box, flag) ? bytes : 0), 0);
  let flags = track.flags;
  if (has(tfhd, 0x20)) flags = u32(b, tfhd + 8 + size(tfhd, [[1, 8], [2, 4], [8, 4], [0x10, 4]]));
  if (trun && has(trun[0], 4)) flags = u32(b, trun[0] + 8 + size(trun[0], [[1, 4]]));
  else if (trun && has(trun[0], 0x400)) flags = u32(b, trun[0] + 8 + size(trun[0], [[1, 4], [0x100, 4], [0x200, 4]]));
  return !(flags & NON_SYNC);
}

/** Cuts a byte stream into whole boxes. */
class Cutter {
  #held = new Uint8Array(1 << 16);
  #length = 0;

  /** Takes the bytes that came; gives the boxes that are whole now as [name, bytes]. */
  *push(chunk) {
    if (this.#length + chunk.length > this.#held.length) {
      const larger = new Uint8Array(2 * (this.#length + chunk.length));
      larger.set(this.#held.subarray(0, this.#length));
      this.#held = larger;
    }
    this.#held.set(chunk, this.#length);
    this.#length += chunk.length;
    let at = 0;
    while (at + 16 <= this.#length) {
      const short = u32(this.#held, at);
      const size = short === 1 ? u64(this.#held, at + 8) : short;
      if (size < 8 || size > MAX_BOX) throw new Error("what came is not fragmented MP4");
      if (at + size > this.#length) break;
      yield [name(this.#held, at + 4), this.#held.slice(at, at + size)];
      at += size;
    }
    this.#held.copyWithin(0, at, this.#length);
    this.#length -= at;
  }
}

function join(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The answer to a request was not the stream. */
export class Refused extends Error {
  constructor(status, line) {
    super(line || `status ${status}`);
    this.status = status;
  }
}

/**
 * Fetches a stream and gives its segments as they arrive: { init: true, bytes, mime } and
 * { init: false, bytes, start, key } (see `look`). `onBytes` is called whenever anything came. Ends when the stream does.
 */
export async function* segments(url, signal, onBytes = () => {}) {
  const response = await fetch(url, { signal, cache: "no-store", credentials: "same-origin" });
  if (!response.ok || !response.body) throw new Refused(response.status, (await response.text()).trim());
  const reader = response.body.getReader();
  const cutter = new Cutter();
  let parts = [];
  let tracks = new Map();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes(value.length);
      for (const [kind, box] of cutter.push(value)) {
        if (kind === "free" || kind === "skip") continue;
        parts.push(box);
        // All other boxes belong to the segment that the next of these two ends.
        if (kind !== "moov" && kind !== "mdat") continue;
        const bytes = join(parts);
        parts = [];
        if (kind === "moov") {
          const told = describe(bytes);
          tracks = told.tracks;
          yield { init: true, bytes, mime: told.mime };
        } else {
          yield { init: false, bytes, ...look(bytes, tracks) };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
