// Plays one address in headless Chromium, HTTP-FLV with mpegts.js or, with --page hls.html, HLS with hls.js, in a page of another origin, and fails unless
// the picture moves. Options: --modules DIR (holds node_modules), --url ADDRESS, --seconds N (of playback to see),
// --profile DIR (new), --screenshot FILE, --chromium FILE.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const string = { type: "string" };
const { values: options } = parseArgs({
  options: {
    modules: string,
    url: string,
    seconds: { type: "string", default: "4" },
    profile: string,
    screenshot: string,
    page: { type: "string", default: "page.html" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const modules = createRequire(resolve(options.modules, "package.json"));
const { chromium } = modules("playwright-core");

const FILES = {
  "/": [fileURLToPath(new URL(options.page, import.meta.url)), "text/html; charset=utf-8"],
  "/hls.js": [modules.resolve("hls.js/dist/hls.js"), "text/javascript; charset=utf-8"],
  "/mpegts.js": [modules.resolve("mpegts.js/dist/mpegts.js"), "text/javascript; charset=utf-8"],
};

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];

/** Serves the page and the player, and nothing else, on a free port of this machine. */
function servePage() {
  const server = createServer((request, response) => {
    const file = FILES[new URL(request.url, "http://page").pathname];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "Content-Type": file[1] });
    createReadStream(file[0]).pipe(response);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

/** What the page shows right now. */
function look(page) {
  return page.evaluate(() => {
    const video = document.getElementById("video");
    const quality = video.getVideoPlaybackQuality();
    return {
      time: video.currentTime,
      width: video.videoWidth,
      height: video.videoHeight,
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      audioBytes: video.webkitAudioDecodedByteCount,
      errors: window.seen.errors,
      delay: window.seen.delay?.(),
      skipped: window.seen.skipped,
    };
  });
}

const server = await servePage();
const context = await chromium.launchPersistentContext(options.profile, {
  executablePath: options.chromium,
  headless: true,
  args: FLAGS,
});
const messages = [];
let seen;
let good = false;
try {
  const page = await context.newPage();
  page.on("console", (message) => messages.push(message.text()));
  page.on("pageerror", (error) => messages.push(String(error)));
  const port = server.address().port;
  await page.goto(`http://127.0.0.1:${port}/?url=${encodeURIComponent(options.url)}`);
  const seconds = Number(options.seconds);
  const end = Date.now() + 30_000;
  let first;
  do {
    await new Promise((done) => setTimeout(done, 200));
    seen = await look(page);
    if (first === undefined && seen.frames > 0) first = seen.time;
    const played = first === undefined ? 0 : seen.time - first;
    // Ten frames a second is far below the clip's rate and far above a still picture.
    good = played >= seconds && seen.width > 0 && seen.frames >= seconds * 10 && seen.audioBytes > 0;
  } while (!good && seen.errors.length === 0 && Date.now() < end);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
} finally {
  await context.close();
  server.closeAllConnections();
  server.close();
}
if (!good || seen.errors.length > 0) console.log(messages.join("\n"));
console.log(JSON.stringify(seen));
process.exitCode = good && seen.errors.length === 0 ? 0 : 1;
