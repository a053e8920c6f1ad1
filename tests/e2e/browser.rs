//! A page in a real browser plays a stream with mpegts.js, from another origin than its own.
use crate::support::clips;
use crate::support::e2e_dir;
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::tools::{self, Publisher};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_page_plays_http_flv() {
    let server = Server::usual();
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let mut command = Command::new(tools::node());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/play.mjs"));
    command.args(["--modules".into(), e2e_dir().join("web")]);
    command.args(["--url", &server.http_url("x"), "--seconds", "4"]);
    command.args(["--profile".into(), server.dir().join("profile")]);
    command.args(["--screenshot".into(), e2e_dir().join("browser.png")]);
    let mut page = Proc::spawn("page", server.dir(), command);
    page.success(Duration::from_secs(60));
    crate::support::note(&format!("browser: {}", page.log().lines().last().unwrap_or_default()));
}
