//! Pages in a real browser play a stream by the lines that README.md gives, from another origin than their own, and the
//! page in the program does; how far each is behind is read from the screen.
use crate::support::e2e_dir;
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::tools::{self, Publisher};
use crate::support::{clips, note};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The player in the page.
enum Page {
    /// One of a library, with the extension of its address.
    Of(&'static str, &'static str),
    /// The one in the program.
    Ours,
}

/// A program that plays in a browser, and gives what it saw.
pub(crate) fn play(server: &Server, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tools::node());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/play.mjs"));
    command.args(["--modules".into(), e2e_dir().join("web")]);
    command.args(["--shot".into(), e2e_dir().join(format!("{name}.png"))]);
    command.args(arguments);
    let mut page = Proc::spawn("page", server.dir(), command);
    page.success(Duration::from_secs(60));
    page.log().lines().last().unwrap_or_default().to_owned()
}

/// When picture 0 of the stream was to be had, in milliseconds of the system's clock: the earliest that any of the first
/// pictures says.
fn zero(viewer: Http) -> u128 {
    let mut viewer = Viewer::started(viewer);
    let mut zero = u128::MAX;
    for _ in 0..60 {
        let tag = loop {
            let tag = viewer.tag(Duration::from_secs(10)).expect("the stream goes on");
            if tag.is_picture() {
                break tag;
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        zero = zero.min(now - u128::from(tag.ts));
    }
    zero
}

fn near_live(page: Page) {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; no_stream wait; } hls { enabled on; hls_fragment 2; } }\n",
    );
    let mut first = Http::connect(server.http);
    first.get("/live/x.flv", "");
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::clock(), "x");
    let zero = zero(first).to_string();
    let (name, seen) = match page {
        Page::Of(library, end) => {
            let url = server.http_url("x").replace(".flv", end);
            // Of HLS with segments of two seconds no more is asked than that it does not fall far behind.
            let delay = if end == ".flv" { "1.5" } else { "30" };
            let arguments = ["--player", library, "--url", &url, "--zero", &zero, "--delay", delay];
            (library, play(&server, library, &arguments))
        }
        Page::Ours => {
            let url = format!("http://127.0.0.1:{}/#/live/x", server.http);
            ("the page", play(&server, "page-delay", &["--own", "--url", &url, "--zero", &zero]))
        }
    };
    note(&format!("browser: {name} {seen}"));
}

#[test]
fn mpegts_js_is_near_live() {
    near_live(Page::Of("mpegts.js", ".flv"));
}

#[test]
fn flv_js_is_near_live() {
    near_live(Page::Of("flv.js", ".flv"));
}

#[test]
fn hls_js_plays() {
    near_live(Page::Of("hls.js", ".m3u8"));
}

/// Over fragmented MP4, and the delay that it shows is the one that is seen.
#[test]
fn the_page_is_near_live_and_says_so() {
    near_live(Page::Ours);
}
