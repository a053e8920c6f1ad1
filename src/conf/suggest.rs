//! "Did you mean": the name nearest to a mistyped one.

/// Names longer than this are not compared; no directive is that long.
const MAX_NAME: usize = 40;

/// The name among `names` nearest to `typed`, if one is near enough to be meant.
pub(super) fn nearest(typed: &str, names: &mut dyn Iterator<Item = &'static str>) -> Option<&'static str> {
    if typed.len() > MAX_NAME {
        return None;
    }
    let typed = typed.to_ascii_lowercase();
    let limit = (typed.len() / 3).clamp(1, 3);
    let mut best = None;
    for name in names.filter(|n| n.len().abs_diff(typed.len()) <= limit) {
        let distance = distance(typed.as_bytes(), name.as_bytes());
        if distance <= limit && distance < name.len() && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to come from `a`
/// to `b` (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, &ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut previous_b = None;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = at(&last, j) + usize::from(ca != cb);
            let mut best = replaced.min(at(&row, j) + 1).min(at(&last, j + 1) + 1);
            if previous_b == Some(ca) && previous_a == Some(cb) {
                best = best.min(at(&before_last, j.wrapping_sub(1)) + 1);
            }
            row.push(best);
            previous_b = Some(cb);
        }
        previous_a = Some(ca);
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_counts_once_and_so_do_the_other_edits() {
        for (a, b, expected) in [
            ("play", "play", 0),
            ("paly", "play", 1),
            ("plya", "play", 1),
            ("play", "pla", 1),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_offered_and_the_nearest_wins() {
        let names = ["listen", "play", "publish", "enabled", "pid"];
        let find = |typed: &str| nearest(typed, &mut names.into_iter());
        assert_eq!(find("Lisetn"), Some("listen"));
        assert_eq!(find("pubilsh"), Some("publish"));
        assert_eq!(find("enable"), Some("enabled"));
        assert_eq!(find("xyz"), None);
        assert_eq!(find("q"), None);
        assert_eq!(find(&"listen".repeat(20)), None);
    }
}
