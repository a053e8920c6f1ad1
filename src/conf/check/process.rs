//! The blocks `ingest`, `transcode` and `engine`, of which there may be several, and what in them cannot be.

use super::Checker;
use crate::conf::effective::written;
use crate::conf::error::Span;
use crate::conf::parse::{Node, Token};
use crate::conf::process::{Job, JobKind, Open};
use crate::conf::schema::Context;
use crate::conf::value::clip;

impl<'a> Checker<'a, '_, '_, '_> {
    /// Reads a block of `context`, which may have a name.
    pub(super) fn process(
        &mut self,
        parent: usize,
        context: Context,
        place: Span,
        name: Option<Token<'a>>,
        nodes: Vec<Node<'a>>,
    ) {
        let word = name.map_or("", |name| name.text);
        let inner = self.enter(parent, context, Some(word.to_owned()));
        let fresh = self.fresh_open.clone();
        let outer = self.draft.open.clone();
        if context == Context::Engine {
            self.draft.open.engine = fresh.engine;
            word.clone_into(&mut self.draft.open.engine.name);
        } else {
            self.draft.open = fresh;
            word.clone_into(&mut self.draft.open.job.name);
        }
        self.block(inner, nodes);
        let Open { mut job, engine } = std::mem::replace(&mut self.draft.open, outer);
        if context == Context::Engine {
            return self.draft.open.job.engines.push(engine);
        }
        let ingest = context == Context::Ingest;
        job.kind = if ingest { JobKind::Ingest } else { JobKind::Transcode };
        if !job.enabled {
            return;
        }
        if !ingest {
            job.engines.retain(|engine| engine.enabled);
        }
        if let Some(fault) = fault(&job) {
            return self.reports.error(name.map_or(place, |name| name.span), fault, None);
        }
        let jobs = &mut self.draft.vhost.jobs;
        if jobs.iter().any(|other| (other.kind, &other.name) == (job.kind, &job.name)) {
            let message = format!("`{}` stands above already; this one has no effect", clip(word));
            return self.reports.warn(name.map_or(place, |name| name.span), message, None);
        }
        jobs.push(job);
    }

    /// The arguments that a block of them means, `-name value` for each `name value;`, and the block as it could be
    /// written.
    pub(super) fn arguments(&mut self, nodes: &[Node<'a>]) -> (Vec<String>, String) {
        let (mut words, mut text) = (Vec::new(), String::from("{ "));
        for node in nodes {
            if node.block.is_some() {
                let message = format!("`{}` is an argument, and takes no block", clip(node.name.text));
                self.reports.error(node.name.span, message, None);
            }
            words.push(format!("-{}", node.name.text.trim_start_matches('-')));
            words.extend(node.args.iter().map(|arg| arg.text.to_owned()));
            let all: Vec<Token<'a>> = std::iter::once(node.name).chain(node.args.iter().copied()).collect();
            text += &written(&all);
            text += "; ";
        }
        (words, text + "}")
    }
}

/// What cannot be in a job that is enabled.
fn fault(job: &Job) -> Option<String> {
    let name = match job.kind {
        JobKind::Ingest => "ingest",
        JobKind::Transcode => "transcode",
    };
    let without = job.engines.iter().find(|engine| engine.output.is_empty());
    if job.ffmpeg.is_empty() {
        Some(format!("`{name}` needs `ffmpeg`, the program"))
    } else if job.kind == JobKind::Ingest && (job.url.is_empty() || job.url.starts_with('-')) {
        Some(String::from("`ingest` needs `input { url …; }`, a file or a URL"))
    } else if job.engines.is_empty() {
        let enabled = if job.kind == JobKind::Ingest { "" } else { "enabled on; " };
        Some(format!("`{name}` needs `engine {{ {enabled}output …; }}`"))
    } else {
        without.map(|engine| format!("`engine {}` needs `output`: where the media go", clip(&engine.name)))
    }
}
