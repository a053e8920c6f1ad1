//! A QR code for the terminal, so that a telephone opens what the banner names.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, without which cameras do not find it.
const QUIET: i32 = 2;

/// The code of `url`, two rows in one line of text; `None` when it is too long for one. Light is drawn and dark is left
/// out, as terminals are dark; a light terminal shows it inverted, which cameras read too.
pub fn text(url: &str) -> Option<String> {
    let code = QrCode::encode_text(url, QrCodeEcc::Low).ok()?;
    let size = code.size();
    let light = |x: i32, y: i32| y < size + QUIET && !code.get_module(x, y);
    let mut out = String::new();
    for y in (-QUIET..size + QUIET).step_by(2) {
        out.push_str("  ");
        for x in -QUIET..size + QUIET {
            out.push(match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_one_of_the_url() {
        let url = "http://192.168.1.7:8080/live/mystream.flv";
        let shown = text(url).unwrap();
        let code = QrCode::encode_text(url, QrCodeEcc::Low).unwrap();
        let rows: Vec<Vec<char>> = shown.lines().map(|line| line.chars().skip(2).collect()).collect();
        for y in 0..code.size() {
            for x in 0..code.size() {
                let (row, half) = ((y + QUIET) as usize / 2, (y + QUIET) % 2);
                let c = rows[row][(x + QUIET) as usize];
                let light = matches!((c, half), ('█', _) | ('▀', 0) | ('▄', 1));
                assert_eq!(light, !code.get_module(x, y), "{x} {y}");
            }
        }
        assert!(rows.iter().all(|row| row.len() == rows[0].len() && row.len() < 60));
        assert_eq!(text(&"x".repeat(10_000)), None);
    }
}
