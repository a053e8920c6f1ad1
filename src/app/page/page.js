// The page: what is live, and a place to watch one stream.
// All words of the server or of publishers enter the document as text, never as markup.
import { Player, draw, plan, snapshot } from "./player.js";
import { encode } from "./qr.js";

const POLL_MS = 3_000;
/** How old a card's picture may get. */
const PICTURE_MS = 60_000;
const RTMP_PORT = 1935;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

const WAYS = {
  rtmp: ["RTMP", "VLC, ffplay, other servers"],
  hls: ["HLS", "phones, TVs, Safari"],
  flv: ["HTTP-FLV", "VLC, mpegts.js"],
  ts: ["MPEG-TS", "VLC, set-top boxes"],
  mp4: ["MP4", "browsers"],
  aac: ["AAC", "sound alone"],
  mp3: ["MP3", "sound alone"],
};

const ICONS = {
  play: "M8 5.5v13l11-6.5z",
  pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
  sound: "M4 9.5v5h3.5l4.5 4v-13l-4.5 4zM15 8.5a5 5 0 0 1 0 7M17.5 6a8.5 8.5 0 0 1 0 12",
  silent: "M4 9.5v5h3.5l4.5 4v-13l-4.5 4zM15.5 9.5l5 5M20.5 9.5l-5 5",
  full: "M5 9.5V5h4.5M14.5 5H19v4.5M19 14.5V19h-4.5M9.5 19H5v-4.5",
  small: "M9.5 5v4.5H5M19 9.5h-4.5V5M14.5 19v-4.5H19M5 14.5h4.5V19",
  pip: "M4 6h16v12H4zM12.5 12H17.5v3.5H12.5z",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  done: "M5 12.5l4.5 4.5L19 7.5",
  qr: "M5 5h5v5H5zM14 5h5v5h-5zM5 14h5v5H5zM14 14h2v2h-2zM17.5 17.5h1.5v1.5h-1.5zM18 14h1M14 18.5h1",
};

// ---- small tools

/** An element with properties and children; strings become text. */
function el(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add(`icon-${name}`);
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function setIcon(button, name, label) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
  button.title = label;
}

/** Changes text only where it differs: nothing is laid out or read out again without need. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function say(text) {
  put($("say"), "");
  setTimeout(() => put($("say"), text), 50);
}

const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

function duration(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (parts[0] > 99) return many(Math.floor(parts[0] / 24), "day");
  if (!parts[0]) parts.shift();
  return parts.map((part, n) => String(part).padStart(n ? 2 : 1, "0")).join(":");
}

const bitrate = (kbps) => (kbps >= 1000 ? `${(kbps / 1000).toFixed(1)} Mbit/s` : `${kbps} kbit/s`);
const codecName = (codec) => ({ H264: "H.264", HEVC: "H.265", "AAC LC": "AAC" })[codec] ?? codec;
const size = (video) => (video?.width && video.height ? `${video.width} × ${video.height}` : "");
/** In one line, which breaks behind a dot. */
const spread = (...parts) => parts.filter(Boolean).join("\u00a0· ");

// ---- what is live

const host = location.hostname;
const rtmpBase = (port) => `rtmp://${host}${port === RTMP_PORT ? "" : `:${port}`}`;
let listing = null;
let rtmpPort = RTMP_PORT;
let known = new Map();
let failures = 0;
let short = false;
let pollTimer = 0;
let busy = null;

/** A stream of the listing, with its key and its addresses whole. */
function whole(stream, port) {
  const urls = {};
  for (const [kind, path] of Object.entries(stream.urls)) {
    if (kind === "rtmp") {
      if (port) urls.rtmp = rtmpBase(port) + path;
    } else urls[kind] = new URL(`.${path}`, location.origin + location.pathname).href;
  }
  return { ...stream, urls, key: `${stream.app}/${stream.stream}` };
}

async function poll() {
  clearTimeout(pollTimer);
  if (document.hidden) return;
  if (busy) await busy;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 8_000);
  try {
    const response = await fetch(`runnel/streams.json${location.search}`, { signal: abort.signal, cache: "no-store" });
    if (!response.ok) throw new Error((await response.text()).trim());
    const answer = await response.json();
    if (failures) player.hurry();
    failures = 0;
    rtmpPort = answer.rtmp_port;
    put($("version"), answer.version);
    short = !!answer.memory && answer.memory.level !== "normal";
    if (short) put($("trouble"), `The server is short of memory: ${answer.memory.note}.`);
    update(answer.streams.map((stream) => whole(stream, answer.rtmp_port)), answer.more);
  } catch (error) {
    failures++;
    if (failures > 1) put($("trouble"), "The server does not answer. Trying again …");
  } finally {
    clearTimeout(timer);
  }
  $("trouble").hidden = failures < 2 && !short;
  pollTimer = setTimeout(poll, POLL_MS);
}

