//! What a reload of a large file costs the loop, which does nothing else meanwhile: reading the text, checking it, and
//! finding what differs. Nothing of the system takes part, so it is measured in this process.

use std::fmt::Write;
use std::time::Instant;

use runnel::app::reload;
use runnel::conf::{self, Config};

use crate::{Options, Res};

/// Vhosts of the file.
const VHOSTS: u32 = 1000;

fn file(latency: u32) -> String {
    let mut text = String::from("listen 1935;\nhttp_server { enabled on; }\n");
    for n in 0..VHOSTS {
        let _ = write!(
            text,
            "vhost stream{n}.example.com {{\n  min_latency off;\n  tcp_nodelay on;\n  play {{\n    gop_cache on;\n    \
             queue_length 10;\n    mw_latency {latency};\n  }}\n  publish {{ normal_timeout 7000; }}\n  \
             http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }}\n}}\n"
        );
    }
    text
}

fn load(text: &str) -> Res<Config> {
    let mut nothing = |_: &str| Ok(Vec::new());
    let loaded = conf::load_all(Some(("bench.conf", text.as_bytes())), &[], &mut nothing);
    loaded.map(|loaded| loaded.config).map_err(|errors| errors[0].to_string())
}

/// Prints the times of each round, and the least of them.
pub fn run(options: &Options) -> Res<()> {
    let (same, other) = (file(350), file(100));
    let old = load(&same)?;
    println!("{VHOSTS} vhosts, {} bytes; milliseconds", same.len());
    for (name, text) in [("nothing changed", &same), ("every vhost changed", &other)] {
        let mut least = (f64::MAX, f64::MAX);
        for _ in 0..if options.quick { 5 } else { 30 } {
            let start = Instant::now();
            let mut new = load(text)?;
            let loaded = start.elapsed().as_secs_f64() * 1e3;
            reload::share(&old, &mut new);
            let changes = reload::diff(&old, &new).len();
            let all = start.elapsed().as_secs_f64() * 1e3;
            assert_eq!(changes > 0, text == &other);
            if all < least.0 {
                least = (all, loaded);
            }
        }
        println!("{name}: {:.1}, of which reading and checking {:.1}", least.0, least.1);
    }
    Ok(())
}
