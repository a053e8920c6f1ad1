// Plays a live stream in a <video>, near its newest picture.
//
//   fetch ──► segments (mp4.js) ──► queue ──► SourceBuffer ──► video
//     ▲                                                          │
//     └── again, with growing pauses ◄── ended, broken, silent ◄─┘
//
// One MediaSource lives through reconnects: what comes next is placed behind what is there, so the last picture stays
// until the next one is ready. Only when the browser gives it up (a decoding error) is a new one made.
//
// Distance: the smallest buffer of the last seconds, just before data came, is what can be spared. Above `#reserve` the
// video runs up to 10 % faster, far above it jumps; after a stall the reserve grows, and shrinks again in quiet times.
import { Refused, segments } from "./mp4.js";

const Source = window.MediaSource ?? window.ManagedMediaSource;

const RESERVE = { least: 0.25, most: 2.5, step: 0.25, quietMs: 20_000 };
/** Seconds beyond the reserve from which on it jumps instead of running faster. */
const JUMP = 3;
/** Seconds that are kept behind the picture, and how much more may gather before they are trimmed. */
const KEEP = { behind: 10, slack: 10 };
/** Bytes that may wait for the browser to take them. */
const MAX_QUEUE = 32 << 20;
/** Without a byte for this long the connection counts as dead. */
const SILENCE_MS = 6_000;
/** With data but without progress for this long, all is begun anew. */
const STUCK_MS = 10_000;
const RETRY_MS = { least: 500, most: 10_000 };
const TICK_MS = 200;
const HLS = "application/vnd.apple.mpegurl";

/** Which kinds of tracks a type names. */
const tracks = (mime) => `${mime.split("/")[0]} ${mime.split(",").length}`;
const plays = (mime) => Boolean(Source?.isTypeSupported(mime));

/**
 * How a stream can be played here: { way: "mse" or "hls", url, silent: its sound cannot be played here }, or null.
 * Chrome, for one, knows no MP3 in MP4: the picture alone is better than nothing then.
 */