function update(streams, more) {
  const before = listing === null ? null : known;
  listing = streams;
  known = new Map(streams.map((stream) => [stream.key, stream]));
  if (before) {
    if (known.has(watching) && !before.has(watching)) player.hurry();
    for (const key of known.keys()) if (!before.has(key)) say(`${key} is live.`);
    for (const key of before.keys()) if (!known.has(key)) say(`${key} has ended.`);
  }
  const viewers = streams.reduce((sum, stream) => sum + stream.viewers, 0);
  put($("summary"), streams.length ? spread(many(streams.length + more, "stream"), many(viewers, "viewer")) : "");
  put($("more"), `… and ${many(more, "stream")} more.`);
  $("more").hidden = !more;
  showCards(streams);
  fillPublish();
  route();
}

// ---- the list

const cards = new Map();

function makeCard(key) {
  const canvas = el("canvas", { width: 480, height: 270 });
  canvas.setAttribute("aria-hidden", "true");
  const card = {
    key,
    canvas,
    drawnAt: -Infinity,
    visible: false,
    badge: el("span", { className: "badge" }),
    name: el("h2", { className: "name" }),
    emblem: el("span"),
    line: el("p", { className: "line" }),
    tech: el("p", { className: "tech" }),
  };
  const link = el("a", { className: "card", href: hashOf(key) });
  link.append(el("div", { className: "picture" }, card.emblem, canvas, card.badge), card.name, card.line, card.tech);
  card.item = el("li", {}, link);
  watchers?.observe(card.item);
  card.visible = !watchers;
  return card;
}

const watchers =
  "IntersectionObserver" in window
    ? new IntersectionObserver((entries) => {
        for (const entry of entries) {
          const card = [...cards.values()].find(({ item }) => item === entry.target);
          if (card) card.visible = entry.isIntersecting;
        }
        refreshPictures();
      })
    : null;

function showCards(streams) {
  for (const [key, card] of cards) {
    if (known.has(key)) continue;
    watchers?.unobserve(card.item);
    card.item.remove();
    cards.delete(key);
  }
  streams.forEach((stream, n) => {
    let card = cards.get(stream.key);
    if (!card) cards.set(stream.key, (card = makeCard(stream.key)));
    put(card.name, stream.key);
    const emblem = stream.audio && !stream.video ? "sound" : "play";
    if (card.emblem.dataset.icon !== emblem) {
      card.emblem.dataset.icon = emblem;
      card.emblem.replaceChildren(icon(emblem));
    }
    put(card.badge, stream.publisher ? duration(stream.seconds) : "Reconnecting");
    card.item.classList.toggle("away", !stream.publisher);
    put(card.line, spread(many(stream.viewers, "viewer"), stream.kbps !== null && bitrate(stream.kbps)));
    put(
      card.tech,
      spread(size(stream.video), stream.video && codecName(stream.video.codec), stream.audio && codecName(stream.audio.codec)),
    );
    const list = $("cards");
    if (list.children[n] !== card.item) list.insertBefore(card.item, list.children[n] ?? null);
  });
  refreshPictures();
}

/** Draws the pictures of the cards in sight, one after the other; each costs a second of the stream. */
async function refreshPictures() {
  if (busy || watching || document.hidden || navigator.connection?.saveData) return;
  const due = ({ key, visible, drawnAt }) => {
    const stream = known.get(key);
    return visible && stream?.publisher && stream.video && plan(stream)?.way === "mse" && performance.now() - drawnAt > PICTURE_MS;
  };
  const card = [...cards.values()].find(due);
  if (!card) return;
  card.drawnAt = performance.now();
  busy = snapshot(known.get(card.key), card.canvas);
  const drawn = await busy;
  busy = null;
  if (drawn) card.canvas.classList.add("drawn");
  refreshPictures();
}

// ---- which view

const hashOf = (key) => `#/${key.split("/").map(encodeURIComponent).join("/")}`;
const video = $("video");
const player = new Player(video);
let watching = null;
let shown = "";

function keyOfHash() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent).join("/");
  } catch {
    return "";
  }
}

