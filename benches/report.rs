//! Tables, JSON and SVG, written by hand.

use std::fmt::Write;

/// A cell of a row.
#[derive(Clone)]
pub enum Cell {
    /// A measure.
    Num(f64),
    /// A name.
    Text(String),
}

/// One run: named cells in order.
#[derive(Clone, Default)]
pub struct Row(Vec<(&'static str, Cell)>);

impl Row {
    /// Adds or replaces a measure.
    pub fn num(&mut self, name: &'static str, value: f64) {
        self.set(name, Cell::Num(value));
    }

    /// Adds or replaces a name.
    pub fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.set(name, Cell::Text(value.into()));
    }

    fn set(&mut self, name: &'static str, cell: Cell) {
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = cell,
            None => self.0.push((name, cell)),
        }
    }

    /// A measure, if the row has it.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find_map(|(key, cell)| match cell {
            Cell::Num(value) if *key == name => Some(*value),
            _ => None,
        })
    }

    /// A name, or nothing.
    pub fn name(&self, name: &str) -> &str {
        self.0
            .iter()
            .find_map(|(key, cell)| match cell {
                Cell::Text(text) if *key == name => Some(text.as_str()),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn show(&self, name: &str) -> String {
        match self.get(name) {
            Some(value) => short(value),
            None => self.name(name).to_string(),
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A text table of the named columns.
pub fn table(rows: &[Row], columns: &[&str]) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|name| (*name).to_string()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| row.show(name)).collect()));
    let width = |index: usize| lines.iter().map(|line: &Vec<String>| line[index].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  "));
    }
    out
}

/// The rows as a JSON document with a head.
pub fn json(head: &[(&str, String)], rows: &[Row]) -> String {
    let mut out = String::from("{\n");
    for (key, value) in head {
        let _ = writeln!(out, "  \"{key}\": {},", quote(value));
    }
    out.push_str("  \"rows\": [\n");
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.0.iter().map(|(key, cell)| format!("\"{key}\": {}", value(cell))).collect();
        let comma = if index + 1 < rows.len() { "," } else { "" };
        let _ = writeln!(out, "    {{{}}}{comma}", cells.join(", "));
    }
    out.push_str("  ]\n}\n");
    out
}

fn value(cell: &Cell) -> String {
    match cell {
        Cell::Num(number) if number.is_finite() => format!("{number}"),
        Cell::Num(_) => "null".to_string(),
        Cell::Text(text) => quote(text),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// One line of a plot.
pub struct Line {
    /// Legend.
    pub name: String,
    /// Points: x and y, in order of x.
    pub points: Vec<(f64, f64)>,
}

/// One panel of a plot.
pub struct Panel {
    /// Title with the unit of y.
    pub title: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

const COLORS: [&str; 8] =
    ["#666666", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b"];
const PANEL_W: f64 = 460.0;
const PANEL_H: f64 = 360.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 46.0;

/// Panels side by side over the same logarithmic x axis.
pub fn svg(x_title: &str, panels: &[Panel]) -> String {
    let legend = panels.iter().map(|panel| panel.lines.len()).max().unwrap_or(0) as f64 * 18.0;
    let (width, height) = (PANEL_W * panels.len() as f64, PANEL_H + legend);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({},0)\">", PANEL_W * index as f64);
        draw(&mut out, x_title, panel);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, x_title: &str, panel: &Panel) {
    let all = || panel.lines.iter().flat_map(|line| line.points.iter().copied());
    let low = all().map(|(x, _)| x).fold(f64::INFINITY, f64::min).max(1.0);
    let high = all().map(|(x, _)| x).fold(low * 1.1, f64::max);
    let step = nice(all().map(|(_, y)| y).fold(0.0, f64::max) / 5.0);
    let top = step * 5.0;
    let x_at = |x: f64| LEFT + (x / low).ln() / (high / low).ln() * (PANEL_W - LEFT - RIGHT);
    let y_at = |y: f64| PANEL_H - BOTTOM - y / top * (PANEL_H - TOP - BOTTOM);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{}</text>", panel.title);
    for tick in 0..=5 {
        let (y, label) = (y_at(step * f64::from(tick)), short(step * f64::from(tick)));
        let end = PANEL_W - RIGHT;
        let _ = writeln!(out, "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let mut xs: Vec<f64> = all().map(|(x, _)| x).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    for x in xs {
        let (at, y) = (x_at(x), PANEL_H - BOTTOM + 18.0);
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{x:.0}</text>");
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x_title}</text>",
        PANEL_W / 2.0,
        PANEL_H - 8.0
    );
    for (index, line) in panel.lines.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        let path = points.join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
        for point in &points {
            let (x, y) = point.split_once(',').unwrap_or(("0", "0"));
            let _ = writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{color}\"/>");
        }
        let y = PANEL_H + 18.0 * index as f64 + 8.0;
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{color}\"/>",
            y - 6.0
        );
        let _ = writeln!(out, "<text x=\"{}\" y=\"{y}\">{}</text>", LEFT + 20.0, line.name);
    }
}

/// The next of 1, 2, 5, 10 ... above a step.
fn nice(step: f64) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    let base = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|k| k * base).find(|nice| *nice >= step).unwrap_or(base * 10.0)
}
