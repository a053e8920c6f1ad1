//! Configurations out of anything: a file, what it includes, and the environment, divided by bytes that no text has.
//!
//! ```sh
//! cargo install cargo-fuzz
//! mkdir -p fuzz/corpus/conf
//! cargo +nightly fuzz run conf fuzz/corpus/conf conf tests/conf/srs tests/conf/bad -- -max_total_time=600 -max_len=8192
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use runnel::conf;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0xff);
    let main = parts.next().unwrap_or_default();
    let included = parts.next().unwrap_or_default().to_vec();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let environment = vec![
        (format!("RUNNEL_{}", text(parts.next())), text(parts.next())),
        ("RUNNEL_VHOST_PLAY_MW_LATENCY".to_owned(), text(parts.next())),
        ("SRS_LISTEN".to_owned(), text(parts.next())),
    ];
    let mut loader = |pattern: &str| match pattern {
        "gone.conf" => Err("no such file".to_owned()),
        _ => Ok(vec![("part.conf".to_owned(), included.clone())]),
    };
    let reports = match conf::load_all(Some(("main.conf", main)), &environment, &mut loader) {
        Ok(loaded) => {
            // What is in force, printed as a file, means the same again.
            let printed = loaded.effective.to_string();
            let again = conf::load("printed.conf", &printed)
                .unwrap_or_else(|errors| panic!("{printed}\n{}", errors[0]));
            assert_eq!(again.config, loaded.config, "{printed}");
            loaded.warnings
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            errors
        }
    };
    assert!(reports.len() <= conf::MAX_REPORTS + 1);
    for report in &reports {
        assert!(report.line >= 1 && report.col >= 1 && !report.to_string().is_empty());
    }
});