/** Shows what the address names. Called when it changes and when the list does. */
function route(moved = false) {
  const key = keyOfHash();
  if (key !== watching && (key || watching)) {
    key ? watch(key) : leave();
    moved = true;
  }
  const view = key ? "watch" : listing === null ? "" : listing.length ? "list" : "empty";
  for (const id of ["list", "empty", "watch"]) $(id).hidden = id !== view;
  if (view === "empty" && shown !== "empty") $("publish").open = true;
  if (view === "list" && shown === "empty") $("publish").open = false;
  $("publish").hidden = view === "watch" || view === "";
  if (moved && view === "watch") {
    scrollTo(0, 0);
    $("watch-title").focus({ preventScroll: true });
  }
  shown = view;
  if (watching) showWatched();
}

function watch(key) {
  leave();
  watching = key;
  put($("watch-title"), key);
  document.title = `${key} · runnel`;
  fillWays([]);
  tryOpen();
}

let planned = "";

/** Opens the stream as soon as the list has it, and again when there is another way to play it. */
function tryOpen() {
  const stream = known.get(watching);
  if (!stream) return;
  fillWays(Object.entries(stream.urls));
  if (player.state === "idle" || (player.state === "failed" && planned !== JSON.stringify(plan(stream)))) {
    player.quiet = !stream.publisher;
    planned = JSON.stringify(plan(stream));
    player.open(stream);
  }
}

function leave() {
  if (!watching) return;
  const card = cards.get(watching);
  if (card && draw(video, card.canvas)) {
    card.canvas.classList.add("drawn");
    card.drawnAt = performance.now();
  }
  const key = watching;
  watching = null;
  player.close();
  document.title = "runnel";
  if (document.fullscreenElement) document.exitFullscreen();
  // The place from which it was opened.
  setTimeout(() => !watching && cards.get(key)?.item.firstChild.focus(), 0);
}

// ---- watching

const STATS = ["Delay", "Buffer", "Dropped frames", "Reconnects", "Viewers", "Bitrate", "Picture", "Sound"];
const statNodes = Object.fromEntries(
  STATS.map((label) => {
    const value = el("dd", { className: "num" }, "–");
    $("stats").append(el("div", {}, el("dt", {}, label), value));
    return [label, value];
  }),
);

function showWatched() {
  const stream = known.get(watching);
  if (stream) {
    player.quiet = !stream.publisher;
    const { video: v, audio: a } = stream;
    put($("watch-sub"), stream.publisher ? `Live for ${duration(stream.seconds)}` : "The encoder is reconnecting …");
    put(statNodes.Viewers, String(stream.viewers));
    put(statNodes.Bitrate, stream.kbps === null ? "–" : bitrate(stream.kbps));
    put(statNodes.Picture, (v && spread(size(v), [codecName(v.codec), v.profile, v.level].filter(Boolean).join(" "))) || "–");
    const channels = a?.channels && ({ 1: "mono", 2: "stereo" }[a.channels] ?? `${a.channels} channels`);
    put(statNodes.Sound, (a && spread(codecName(a.codec), a.rate && `${a.rate / 1000}\u00a0kHz`, channels)) || "–");
    tryOpen();
    if (player.silent) put(statNodes.Sound, `${codecName(a.codec)}, not played by this browser`);
  } else if (listing) {
    put($("watch-sub"), "Not live now. It starts here by itself when it is.");
    for (const label of STATS) put(statNodes[label], "–");
  }
  showState();
}

const VEILS = { connecting: "Connecting …", buffering: "Waiting for data …", waiting: "Connecting again …" };
let spoken = "";

function showState() {
  const { state, reason } = player;
  const stream = known.get(watching);
  const absent = listing && !stream;
  let text = VEILS[state] ?? "";
  if (state === "waiting" && reason) text = `${reason} Connecting again …`;
  if (state === "failed") text = `${reason} The addresses below work in other players.`;
  if (absent && state !== "playing" && state !== "buffering") text = "Nobody publishes this stream now.";
  if (!absent && stream && !stream.publisher && state !== "idle") text = "The encoder is away. Waiting for it …";
  $("veil").hidden = !text;
  $("veil").classList.toggle("still", state === "failed" || Boolean(absent));
  put($("veil-text"), text);
  $("stage").dataset.state = state;
  const sound = Boolean(stream?.audio && !stream.video);
  $("stage").classList.toggle("sound", sound);
  $("only").hidden = Boolean(text) || !sound;
  const paused = state === "paused";
  setIcon($("play"), paused ? "play" : "pause", paused ? "Play" : "Pause");
  $("play").disabled = $("live").disabled = state === "idle" || state === "failed";
  const silent = video.muted || video.volume === 0;
  setIcon($("mute"), silent ? "silent" : "sound", silent ? "Turn sound on" : "Mute");
  $("unmute").hidden = !(player.muteForced && silent && stream?.audio);
  const words = text || (state === "playing" ? "Playing." : paused ? "Paused." : "");
  if (words && words !== spoken && watching) say(words);
  spoken = words;
}

