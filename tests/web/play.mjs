// Plays a live stream in headless Chromium in a page of another origin, by the very lines that README.md gives for a player,
// or with --own in the page of the server, and fails unless the picture moves and, with --zero, is near live.
// Options: --modules DIR (holds node_modules), --player mpegts.js, flv.js or hls.js, or --own, --url ADDRESS (of the
// stream, or of the page), --seconds N (of playback to see), --zero MS (when picture 0 of the clip `clock` was to be had,
// by the clock of this machine) and --delay S (the most to be behind it), --still S (the longest that it may stand still, once it
// plays), --width PIXELS (what it has to come to, and play for two seconds then), --shot FILE, --chromium FILE.
import { createReadStream, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

const string = { type: "string" };
const { values: options } = parseArgs({
  options: {
    modules: string,
    player: string,
    own: { type: "boolean", default: false },
    url: string,
    seconds: { type: "string", default: "4" },
    zero: string,
    delay: { type: "string", default: "1.5" },
    still: string,
    width: string,
    shot: string,
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
  "--autoplay-policy=no-user-gesture-required",
];
/** Pictures a second of the clip, and of how many measurements each has to be good. */
const RATE = 25;
const GOOD = 5;

/** The lines in README.md that play with this library, with the address put in. */
function snippet(player, url) {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const blocks = readme.split("```html\n").slice(1).map((rest) => rest.split("```")[0]);
  const found = blocks.filter((block) => block.includes(`<script src="${player}">`));
  if (found.length !== 1) throw new Error(`README.md has ${found.length} snippets for ${player}`);
  const lines = found[0].replace(/'http:\/\/THIS-MACHINE[^']*'/, JSON.stringify(url));
  if (!lines.includes(url)) throw new Error(`the snippet for ${player} has no address`);
  return `<!doctype html><meta charset="utf-8"><title>${player}</title>\n${lines}`;
}

/** Serves the page and the library, and nothing else, on a free port of this machine. */
function servePage(player, url) {
  const page = snippet(player, url);
  const server = createServer((request, response) => {
    if (request.url === "/") response.writeHead(200, { "Content-Type": "text/html" }).end(page);
    else if (request.url === `/${player}`) {
      response.writeHead(200, { "Content-Type": "text/javascript" });
      createReadStream(modules.resolve(`${player}/dist/${player.replace("flv.js", "flv.min.js")}`)).pipe(response);
    } else response.writeHead(404).end();
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

/** What goes wrong from here on is left in the page. */
function listen() {
  window.errors = [];
  /* global player, mpegts, flvjs, Hls */
  const note = (...words) => window.errors.push(words.map((word) => (word instanceof Object ? JSON.stringify(word) : word)).join(": "));
  if (window.mpegts) player.on(mpegts.Events.ERROR, note);
  if (window.flvjs) player.on(flvjs.Events.ERROR, note);
  // A buffer that runs dry for a moment at the start is not a fault; hls.js goes on by itself.
  if (window.Hls) {
    player.on(Hls.Events.ERROR, (event, { type, details, fatal, reason }) => {
      if (fatal || !details.startsWith("buffer")) note(type, details, reason);
      else console.log(details);
    });
    window.skipped = 0;
    player.on(Hls.Events.LEVEL_LOADED, (event, { details }) => {
      window.skipped = Math.max(window.skipped, details.skippedSegments);
    });
  }
}

/** What the page shows right now; `shown` is the number that the picture carries, `claimed` the delay that a page of ours tells. */
function look() {
  const video = document.querySelector("video");
  const quality = video.getVideoPlaybackQuality();
  let shown = -1;
  if (video.readyState > 1 && video.videoWidth === 640) {
    const canvas = (window.canvas ??= document.createElement("canvas"));
    [canvas.width, canvas.height] = [640, 60];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, -300, 640, 360);
    const bright = (bit) => context.getImageData(64 * bit + 32, 30, 1, 1).data[1] > 128;
    shown = [...Array(10).keys()].reduce((sum, bit) => sum + (bright(bit) << bit), 0);
  }
  const stat = [...document.querySelectorAll("#stats div")].find((div) => div.firstChild.textContent === "Delay");
  return {
    at: performance.timeOrigin + performance.now(),
    time: video.currentTime,
    shown,
    claimed: stat && Number.parseFloat(stat.lastChild.textContent),
    width: video.videoWidth,
    height: video.videoHeight,
    frames: quality.totalVideoFrames,
    dropped: quality.droppedVideoFrames,
    audioBytes: video.webkitAudioDecodedByteCount,
    errors: window.errors ?? [],
    skipped: window.skipped,
  };
}

const server = options.own ? null : await servePage(options.player, options.url);
const browser = await chromium.launch({ executablePath: options.chromium, headless: true, args: FLAGS });
const messages = [];
const seconds = Number(options.seconds);
const delays = [];
let seen;
let good = false;
let still = 0;
try {
  const page = await browser.newPage();
  page.on("console", (message) => messages.push(message.text()));
  page.on("pageerror", (error) => messages.push(String(error)));
  await page.goto(server ? `http://127.0.0.1:${server.address().port}/` : options.url);
  if (server) await page.evaluate(listen);
  const end = Date.now() + 35_000;
  let first;
  let moved;
  let fits;
  do {
    await new Promise((done) => setTimeout(done, 200));
    seen = await page.evaluate(look);
    if (first === undefined && seen.frames > 0) first = seen.time;
    const played = first === undefined ? 0 : seen.time - first;
    if (moved === undefined || seen.time !== moved.time) moved = { time: seen.time, at: seen.at };
    if (played > 1) still = Math.max(still, (seen.at - moved.at) / 1000);
    if (options.zero && seen.shown >= 0) {
      seen.delay = (seen.at - Number(options.zero)) / 1000 - seen.shown / RATE;
      delays.unshift(seen.delay);
    }
    const near = !options.zero || (delays.length >= GOOD && delays.slice(0, GOOD).every((delay) => delay < Number(options.delay)));
    if (seen.width !== Number(options.width)) fits = undefined;
    else fits ??= seen;
    const right = !options.width || (fits && seen.time - fits.time > 2 && seen.frames > fits.frames + 20 && seen.audioBytes > fits.audioBytes);
    // What the page says of itself has to be so. The picture is read a moment later than its number is written.
    const honest = !options.own || !options.zero || Math.abs(seen.claimed - seen.delay) < 0.5;
    // Ten frames a second is far below the clip's rate and far above a still picture.
    good = played >= seconds && seen.width > 0 && seen.frames >= seconds * 10 && seen.audioBytes > 0 && near && honest && right;
    if (options.still && still > Number(options.still)) seen.errors.push(`it stood still for ${still} s`);
  } while (!good && seen.errors.length === 0 && Date.now() < end);
  if (options.shot) await page.screenshot({ path: options.shot });
} finally {
  await browser.close();
  server?.closeAllConnections();
  server?.close();
}
if (!good || seen.errors.length > 0) console.log([...messages, delays.slice(0, 40).map((delay) => delay.toFixed(2))].join("\n"));
console.log(JSON.stringify({ ...seen, at: undefined, still }));
process.exitCode = good && seen.errors.length === 0 ? 0 : 1;