export function plan(stream) {
  const { urls, mime, video } = stream;
  if (urls.mp4 && Source) {
    if (!mime || plays(mime)) return { way: "mse", url: urls.mp4, silent: false };
    const url = `${urls.mp4}${urls.mp4.includes("?") ? "&" : "?"}only_video=1`;
    if (video && plays(mime.replace(/,.*"/, '"'))) return { way: "mse", url, silent: true };
  }
  if (urls.hls && document.createElement("video").canPlayType(HLS)) return { way: "hls", url: urls.hls, silent: false };
  return null;
}

/** The least value of the last `span` to 2 · `span` milliseconds. */
class Trough {
  #span;
  #now = Infinity;
  #before = Infinity;
  #since = 0;

  constructor(span) {
    this.#span = span;
  }

  add(value) {
    const at = performance.now();
    if (at - this.#since > this.#span) [this.#before, this.#now, this.#since] = [this.#now, Infinity, at];
    this.#now = Math.min(this.#now, value);
  }

  get value() {
    return Math.min(this.#now, this.#before);
  }

  clear() {
    this.#now = this.#before = Infinity;
    this.#since = performance.now();
  }
}

/**
 * A player. Tells of changes by "state" events; `state` is one of
 * idle, connecting, playing, buffering, waiting (to connect again), paused, failed.
 */
export class Player extends EventTarget {
  state = "idle";
  /** Why it is waiting or has failed, in words. */
  reason = "";
  reconnects = 0;
  /** The stream's encoder is away: silence is no fault then. */
  quiet = false;
  /** This browser cannot play the sound. */
  silent = false;
  /** The browser lets it play without sound only. */
  muteForced = false;

  #video;
  #url = null;
  #way = null;
  #abort = null;
  #media = null;
  #buffer = null;
  #objectUrl = null;
  #mime = "";
  #queue = [];
  #queued = 0;
  #place = false;
  /** Where the present connection's media begin, and times in the buffer at which a decoder can begin. */
  #joinedAt = 0;
  #keys = [];
  #started = false;
  #settle = 0;
  #settleEnd = 0;
  #retry = 0;
  #attempt = 0;
  #faults = 0;
  #ticker = 0;
  #lastByte = 0;
  #goodSince = 0;
  #reserve = RESERVE.least;
  #calmSince = 0;
  #spare = new Trough(1_500);
  // Newest media time minus the clock: its peak tells where the live edge is now. Kept negated.
  #lag = new Trough(5_000);
  #newest = 0;
  #newestAt = 0;
  #progress = { time: 0, at: 0 };

  constructor(video) {
    super();
    this.#video = video;
    video.disableRemotePlayback = true;
    video.addEventListener("waiting", () => this.#onWaiting());
    video.addEventListener("playing", () => this.#live && this.#tell("playing"));
    video.addEventListener("error", () => this.#live && video.error && this.#onMediaError(video.error.message));
    video.addEventListener("play", () => this.state === "paused" && this.resume());
    window.addEventListener("online", () => this.hurry());
  }

  get #live() {
    return this.#url !== null && this.state !== "paused";
  }

  /** Plays the stream that the listing describes so. */
  open(stream) {
    this.close();
    const found = plan(stream);
    this.#way = found?.way;
    this.silent = Boolean(found?.silent);
    this.reconnects = this.#attempt = this.#faults = 0;
    this.#reserve = RESERVE.least;
    if (!found) return this.#tell("failed", "This browser cannot play this stream.");
    this.#url = found.url;
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#connect();
  }

  close() {
    clearInterval(this.#ticker);
    this.#disconnect();
    this.#teardown();
    this.#url = null;
    this.#tell("idle");
  }

  /** Lets go of the stream; the picture stays. */
  pause() {
    if (!this.#live) return;
    this.#disconnect();
    this.#video.pause();
    this.#tell("paused");
  }

  /** Goes on, with what is live now. */
  resume() {
    if (this.#url === null || this.#live) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** There is a reason to think that connecting works now: does not wait for it any longer. */
  hurry() {
    if (this.state === "waiting") this.#connect();
  }

  /** Jumps to the newest picture. */
  toLive() {
    if (this.state === "paused") return this.resume();
    const range = this.#range();
    if (range) this.#seek(range.end - this.#reserve - 0.25);
  }

  /** What can be measured now; times in seconds, undefined when unknown. */
  stats() {
    const video = this.#video;
    const quality = video.getVideoPlaybackQuality?.();
    const range = this.#range();
    return {
      delay: this.#delay(range),
      buffer: range && range.end - video.currentTime,
      frames: quality?.totalVideoFrames,
      dropped: quality?.droppedVideoFrames,
      reconnects: this.reconnects,
      width: video.videoWidth,
      height: video.videoHeight,
      rate: video.playbackRate,
      time: video.currentTime,
      way: this.#way,
    };
  }

  /** How far the picture is behind the newest one there is: what came last, plus the time since. */
  #delay(range) {
    if (!range || !this.#started) return undefined;
    if (this.#way === "hls") return range.end - this.#video.currentTime;
    const clock = performance.now() / 1000;
    const edge = Math.min(clock - this.#lag.value, this.#newest + Math.max(1, clock - this.#newestAt));
    return Math.max(0, Math.max(edge, this.#newest) - this.#video.currentTime);
  }

  #tell(state, reason = "") {
    if (state === this.state && reason === this.reason) return;
    this.state = state;
    this.reason = reason;
    if (state === "playing") this.#goodSince = performance.now();
    this.dispatchEvent(new Event("state"));
  }

  // ---- the connection

  #connect() {
    this.#disconnect();
    this.#tell("connecting");
    this.#lastByte = performance.now();
    this.#started = false;
    this.#progress = { time: -1, at: performance.now() };
    this.#lag.clear();
    this.#spare.clear();
    if (this.#way === "hls") return this.#playHls();
    this.#abort = new AbortController();
    this.#receive(this.#abort.signal);
  }

  #disconnect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#settle);
    this.#settle = this.#settleEnd = 0;
    this.#abort?.abort();
    this.#abort = null;
    this.#queue = [];
    this.#queued = 0;
  }

  async #receive(signal) {
    let why = "The stream has ended.";
    try {
      this.#place = true;
      for await (const segment of segments(this.#url, signal, () => (this.#lastByte = performance.now()))) {
        if (signal.aborted) return;
        this.#queue.push(segment);
        this.#queued += segment.bytes.length;
        if (this.#queued > MAX_QUEUE) throw new Error("The browser does not take the data.");
        this.#pump();
      }
    } catch (error) {
      if (signal.aborted) return;
      const offline = error instanceof Refused && error.status === 404;
      why = offline ? "The stream is offline." : error instanceof Refused ? `The server says: ${error.message}` : "The connection broke.";
    }
    if (!signal.aborted) this.#again(why);
  }

  /** Connects again after a pause that doubles each time, unevenly so that not all viewers come at once. */
  #again(why) {
    if (!this.#live) return;
    this.#disconnect();
    const pause = Math.min(RETRY_MS.most, RETRY_MS.least * 2 ** this.#attempt++) * (0.75 + Math.random() / 2);
    this.reconnects++;
    this.#tell("waiting", why);
    this.#retry = setTimeout(() => this.#connect(), pause);
  }

  #onMediaError(message) {
    this.#teardown();
    if (++this.#faults >= 3) this.#attempt = Math.max(this.#attempt, 4);
    this.#again(`The browser could not decode it. ${message ?? ""}`.trim());
  }

  // ---- the buffer

  async #attach(mime) {
    const media = new Source();
    this.#media = media;
    this.#objectUrl = URL.createObjectURL(media);
    const opened = new Promise((done) => media.addEventListener("sourceopen", done, { once: true }));
    this.#video.src = this.#objectUrl;
    await opened;
    if (this.#media !== media) return;
    const buffer = media.addSourceBuffer(mime);
    buffer.mode = "segments";
    buffer.addEventListener("updateend", () => this.#buffer === buffer && this.#onAppended());
    buffer.addEventListener("error", () => this.#buffer === buffer && this.#onMediaError());
    this.#buffer = buffer;
    this.#mime = mime;
    this.#pump();
  }

  #teardown() {
    this.#buffer = this.#media = null;
    this.#queue = [];
    this.#queued = 0;
    this.#newest = 0;
    this.#keys = [];
    if (this.#video.hasAttribute("src")) {
      this.#video.removeAttribute("src");
      this.#video.load();
    }
    if (this.#objectUrl) URL.revokeObjectURL(this.#objectUrl);
    this.#objectUrl = null;
  }

  /** Gives the buffer the next segment, if it can take one. */
  #pump() {
    const next = this.#queue[0];
    if (!next || this.#buffer?.updating || (this.#media && !this.#buffer)) return;
    if (next.init) {
      const { mime } = next;
      if (!mime || !plays(mime)) {
        this.#disconnect();
        return this.#tell("failed", `This browser cannot play ${mime ?? "these codecs"}.`);
      }
      if (this.#media && tracks(mime) !== tracks(this.#mime)) this.#startOver();
      if (!this.#media) return void this.#attach(mime).catch((error) => this.#onMediaError(error.message));
      this.#place = true;
    } else if (!this.#buffer) {
      this.#take(); // nothing can be done with it before the first header
      return this.#pump();
    }
    try {
      if (this.#media.readyState !== "open") throw new Error("the browser closed the stream");
      if (next.init && next.mime !== this.#mime) {
        this.#buffer.changeType(next.mime);
        this.#mime = next.mime;
      }
      if (!next.init) {
        if (this.#place) this.#putBehind(next.start ?? 0);
        if (next.key) this.#keys.push((next.start ?? 0) + this.#buffer.timestampOffset);
        this.#spare.add(this.#ahead());
      }
      this.#buffer.appendBuffer(next.bytes);
      this.#take();
    } catch (error) {
      if (error.name === "QuotaExceededError") this.#makeRoom();
      else this.#onMediaError(error.message);
    }
  }

  /** A buffer takes no further track. What comes next begins with a keyframe, in a buffer of its own. */
  #startOver() {
    const [queue, queued] = [this.#queue, this.#queued];
    this.#teardown();
    [this.#queue, this.#queued] = [queue, queued];
    this.#started = false;
    this.#place = true;
    this.#lag.clear();
    this.#spare.clear();
    this.#tell("buffering");
  }

  #take() {
    this.#queued -= this.#queue.shift().bytes.length;
  }

  /** Segments from here on are placed so that `start` comes right behind what is there. */
  #putBehind(start) {
    this.#place = false;
    const { buffered } = this.#buffer;
    const end = buffered.length ? buffered.end(buffered.length - 1) : 0;
    const offset = this.#buffer.timestampOffset;
    // A new header within one connection mostly goes on in time: then nothing is moved.
    if (Math.abs(start + offset - end) > 0.5) this.#buffer.timestampOffset = end - start;
    if (!this.#started) this.#joinedAt = end;
  }

  /** Drops what lies before the last key at `time` or before: what depends on a dropped key would go with it. */
  #trim(time) {
    const at = this.#keys.findLastIndex((key) => key <= time);
    if (at <= 0) return false;
    this.#buffer.remove(0, this.#keys[at]);
    this.#keys.splice(0, at);
    return true;
  }

  #makeRoom() {
    if (!this.#trim(this.#video.currentTime - 1)) this.#onMediaError("the browser has no room");
  }

  #onAppended() {
    const { buffered } = this.#buffer;
    if (buffered.length) {
      const newest = buffered.end(buffered.length - 1);
      if (newest > this.#newest) {
        this.#newest = newest;
        this.#newestAt = performance.now() / 1000;
        this.#lag.add(this.#newestAt - newest);
      }
      if (!this.#started) this.#settleDown();
      const { currentTime } = this.#video;
      const excess = currentTime - buffered.start(0) > KEEP.behind + KEEP.slack;
      if (excess && !this.#buffer.updating) this.#trim(currentTime - KEEP.behind);
    }
    this.#pump();
  }

  // ---- playing

  /** A joiner first gets all since the last keyframe at once. It starts when that has come, at its end. */
  #settleDown() {
    const now = performance.now();
    this.#settleEnd ||= now + 500;
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#start(), Math.max(0, Math.min(120, this.#settleEnd - now)));
  }

  #start() {
    const { buffered } = this.#video;
    if (!buffered.length || this.#started) return;
    this.#started = true;
    this.#settleEnd = 0;
    const last = buffered.length - 1;
    const target = Math.max(buffered.start(last), this.#joinedAt, buffered.end(last) - this.#reserve - 0.4);
    if (Math.abs(this.#video.currentTime - target) > 0.05) this.#seek(target);
    this.#play();
  }

  async #play() {
    try {
      await this.#video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError" || this.#video.muted || !this.#live) return;
      this.#video.muted = true;
      this.muteForced = true;
      await this.#video.play().catch(() => this.#live && this.pause());
    }
  }

  #playHls() {
    this.#started = true;
    this.#video.src = this.#url;
    this.#play();
  }

  #seek(time) {
    this.#spare.clear();
    this.#video.currentTime = time;
  }

  /** The stretch of the buffer that is being played, or the next one; browsers stop a little before the end of one. */
  #range() {
    const { buffered, currentTime } = this.#video;
    for (let n = 0; n < buffered.length; n++) {
      if (currentTime < buffered.end(n) - 0.1 || n === buffered.length - 1) {
        return { start: buffered.start(n), end: buffered.end(n) };
      }
    }
    return undefined;
  }

  #ahead() {
    const range = this.#range();
    return range ? Math.max(0, range.end - Math.max(range.start, this.#video.currentTime)) : 0;
  }

  #onWaiting() {
    if (!this.#live || !this.#started || this.#video.seeking || this.state !== "playing") return;
    this.#reserve = Math.min(RESERVE.most, this.#reserve + RESERVE.step);
    this.#calmSince = performance.now();
    this.#tell("buffering");
  }

  #tick() {
    if (!this.#live || this.state === "waiting" || this.state === "failed") return;
    const now = performance.now();
    if (this.#way === "mse" && !this.quiet && now - this.#lastByte > SILENCE_MS) return this.#again("Nothing came any more.");
    const { currentTime } = this.#video;
    // One that never stopped, because a new connection was there in time, tells of no new start.
    const runs = this.#started && !this.#video.paused && this.#progress.time >= 0 && currentTime > this.#progress.time;
    if (runs && this.#video.readyState > 2) this.#tell("playing");
    if (currentTime !== this.#progress.time || this.quiet) this.#progress = { time: currentTime, at: now };
    if (now - this.#progress.at > STUCK_MS) {
      this.#teardown();
      return this.#again("The picture stood still.");
    }
    if (this.state === "playing" && now - this.#goodSince > 5_000) this.#attempt = this.#faults = 0;
    if (!this.#started || this.#video.seeking) return;
    if (this.#video.paused && !this.#video.ended) {
      // Paused by the browser or by keys of the system.
      return this.#video.readyState > 2 ? this.pause() : undefined;
    }
    const range = this.#range();
    if (!range || this.#way === "hls") return;
    const gap = range.start - currentTime;
    if (gap > 0) return this.#seek(range.start + 0.01);
    const ahead = this.#ahead();
    this.#spare.add(ahead);
    if (now - this.#calmSince > RESERVE.quietMs) {
      this.#reserve = Math.max(RESERVE.least, this.#reserve - 0.02 * (TICK_MS / 1000));
    }
    this.#steer(ahead, range.end);
  }

  #steer(ahead, end) {
    const excess = this.#spare.value - this.#reserve;
    if (ahead > this.#reserve + JUMP) return this.#seek(end - this.#reserve - 0.4);
    let rate = 1;
    if (excess > 0.15) rate = 1 + Math.min(0.1, excess * 0.15);
    else if (excess < -0.12) rate = 0.97;
    if (Math.abs(this.#video.playbackRate - rate) > 0.009) this.#video.playbackRate = rate;
  }
}

/** The next event of that name, or a rejection when `signal` aborts first. */
function next(target, name, signal) {
  return new Promise((done, fail) => {
    target.addEventListener(name, done, { once: true });
    signal.addEventListener("abort", fail, { once: true });
  });
}

/** Draws a stream's last keyframe on a canvas. Takes a connection for about a second. */
export async function snapshot(stream, canvas, limitMs = 6_000) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), limitMs);
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.disableRemotePlayback = true;
  let url = null;
  try {
    const media = new Source();
    const opened = next(media, "sourceopen", abort.signal);
    url = URL.createObjectURL(media);
    video.src = url;
    await opened;
    let buffer = null;
    for await (const segment of segments(plan(stream).url, abort.signal)) {
      if (segment.init && (!segment.mime || !plays(segment.mime))) return false;
      if (segment.init && !buffer) buffer = media.addSourceBuffer(segment.mime);
      else if (segment.init) return false;
      if (!buffer) continue;
      const taken = next(buffer, "updateend", abort.signal);
      buffer.appendBuffer(segment.bytes);
      await taken;
      if (video.buffered.length && video.currentTime < video.buffered.start(0)) video.currentTime = video.buffered.start(0);
      if (video.readyState >= 2 && video.videoWidth && !video.seeking) return draw(video, canvas);
    }
  } catch {
    // No picture then.
  } finally {
    clearTimeout(timer);
    abort.abort();
    video.removeAttribute("src");
    video.load();
    if (url) URL.revokeObjectURL(url);
  }
  return false;
}

/** Copies the picture that a video shows. */
export function draw(video, canvas) {
  if (!video.videoWidth || video.readyState < 2) return false;
  canvas.width = 480;
  canvas.height = 270;
  const scale = Math.min(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(video, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  return true;
}