function showStats() {
  if (!watching || document.hidden) return;
  const { delay, buffer, frames, dropped, reconnects, rate } = player.stats();
  const seconds = (value) => (value === undefined || player.state === "idle" ? "–" : `${value.toFixed(1)} s`);
  put(statNodes.Delay, seconds(delay));
  put(statNodes.Buffer, seconds(buffer));
  put(statNodes["Dropped frames"], frames ? `${dropped} of ${frames}` : "–");
  put(statNodes.Reconnects, String(reconnects));
  put($("delay"), player.state === "paused" || delay === undefined ? "" : seconds(delay));
  $("live").classList.toggle("late", player.state !== "playing" || delay > 3);
  $("live").title = rate > 1 ? "Catching up. Click to jump to the newest picture" : "Jump to the newest picture";
}

function togglePlay() {
  if (player.state === "paused") player.resume();
  else player.pause();
}

function toggleMute() {
  video.muted = !(video.muted || video.volume === 0);
  if (!video.muted && video.volume === 0) video.volume = 0.5;
}

function toggleFull() {
  const stage = $("stage");
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
}

let idleTimer = 0;

/** The controls go when nothing moves for a while; they stay while the picture does not run. */
function awake() {
  const stage = $("stage");
  stage.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => {
    if (player.state === "playing" && !stage.matches(".sound") && !stage.querySelector(".bar :focus-visible")) stage.classList.add("idle");
  }, 2_500);
}

function setUpPlayer() {
  $("only").append(icon("sound"));
  setIcon($("full"), "full", "Full screen");
  setIcon($("pip"), "pip", "Picture in picture");
  $("pip").hidden = !document.pictureInPictureEnabled;
  $("play").addEventListener("click", togglePlay);
  $("mute").addEventListener("click", toggleMute);
  $("unmute").addEventListener("click", toggleMute);
  $("live").addEventListener("click", () => player.toLive());
  $("full").addEventListener("click", toggleFull);
  $("pip").addEventListener("click", () => {
    if (document.pictureInPictureElement) document.exitPictureInPicture();
    else video.requestPictureInPicture().catch(() => {});
  });
  $("volume").addEventListener("input", ({ target }) => {
    video.volume = Number(target.value);
    video.muted = video.volume === 0;
  });
  video.addEventListener("volumechange", () => {
    $("volume").value = String(video.muted ? 0 : video.volume);
    if (!video.muted) player.muteForced = false;
    showState();
  });
  video.addEventListener("click", () => (matchMedia("(hover: hover)").matches ? togglePlay() : awake()));
  for (const kind of ["pointermove", "pointerdown", "focusin", "keydown"]) $("stage").addEventListener(kind, awake);
  document.addEventListener("fullscreenchange", () => {
    const on = Boolean(document.fullscreenElement);
    setIcon($("full"), on ? "small" : "full", on ? "Leave full screen" : "Full screen");
  });
  player.addEventListener("state", () => {
    showState();
    showStats();
    awake();
  });
  setInterval(showStats, 500);
}

const KEYS = { " ": togglePlay, k: togglePlay, m: toggleMute, f: toggleFull, l: () => player.toLive() };

function onKey(event) {
  if (!watching || event.ctrlKey || event.metaKey || event.altKey || $("qr").open) return;
  const { target, key } = event;
  if (key === "Escape" && !document.fullscreenElement) location.hash = "#/";
  if (target.closest("input, textarea, summary") || (key === " " && target.closest("button, a"))) return;
  const act = KEYS[key];
  if (!act) return;
  event.preventDefault();
  act();
}

// ---- addresses

