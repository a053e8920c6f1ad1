//! What in a `dvr` block cannot be.

use super::Checker;
use crate::conf::error::Span;
use crate::conf::schema::Context;
use crate::conf::typed::{Dvr, DvrPlan};

/// What `dvr_path` may have in brackets.
const VARIABLES: [&str; 11] = [
    "[vhost]",
    "[app]",
    "[stream]",
    "[timestamp]",
    "[2006]",
    "[01]",
    "[02]",
    "[15]",
    "[04]",
    "[05]",
    "[999]",
];

impl Checker<'_, '_, '_, '_> {
    /// Checks the `dvr` blocks of all vhosts.
    pub(super) fn dvr(&mut self) {
        let found = |fault: fn(&Dvr) -> Option<(&'static str, String)>| -> Vec<_> {
            self.draft.config.vhosts.iter().filter_map(|v| fault(&v.dvr)).collect()
        };
        let (faults, doubts) = (found(fault), found(doubt));
        for (directive, message) in faults {
            let span = self.place(Context::Dvr, directive).unwrap_or(Span::START);
            self.reports.error(span, message, None);
        }
        for (directive, message) in doubts {
            if let Some(span) = self.place(Context::Dvr, directive) {
                self.reports.warn(span, message, None);
            }
        }
    }
}

/// What cannot be, and the directive that says so.
fn fault(dvr: &Dvr) -> Option<(&'static str, String)> {
    let packaged = dvr.path.ends_with(".mp4") || dvr.path.ends_with(".ts");
    let variable = dvr.path.split_once('[').map_or("", |(_, rest)| rest);
    if dvr.path.is_empty() || variable.split('/').any(|part| part == "..") {
        Some(("dvr_path", String::from("`dvr_path` is a path, without `..` behind a variable")))
    } else if dvr.plan == DvrPlan::Append && packaged {
        Some(("dvr_plan", String::from("`dvr_plan append` is for FLV: end `dvr_path` in .flv")))
    } else {
        None
    }
}

/// What is allowed and probably not meant.
fn doubt(dvr: &Dvr) -> Option<(&'static str, String)> {
    let rest = VARIABLES.iter().fold(dvr.path.clone(), |rest, variable| rest.replace(variable, ""));
    let unknown =
        rest.find('[').and_then(|at| rest.get(at..)).and_then(|from| from.split_inclusive(']').next());
    if let Some(unknown) = unknown {
        return Some(("dvr_path", format!("`{unknown}` is no variable of `dvr_path`; it stays as it is")));
    }
    let times = VARIABLES.iter().skip(3).any(|variable| dvr.path.contains(variable));
    (dvr.enabled && dvr.plan == DvrPlan::Append && times).then(|| {
        let message = "`dvr_plan append` goes on in a file only when `dvr_path` gives the same name again, without times";
        ("dvr_plan", message.to_owned())
    })
}
