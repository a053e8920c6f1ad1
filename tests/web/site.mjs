// Uses the page of a running server as a person would, in headless Chromium, and fails at the first thing that is not as
// it should be. Publishes with ffmpeg what it needs. Options: --modules DIR (holds node_modules), --base ADDRESS and
// --rtmp ADDRESS (of the server, which must have no stream), --clip FILE and --other FILE (H.264 and AAC in FLV, of 640x360
// and 320x240), --mp3 FILE (with MP3), --shots DIR (for screenshots), --source DIR (of the page's files), --chromium FILE.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const string = { type: "string" };
const { values: options } = parseArgs({
  options: {
    modules: string,
    base: string,
    rtmp: string,
    clip: string,
    other: string,
    mp3: string,
    shots: string,
    source: string,
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const modules = createRequire(resolve(options.modules, "package.json"));
const { chromium } = modules("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** For what happens by itself. */
const SOON = 20_000;
/** The most that the page may be behind, in seconds: when all goes well, and where what was done to it may show for a while
 * (after each stall the player keeps somewhat more in its buffer). */
const MAX_DELAY = 1.5;
const MAX_DELAY_AFTER = 5;
/** A name that would become an element if it were taken for markup. */
const MARKUP = "<b>bold";

const publishers = new Map();

function publish(clip, name) {
  const url = `${options.rtmp}/live/${name}`;
  const input = ["-re", "-stream_loop", "-1", "-i", clip];
  const child = spawn("ffmpeg", ["-nostdin", "-loglevel", "error", ...input, "-c", "copy", "-f", "flv", url], { stdio: "inherit" });
  publishers.set(name, child);
}

/** The picture without end, the sound from `start` on or up to `end`, in seconds. */
function publishPartly(clip, name, { start, end }) {
  const url = `${options.rtmp}/live/${name}`;
  const picture = ["-re", "-stream_loop", "-1", "-i", clip];
  const sound = [...(start ? ["-itsoffset", String(start), "-stream_loop", "-1"] : ["-t", String(end)]), "-re", "-i", clip];
  const args = [...picture, ...sound, "-map", "0:v", "-map", "1:a", "-c", "copy", "-max_interleave_delta", "100000", "-f", "flv", url];
  publishers.set(name, spawn("ffmpeg", ["-nostdin", "-loglevel", "error", ...args], { stdio: "inherit" }));
}

function unpublish(name) {
  publishers.get(name)?.kill("SIGKILL");
  publishers.delete(name);
}

/** Waits until `look` gives something true, and gives it. */
async function until(what, look, limit = SOON) {
  const end = Date.now() + limit;
  let last;
  do {
    last = await look();
    if (last) return last;
    await new Promise((done) => setTimeout(done, 100));
  } while (Date.now() < end);
  throw new Error(`in vain: ${what}`);
}

// ---- QR codes, by a reader of others

async function checkQr() {
  const source = readFileSync(join(options.source, "qr.js"), "utf8");
  const { encode } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
  const jsQR = modules("jsqr");
  const read = (rows, scale = 4, quiet = 4) => {
    const size = (rows.length + 2 * quiet) * scale;
    const pixels = new Uint8ClampedArray(4 * size * size).fill(255);
    rows.forEach((row, y) =>
      row.forEach((dark, x) => {
        for (let n = 0; dark && n < scale * scale; n++) {
          const at = ((y + quiet) * scale + Math.floor(n / scale)) * size + (x + quiet) * scale + (n % scale);
          pixels.fill(0, 4 * at, 4 * at + 3);
        }
      }),
    );
    return jsQR(pixels, size, size)?.data;
  };
  const sizes = new Set();
  for (let length = 1; length <= 213; length += length < 12 || length > 205 ? 1 : 5) {
    const text = `rtmp://192.168.1.7/live/${"ab7-_".repeat(50)}`.slice(0, length);
    const rows = encode(text);
    sizes.add((rows.length - 17) / 4);
    assert.equal(read(rows), text, `a QR code of ${length} bytes`);
  }
  assert.equal(read(encode("http://cam.lan/ü/x.flv")), "http://cam.lan/ü/x.flv");
  assert.deepEqual([...sizes], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(encode("x".repeat(214)), null);
}

// ---- what everybody must be able to use

/** Faults of names, structure and contrast, found in the page. */
function faultsOfPage() {
  const faults = [];
  const shown = (node) => node.checkVisibility() && node.getClientRects().length > 0;
  const name = (node) =>
    (node.getAttribute("aria-label") ?? "") + (node.textContent ?? "").trim() + [...(node.labels ?? [])].map((l) => l.textContent).join("");
  for (const node of document.querySelectorAll("a[href], button, input, summary, dialog, section")) {
    const by = document.getElementById(node.getAttribute("aria-labelledby") ?? "");
    if (shown(node) && !name(node).trim() && !by?.textContent.trim()) faults.push(`no name: ${node.outerHTML.slice(0, 80)}`);
  }
  for (const node of document.querySelectorAll("a[href], button, summary")) {
    const { width, height } = node.getBoundingClientRect();
    if (shown(node) && !node.classList.contains("skip") && Math.min(width, height) < 24) faults.push(`too small: ${name(node)}`);
  }
  for (const node of document.querySelectorAll("svg, canvas")) {
    if (shown(node) && node.getAttribute("aria-hidden") !== "true" && node.getAttribute("role") !== "img") faults.push("a picture without a role");
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  for (const landmark of ["header", "main", "footer"]) if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  const heads = [...document.querySelectorAll("h1, h2, h3")].filter(shown).map((node) => Number(node.tagName[1]));
  if (heads.filter((level) => level === 1).length !== 1) faults.push(`headings of the first level: ${heads}`);
  if (heads.some((level, n) => n > 0 && level > heads[n - 1] + 1)) faults.push(`a level of headings is left out: ${heads}`);
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`wider than the window: ${document.documentElement.scrollWidth}`);

  const parse = (color) => (color.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === undefined || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    // Over a moving picture no ratio holds.
    if (!text.data.trim() || !shown(node) || node.closest(".stage, .badge, .hidden, .skip, script")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
  }
  return faults;
}

/** What the rules of axe find. It is put in by the browser's own means: the page's policy lets no other script run. */
async function axe(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 100))}`);
}
const axeSource = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");

const DESK = { width: 1180, height: 860 };
const VIEWS = [
  ["light", "light", DESK],
  ["dark", "dark", DESK],
  ["phone", "dark", { width: 390, height: 844 }],
  ["small", "light", { width: 320, height: 568 }],
];

/** Checks what is shown now in light and dark, wide and narrow, and takes pictures. */
async function everyView(page, what) {
  for (const [name, colorScheme, size] of VIEWS) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    await new Promise((done) => setTimeout(done, 400));
    await page.screenshot({ path: join(options.shots, `page-${what}-${name}.png`), fullPage: true });
    assert.deepEqual(await page.evaluate(faultsOfPage), [], `${what}, ${name}`);
    assert.deepEqual(await axe(page), [], `${what}, ${name}`);
  }
  await page.setViewportSize(DESK);
}

// ---- the page

/** Where a line must not break means nothing here. */
const text = async (page, selector) => (await page.locator(selector).first().textContent()).replaceAll("\u00a0", " ");
const focused = (page) => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);

/** What the player shows. */
function look(page) {
  return page.evaluate(() => {
    const video = document.getElementById("video");
    const stats = Object.fromEntries([...document.querySelectorAll("#stats div")].map((div) => [div.firstChild.textContent, div.lastChild.textContent.replaceAll("\u00a0", " ")]));
    const quality = video.getVideoPlaybackQuality();
    return {
      state: document.getElementById("stage").dataset.state,
      time: video.currentTime,
      width: video.videoWidth,
      delay: Number.parseFloat(stats.Delay),
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      stats,
    };
  });
}

/** Waits until `seconds` more have been played in this width. */
async function plays(page, seconds, width) {
  let first;
  return until(`${seconds} s of ${width} pixels`, async () => {
    const seen = await look(page);
    if (seen.state !== "playing" || seen.width !== width) first = undefined;
    else first ??= seen.time;
    return first !== undefined && seen.time - first >= seconds && seen;
  });
}

async function tabTo(page, hit) {
  for (let n = 0; n < 60; n++) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate((selector) => {
      const node = document.activeElement;
      return { hit: node.matches(selector), ring: getComputedStyle(node).outlineStyle };
    }, hit);
    assert.notEqual(found.ring, "none", "what has the focus shows it");
    if (found.hit) return;
  }
  throw new Error(`Tab does not lead to ${hit}`);
}

async function nothingLive(page) {
  await page.goto(options.base);
  await page.locator("#empty").waitFor();
  const how = await text(page, "#publish-body");
  assert.ok(how.includes(`${options.rtmp}/live`), how);
  assert.equal(await page.locator("#publish").getAttribute("open"), "");
  await everyView(page, "empty");
}

async function list(page) {
  publish(options.clip, "x");
  publish(options.clip, MARKUP);
  await until("two cards, without reloading", async () => (await page.locator(".card").count()) === 2);
  const names = await page.locator(".card .name").allTextContents();
  assert.deepEqual(names, [`live/${MARKUP}`, "live/x"]);
  assert.equal(await page.locator(".card b").count(), 0, "a name stays text");
  await until("pictures", async () => (await page.locator("canvas.drawn").count()) === 2);
  const colors = await page.evaluate(() => {
    const canvas = document.querySelector("canvas.drawn");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  assert.ok(colors > 50, `${colors} colours in the picture of a card`);
  await until("figures", async () => /640 × 360 · H\.264 · AAC/.test(await text(page, ".card")) && /kbit\/s/.test(await text(page, ".card")));
  unpublish(MARKUP);
  await until("the end of a stream is told", async () => (await page.locator(".card").count()) === 1);
  await everyView(page, "list");
}

/** The player comes close to live by itself, however busy the machine was. */
async function near(page, limit = MAX_DELAY_AFTER) {
  await until("the player is close to live", async () => (await look(page)).delay < limit, 2 * SOON);
  return look(page);
}

async function watch(page) {
  await page.locator("h1").first().click();
  await tabTo(page, ".card");
  await page.keyboard.press("Enter");
  await page.locator("#watch").waitFor();
  assert.equal(await focused(page), "watch-title");
  await plays(page, 4, 640);
  const seen = await near(page, MAX_DELAY);
  assert.ok(seen.frames > 60 && seen.dropped < seen.frames / 2, `${seen.dropped} of ${seen.frames} frames dropped`);
  assert.equal(seen.stats.Reconnects, "0");
  assert.match(seen.stats.Picture, /640 × 360 · H\.264 High/);
  assert.match(seen.stats.Sound, /AAC · 44\.1 kHz/);
  assert.match(seen.stats.Buffer, /^[\d.]+ s$/);
  assert.match(seen.stats["Dropped frames"], /^\d+ of \d+$/);
  await everyView(page, "watch");
  return seen;
}

/** The listing and the file itself must say the same of the codecs. */
async function codecs(page) {
  const [told, found] = await page.evaluate(async () => {
    const { streams } = await (await fetch("/runnel/streams.json")).json();
    const { segments } = await import("/runnel/mp4.js");
    for await (const segment of segments(streams[0].urls.mp4)) return [streams[0].mime, segment.mime];
    return [];
  });
  assert.equal(told, found);
}

async function keys(page) {
  await page.locator("#watch-title").focus();
  await page.keyboard.press("Space");
  await until("a pause", async () => (await look(page)).state === "paused");
  await until("nobody watches a paused picture", async () => (await look(page)).stats.Viewers === "0");
  await page.keyboard.press("k");
  await plays(page, 2, 640);
  await page.keyboard.press("m");
  assert.ok(await page.evaluate(() => document.getElementById("video").muted));
  await page.keyboard.press("m");
  assert.ok(!(await page.evaluate(() => document.getElementById("video").muted)));
}

/** The pixels of a drawing in the page, black on white. */
async function pixelsOf(selector) {
  const drawing = new Blob([new XMLSerializer().serializeToString(document.querySelector(selector))], { type: "image/svg+xml" });
  const image = new Image(400, 400);
  image.src = URL.createObjectURL(drawing);
  await image.decode();
  const context = Object.assign(document.createElement("canvas"), { width: 400, height: 400 }).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 400, 400);
  context.drawImage(image, 0, 0, 400, 400);
  const { data, width, height } = context.getImageData(0, 0, 400, 400);
  return { data: [...data], width, height };
}

async function addresses(page) {
  const ways = await page.locator("#ways code").allTextContents();
  for (const url of [`${options.rtmp}/live/x`, ...["flv", "ts", "m3u8", "mp4"].map((end) => new URL(`/live/x.${end}`, options.base).href)]) {
    assert.ok(ways.includes(url), `${url} in ${ways}`);
  }
  await page.locator("#ways button").first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), ways[0]);
  // As on a plain address in the network, where a page gets no clipboard.
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true }));
  await page.locator("#ways li").nth(1).locator("button").first().click();
  await until("a word about it", async () => (await text(page, "#say")) === "Copied.");
  await page.evaluate(() => delete navigator.clipboard);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), ways[1]);

  const codes = page.locator('#ways button[aria-label^="QR code"]');
  assert.equal(await codes.count(), ways.length, "a code for each address");
  const jsQR = modules("jsqr");
  for (let n = 0; n < ways.length; n++) {
    const button = codes.nth(n);
    await button.focus();
    await page.keyboard.press("Enter");
    await page.locator("#qr[open] svg").waitFor();
    assert.equal(await text(page, "#qr-text"), ways[n]);
    if (n === 0) await page.screenshot({ path: join(options.shots, "page-qr.png") });
    const { data, width, height } = await page.evaluate(pixelsOf, "#qr svg");
    assert.equal(jsQR(Uint8ClampedArray.from(data), width, height)?.data, ways[n], "what a phone reads");
    await page.keyboard.press("Escape");
    await page.locator("#qr").waitFor({ state: "hidden" });
    assert.ok(await button.evaluate((node) => node === document.activeElement), "the focus is back");
  }
  assert.ok(await page.locator("#watch").isVisible(), "Escape closed the code, not the player");
}

/** Another encoder within the time for which viewers are kept, then none, then one again. */
async function encoders(page) {
  unpublish("x");
  publish(options.other, "x");
  await plays(page, 3, 320);
  await near(page);
  unpublish("x");
  await until("the end is told", async () => /Nobody publishes/.test(await text(page, "#veil-text")));
  publish(options.clip, "x");
  await plays(page, 3, 640);
  await near(page);
  await page.keyboard.press("Escape");
  await page.locator("#list").waitFor();
  assert.match(await focused(page), /live\/x/);
}

/** Sound that begins long after the picture, and sound that stops while the picture goes on: the picture goes on with either. */
async function partlySilent(page) {
  const sound = () => page.evaluate(() => document.getElementById("video").webkitAudioDecodedByteCount);
  publishPartly(options.clip, "late", { start: 6 });
  await page.goto(`${options.base}#/live/late`);
  await plays(page, 2, 640);
  await until("the sound is heard", async () => (await sound()) > 5_000);
  assert.equal((await plays(page, 3, 640)).stats.Reconnects, "0");
  await near(page);
  unpublish("late");

  publishPartly(options.clip, "stops", { end: 5 });
  await page.goto(`${options.base}#/live/stops`);
  await plays(page, 3, 640);
  const heard = await sound();
  const seen = await plays(page, 9, 640);
  assert.equal(seen.stats.Reconnects, "0");
  assert.ok((await sound()) > heard, "there is silence in place of the sound");
  await near(page);
  unpublish("stops");
}

/** Sound that the browser cannot play: the page says so, and shows the picture. */
async function silent(page) {
  publish(options.mp3, "mp3");
  await page.goto(`${options.base}#/live/mp3`);
  await plays(page, 2, 640);
  await until("the silence is told", async () => /MP3, not played by this browser/.test((await look(page)).stats.Sound));
  unpublish("mp3");
}

/** As on an iPhone, which has `ManagedMediaSource` alone, and where there is neither: then the browser plays HLS by itself. */
async function otherBrowsers(page) {
  publish(options.clip, "x");
  await page.addInitScript(() => {
    const way = new URLSearchParams(location.search).get("as");
    if (!way) return;
    if (way === "iphone") window.ManagedMediaSource = window.MediaSource;
    delete window.MediaSource;
    if (way === "old") HTMLMediaElement.prototype.canPlayType = (type) => (type.includes("mpegurl") ? "maybe" : "");
    if (way === "none") HTMLMediaElement.prototype.canPlayType = () => "";
  });
  await page.goto(`${options.base}?as=iphone#/live/x`);
  const seen = await plays(page, 2, 640);
  assert.equal(seen.stats.Reconnects, "0");
  assert.ok(await page.evaluate(() => document.getElementById("video").disableRemotePlayback), "without it an iPhone opens no source");
  await page.goto("about:blank");
  await page.goto(`${options.base}?as=old#/live/x`);
  const hls = new URL("/live/x.m3u8", options.base).href;
  await until("HLS is what it plays", () => page.evaluate((url) => document.getElementById("video").src === url, hls));
  await page.goto("about:blank");
  await page.goto(`${options.base}?as=none#/live/x`);
  await until("it says that it cannot", async () => /cannot play this stream. The addresses below/.test(await text(page, "#veil-text")));
  await page.goto("about:blank");
  unpublish("x");
}

/** A road to the server that can be cut, and held up. */
async function road() {
  const ends = new Set();
  let held = false;
  const server = createServer((near) => {
    const far = connect(Number(new URL(options.base).port), "127.0.0.1");
    for (const [end, other] of [[near, far], [far, near]]) {
      ends.add(end);
      end.on("data", (data) => other.write(data));
      end.on("error", () => {});
      end.on("close", () => other.destroy() && ends.delete(end));
    }
    if (held) far.pause();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    base: `http://127.0.0.1:${server.address().port}/`,
    cut: () => ends.forEach((end) => end.resetAndDestroy()),
    hold: (on) => {
      held = on;
      ends.forEach((end) => (on ? end.pause() : end.resume()));
    },
    close: () => {
      server.close();
      ends.forEach((end) => end.destroy());
    },
  };
}

/** A connection that breaks, and one on which nothing comes for a while: the picture goes on, and near live again. */
async function network(page) {
  const way = await road();
  try {
    await page.goto(`${way.base}#/live/x`);
    await plays(page, 2, 640);
    way.cut();
    await until("a reconnect", async () => Number((await look(page)).stats.Reconnects) >= 1);
    await plays(page, 2, 640);
    way.hold(true);
    await until("the wait shows", async () => (await look(page)).state !== "playing");
    way.hold(false);
    await plays(page, 2, 640);
    return await until("live again", async () => {
      const now = await look(page);
      return now.state === "playing" && now.delay < MAX_DELAY_AFTER && now;
    });
  } finally {
    await page.goto("about:blank");
    way.close();
  }
}

const browser = await chromium.launch({ executablePath: options.chromium, headless: true, args: FLAGS });
const messages = [];
let step = "start";
let page;
try {
  step = "QR codes";
  await checkQr();
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && messages.push(message.text()));
  page.on("pageerror", (error) => messages.push(String(error)));
  let seen;
  for (const [name, run] of Object.entries({ nothingLive, list, watch, codecs, keys, addresses, encoders, network, partlySilent, silent, otherBrowsers })) {
    step = name;
    seen = (await run(page)) ?? seen;
  }
  // Of a request that is refused while nobody publishes, or cut off, the browser itself tells.
  const faults = messages.filter((message) => !/Failed to load resource: (.* 404|net::)/.test(message));
  assert.deepEqual(faults, []);
  console.log(`${seen.delay} s behind, ${seen.dropped} of ${seen.frames} frames dropped`);
} catch (error) {
  console.log(`${step}: ${error.stack}\n${messages.join("\n")}`);
  if (page) {
    console.log(JSON.stringify(await look(page).catch(String)));
    await page.screenshot({ path: join(options.shots, "page-failed.png"), fullPage: true }).catch(() => {});
  }
  process.exitCode = 1;
} finally {
  for (const name of [...publishers.keys()]) unpublish(name);
  await browser.close();
}