async function copy(text, button) {
  let good = false;
  try {
    await navigator.clipboard.writeText(text);
    good = true;
  } catch {
    // Without TLS a page gets no clipboard: the old way, by a selection.
    const field = el("textarea", { value: text, readOnly: true, className: "hidden" });
    button.after(field);
    field.select();
    good = document.execCommand("copy");
    field.remove();
    button.focus();
  }
  say(good ? "Copied." : "The browser does not let this page copy.");
  if (!good) return;
  const { icon: before } = button.dataset;
  const label = button.getAttribute("aria-label");
  setIcon(button, "done", label);
  button.classList.add("good");
  setTimeout(() => {
    setIcon(button, before, label);
    button.classList.remove("good");
  }, 1_500);
}

function copyButton(text, what) {
  const button = el("button", { type: "button", className: "icon" });
  setIcon(button, "copy", `Copy ${what}`);
  button.addEventListener("click", () => copy(text, button));
  return button;
}

function qrButton(label, url) {
  const button = el("button", { type: "button", className: "icon" });
  setIcon(button, "qr", `QR code of the ${label} address`);
  button.addEventListener("click", () => showQr(label, url));
  return button;
}

function showQr(label, url) {
  const rows = encode(url);
  const svg = document.createElementNS(SVG, "svg");
  if (rows) {
    const path = document.createElementNS(SVG, "path");
    const quiet = 4;
    const all = rows.length + 2 * quiet;
    const dots = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + quiet} ${y + quiet}h1v1h-1z` : "")));
    path.setAttribute("d", dots.join(""));
    svg.setAttribute("viewBox", `0 0 ${all} ${all}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `QR code of ${url}`);
    svg.setAttribute("shape-rendering", "crispEdges");
    svg.append(path);
  }
  put($("qr-title"), label);
  $("qr-code").replaceChildren(rows ? svg : "This address is too long for a QR code.");
  put($("qr-text"), url);
  $("qr").showModal();
}

let waysShown = "";

function fillWays(urls) {
  const now = JSON.stringify(urls);
  if (now === waysShown) return;
  waysShown = now;
  const order = Object.keys(WAYS);
  const place = ([kind]) => (order.indexOf(kind) + 1 || 99);
  const rows = [...urls].sort((a, b) => place(a) - place(b)).map(([kind, url]) => {
    const [label, use] = WAYS[kind] ?? [kind.toUpperCase(), ""];
    return el(
      "li",
      {},
      el("div", { className: "way" }, el("b", {}, label), el("span", { className: "hint" }, use)),
      el("code", { className: "mono" }, url),
      copyButton(url, `the ${label} address`),
      qrButton(label, url),
    );
  });
  $("ways").replaceChildren(...rows);
  const local = /^(localhost|127\..*|\[::1\])$/.test(host);
  $("local").hidden = !local || !rows.length;
  put($("local-name"), host);
}

// ---- how to publish

let publishFor = null;

function fillPublish() {
  if (publishFor === rtmpPort) return;
  publishFor = rtmpPort;
  const body = $("publish-body");
  if (!rtmpPort) return body.replaceChildren(el("p", {}, "See the server’s log for its RTMP port."));
  const server = `${rtmpBase(rtmpPort)}/live`;
  // Lines break between words only, not after the hyphen of an option.
  const words = (text) => text.split(" ").flatMap((word, n) => [n ? " " : "", el("span", {}, word)]);
  const field = (label, value) =>
    el(
      "div",
      { className: "field" },
      el("span", { className: "hint" }, label),
      el("code", { className: "mono" }, ...words(value)),
      copyButton(value, label),
    );
  const block = (title, hint, ...rest) => el("section", {}, el("h3", {}, title), el("p", { className: "hint" }, hint), ...rest);
  const test =
    "ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=330 -c:v libx264 -preset veryfast " +
    `-tune zerolatency -pix_fmt yuv420p -g 60 -b:v 2500k -c:a aac -f flv ${server}/test`;
  body.replaceChildren(
    block(
      "OBS Studio",
      "Settings, Stream, service “Custom”. Any name will do as the key. A keyframe interval of 2 s lets viewers join fast.",
      field("Server", server),
      field("Stream key", "mystream"),
    ),
    block("ffmpeg, a file", "H.264 and AAC are passed on as they are.", field("Command", `ffmpeg -re -i video.mp4 -c copy -f flv ${server}/mystream`)),
    block("ffmpeg, a test picture", "To see that all works.", field("Command", test)),
  );
}

// ---- start

setUpPlayer();
$("qr-close").addEventListener("click", () => $("qr").close());
$("qr").addEventListener("click", ({ target }) => target === $("qr") && $("qr").close());
addEventListener("hashchange", () => route());
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => poll());
route();
poll();
