//! The report's pictures: times over lengths, memory, the roofline, and which tiles of its square a pattern touches.

use super::report::{Point, Report};
use super::setting::{Pass, Setting};
use super::summary::{beside, of};
use crate::Result;
use crate::look::drawing::{Anchor, Drawing, Ink, Shape};
use crate::look::plot::{Mark, Plot, Series, drawn, short};
use crate::ops::attention::pattern::Pattern;

/// A picture with its file's name and the words below it.
pub struct Picture {
    pub name: String,
    pub drawing: Drawing,
    pub caption: String,
}

/// All pictures but the tiles, in the order of the page.
pub fn plots(report: &Report, s: &Setting) -> Vec<Picture> {
    let mut pictures: Vec<Picture> = s.passes.iter().map(|&pass| over_lengths(report, s, pass)).collect();
    pictures.push(roofline(report, s));
    pictures.push(memory(report, s));
    pictures.extend(energy(report, s));
    pictures.extend(s.patterns.iter().enumerate().map(|(number, text)| bounds(report, s, number, text)));
    for (number, peer) in report.peers.iter().enumerate() {
        for &pass in s.passes.iter().filter(|&&pass| peer.points.iter().any(|point| point.pass == pass)) {
            pictures.push(peers(report, s, number, pass));
        }
    }
    pictures
}

fn curve<'a>(points: impl Iterator<Item = &'a Point>, y: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    points.filter_map(|point| Some((point.length as f64, y(point)?))).collect()
}

fn of_lengths(title: String, y_label: &str, series: Vec<Series>) -> Plot {
    Plot { title, x_label: "tokens".into(), y_label: y_label.into(), doublings: true, series }
}

fn series(name: &str, points: Vec<(f64, f64)>, ink: Ink, mark: Mark) -> Series {
    Series { name: name.into(), points, ink, mark }
}

/// Every pattern's time, measured and predicted, and the feed-forward layer's.
fn over_lengths(report: &Report, s: &Setting, pass: Pass) -> Picture {
    let mut all = Vec::new();
    for (number, text) in s.patterns.iter().enumerate() {
        let ink = Ink::Series(number);
        all.push(series(text, curve(of(&report.points, text, pass), |p| p.median_s), ink, Mark::Line));
        all.push(series(
            "",
            curve(of(&report.points, text, pass), |p| Some(p.predicted_s)),
            ink,
            Mark::Dashed,
        ));
    }
    let layer = s.lengths.iter().map(|&n| (n as f64, beside(s, &report.feed_forward, pass, n))).collect();
    all.push(series("feed-forward layer", layer, Ink::Faint, Mark::Thin));
    let plot = of_lengths(format!("Time of {}", words(pass)), "seconds", all);
    Picture {
        name: format!("time-{}", pass.name()),
        drawing: drawn(&plot, seconds),
        caption: "Lines are measured medians, dashes the predictions; the thin line is the feed-forward layer over the \
                  same tokens."
            .into(),
    }
}

fn words(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "the forward pass",
        Pass::Backward => "the backward pass",
        Pass::Decode => "one decoding step",
    }
}

/// One pattern against what arithmetic and memory allow.
fn bounds(report: &Report, s: &Setting, number: usize, text: &str) -> Picture {
    let mut all = Vec::new();
    for (n, &pass) in s.passes.iter().enumerate() {
        let (own, ink) = (|| of(&report.points, text, pass), Ink::Series(n));
        all.push(series(
            &format!("{}, measured", pass.name()),
            curve(own(), |p| p.median_s),
            ink,
            Mark::Line,
        ));
        all.push(series("predicted", curve(own(), |p| Some(p.predicted_s)), ink, Mark::Dashed));
        all.push(series("bound", curve(own(), |p| Some(p.floor_s)), ink, Mark::Thin));
    }
    Picture {
        name: format!("bound-{}-{}", number + 1, file_name(text)),
        drawing: drawn(&of_lengths(text.to_string(), "seconds", all), seconds),
        caption: "Thin lines: what the measured ceilings of this machine allow for the useful work.".into(),
    }
}

/// Useful operations a second over operations a byte.
fn roofline(report: &Report, s: &Setting) -> Picture {
    let measured = || report.points.iter().filter(|point| point.flop_per_s.is_some());
    let ends = measured()
        .fold((f64::INFINITY, 0.0f64), |(low, high), p| (low.min(p.intensity), high.max(p.intensity)));
    let ceilings = report.ceilings;
    let turn = ceilings.matmul_flop_per_s / ceilings.copy_bytes_per_s;
    let (low, high) = (ends.0.min(turn / 4.0), ends.1.max(turn * 4.0));
    let roof = |flops: f64, bytes: f64| -> Vec<(f64, f64)> {
        let turn = (flops / bytes).clamp(low, high);
        [low, turn, high].into_iter().map(|x| (x, flops.min(bytes * x))).collect()
    };
    let mut all = vec![series(
        "measured ceilings",
        roof(ceilings.matmul_flop_per_s, ceilings.copy_bytes_per_s),
        Ink::Text,
        Mark::Thin,
    )];
    if let Some(sheet) = report.datasheet {
        all.push(series("datasheet", roof(sheet.flop_per_s, sheet.bytes_per_s), Ink::Faint, Mark::Dashed));
    }
    for (number, text) in s.patterns.iter().enumerate() {
        let points = measured().filter(|p| p.pattern == *text);
        let points = points.filter_map(|p| Some((p.intensity, p.flop_per_s?))).collect();
        all.push(series(text, points, Ink::Series(number), Mark::Dots));
    }
    let plot = Plot {
        title: "Roofline".into(),
        x_label: "useful FLOP a byte".into(),
        y_label: "useful FLOP/s".into(),
        doublings: false,
        series: all,
    };
    Picture {
        name: "roofline".into(),
        drawing: drawn(&plot, rate),
        caption: "Every measured point. Bytes are those that must be moved at least; left of the bend memory is the \
                  bound, right of it arithmetic."
            .into(),
    }
}

/// `10 ms`: a place on an axis, which is a round number.
fn seconds(s: f64) -> String {
    match s {
        s if s >= 1.0 => format!("{} s", short(s)),
        s if s >= 1e-3 => format!("{} ms", short(s * 1e3)),
        s => format!("{} us", short(s * 1e6)),
    }
}

/// `10 MB`.
fn bytes(count: f64) -> String {
    match count {
        c if c >= 1e9 => format!("{} GB", short(c / 1e9)),
        c if c >= 1e6 => format!("{} MB", short(c / 1e6)),
        c => format!("{} kB", short(c / 1e3)),
    }
}

/// `20G`.
fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e12 => format!("{}T", short(r / 1e12)),
        r if r >= 1e9 => format!("{}G", short(r / 1e9)),
        r if r >= 1e6 => format!("{}M", short(r / 1e6)),
        r => short(r),
    }
}

fn memory(report: &Report, s: &Setting) -> Picture {
    let mut all = Vec::new();
    for (number, text) in s.patterns.iter().enumerate() {
        for (n, &pass) in s.passes.iter().enumerate() {
            let mark = if n == 0 { Mark::Line } else { Mark::Dashed };
            let name = if n == 0 { text.as_str() } else { "" };
            let own = curve(of(&report.points, text, pass), |p| Some(p.peak_bytes as f64));
            all.push(series(name, own, Ink::Series(number), mark));
        }
    }
    if let (Some(free), [first, .., last]) = (report.machine.memory_available, s.lengths.as_slice()) {
        let line = vec![(*first as f64, free as f64), (*last as f64, free as f64)];
        all.push(series("free memory", line, Ink::Faint, Mark::Thin));
    }
    let plot = of_lengths("Memory".into(), "bytes", all);
    Picture {
        name: "memory".into(),
        drawing: drawn(&plot, bytes),
        caption: format!("At its highest. Line: {}; dashes: the other passes.", s.passes[0].name()),
    }
}

/// Joules of a run, where they are counted.
fn energy(report: &Report, s: &Setting) -> Option<Picture> {
    let counter =
        report.energy.counter.as_deref().filter(|_| report.points.iter().any(|p| p.energy_j.is_some()))?;
    let mut all = Vec::new();
    for (number, text) in s.patterns.iter().enumerate() {
        for (n, &pass) in s.passes.iter().enumerate() {
            let mark = if n == 0 { Mark::Line } else { Mark::Dashed };
            let fit = report.fits.iter().find(|fit| fit.pattern == *text && fit.pass == pass);
            let name = match fit.and_then(|fit| fit.energy_exponent) {
                Some(exponent) => format!("{text} ({exponent:.2})"),
                None => text.clone(),
            };
            let own = curve(of(&report.points, text, pass), |p| p.energy_j);
            all.push(series(if n == 0 { &name } else { "" }, own, Ink::Series(number), mark));
        }
    }
    Some(Picture {
        name: "energy".into(),
        drawing: drawn(&of_lengths("Energy".into(), "joules", all), super::text::joules),
        caption: format!(
            "Of one run, by {counter}; in brackets the exponent over the upper half of the lengths. Line: {}; dashes: the \
             other passes.",
            s.passes[0].name()
        ),
    })
}

fn peers(report: &Report, s: &Setting, number: usize, pass: Pass) -> Picture {
    let peer = &report.peers[number];
    let mut all = Vec::new();
    let mut ways: Vec<(&str, &str)> =
        peer.points.iter().filter(|p| p.pass == pass).map(|p| (p.pattern.as_str(), p.way.as_str())).collect();
    ways.dedup();
    let mut ink = 0;
    for (n, text) in s.patterns.iter().enumerate() {
        if ways.iter().any(|(pattern, _)| pattern == text) {
            let own = curve(of(&report.points, text, pass), |p| p.median_s);
            all.push(series(&format!("evoke {text}"), own, Ink::Series(n), Mark::Line));
            ink = ink.max(n + 1);
        }
    }
    for (pattern, way) in ways {
        let points = peer.points.iter().filter(|p| p.pass == pass && p.pattern == pattern && p.way == way);
        let points = points.filter_map(|p| Some((p.length as f64, p.median_s?))).collect();
        all.push(series(format!("{way} {pattern}").trim(), points, Ink::Series(ink), Mark::Dashed));
        ink += 1;
    }
    let title = format!("{}: {}", peer.machine.program, words(pass));
    Picture {
        name: format!("peer-{}-{}", number + 1, pass.name()),
        drawing: drawn(&of_lengths(title, "seconds", all), seconds),
        caption: format!("Lines: Evoke. Dashes: {} on {}.", peer.machine.program, peer.machine.device),
    }
}

/// Cells of a side of the map.
const CELLS: usize = 64;
/// The longest sequence that is mapped: pairs are counted one query at a time.
const LONGEST_MAP: usize = 4096;

/// The tokens that the maps are of.
pub fn map_length(s: &Setting) -> usize {
    s.lengths.iter().copied().filter(|&n| n <= LONGEST_MAP).max().unwrap_or(LONGEST_MAP)
}

/// Which tiles of the square of queries and keys a pattern sees whole, in part, or not at all.
///
/// # Errors
/// If the pattern does not fit the mapped length.
pub fn maps(report: &Report, s: &Setting) -> Result<Vec<Picture>> {
    let length = map_length(s);
    let mut pictures = Vec::new();
    for (number, text) in s.patterns.iter().enumerate() {
        let pattern = s.at(text, length)?[0];
        let cell = length.div_ceil(CELLS);
        let counts = cells(pattern, length, cell);
        let touched = report.tiles.iter().find(|t| t.pattern == *text && t.length == length);
        let apart = (0..pattern.terms()).any(|term| pattern.classes(term, length) > 1);
        let caption = touched.map_or(String::new(), |t| {
            format!(
                "{} tokens, squares of {cell}; down: queries, across: keys. {} {} tiles of {} x {}: {} full, {} partial; \
                 {} of the square's are never looked at.",
                t.length,
                if apart {
                    "The kernels gather queries that are a period apart, and so touch"
                } else {
                    "The kernels touch"
                },
                t.full + t.partial,
                t.tile_queries,
                t.tile_keys,
                t.full,
                t.partial,
                t.empty
            )
        });
        let title = format!("{pattern}: tiles at {length} tokens");
        let name = format!("tiles-{}-{}", number + 1, file_name(text));
        pictures.push(Picture { name, drawing: map(&title, &counts, length, cell), caption });
    }
    Ok(pictures)
}

/// Visible pairs of each cell, a row of cells after the other.
pub fn cells(pattern: Pattern, length: usize, cell: usize) -> Vec<Vec<usize>> {
    let side = length.div_ceil(cell);
    let mut counts = vec![vec![0; side]; side];
    for i in 0..length {
        let row = &mut counts[i / cell];
        for range in pattern.ranges(length, length, length, i) {
            if range.stride == 1 {
                let end = range.start + range.count;
                for (column, count) in
                    row.iter_mut().enumerate().take(end.div_ceil(cell)).skip(range.start / cell)
                {
                    *count += end.min((column + 1) * cell) - range.start.max(column * cell);
                }
            } else {
                (0..range.count).for_each(|n| row[(range.start + n * range.stride) / cell] += 1);
            }
        }
    }
    counts
}

fn map(title: &str, counts: &[Vec<usize>], length: usize, cell: usize) -> Drawing {
    const SIDE: f64 = 320.0;
    const TOP: f64 = 44.0;
    let mut drawing = Drawing { width: SIDE, height: SIDE + TOP, title: title.into(), shapes: Vec::new() };
    drawing.text((0.0, 15.0), 13.0, Anchor::Start, Ink::Text, title);
    for (n, (ink, name)) in
        [(Ink::Full, "full"), (Ink::Partial, "partial"), (Ink::Empty, "empty")].into_iter().enumerate()
    {
        let x = 80.0 * n as f64;
        drawing.shapes.push(Shape::Box { at: (x, 24.0), size: (12.0, 12.0), ink });
        drawing.text((x + 17.0, 34.0), 11.0, Anchor::Start, Ink::Text, name);
    }
    drawing.shapes.push(Shape::Box { at: (0.0, TOP), size: (SIDE, SIDE), ink: Ink::Empty });
    let unit = SIDE / counts.len() as f64;
    let extent = |n: usize| cell.min(length - n * cell);
    for (r, row) in counts.iter().enumerate() {
        let kind = |c: usize| match row[c] {
            0 => Ink::Empty,
            n if n == extent(r) * extent(c) => Ink::Full,
            _ => Ink::Partial,
        };
        // Neighbours of one kind are one box.
        let mut c = 0;
        while c < row.len() {
            let (ink, from) = (kind(c), c);
            while c < row.len() && kind(c) == ink {
                c += 1;
            }
            if ink != Ink::Empty {
                let (at, size) =
                    ((from as f64 * unit, TOP + r as f64 * unit), ((c - from) as f64 * unit, unit));
                drawing.shapes.push(Shape::Box { at, size, ink });
            }
        }
    }
    drawing
}

/// Letters, digits and dashes alone.
fn file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_count_the_pairs_of_the_mask() {
        for text in ["full", "causal", "band:5,2", "dilated:3:4", "strided:8", "fixed:8:2", "band:3+prefix:2"]
        {
            let pattern: Pattern = text.parse().unwrap();
            let counts = cells(pattern, 37, 5);
            for (r, row) in counts.iter().enumerate() {
                for (c, &count) in row.iter().enumerate() {
                    let inside = |n: usize| n * 5..37.min(n * 5 + 5);
                    let pairs = inside(r).flat_map(|i| inside(c).map(move |j| (i, j)));
                    let seen = pairs.filter(|&(i, j)| pattern.visible(37, 37, i, j)).count();
                    assert_eq!(count, seen, "{text}: cell {r}, {c}");
                }
            }
        }
    }

    #[test]
    fn a_map_of_a_full_square_is_one_box_a_row() {
        let drawing = map("full", &cells(Pattern::full(), 64, 16), 64, 16);
        let boxes = |ink: Ink| {
            drawing.shapes.iter().filter(|s| matches!(s, Shape::Box { ink: i, .. } if *i == ink)).count()
        };
        // One more of each in the legend, and the ground.
        assert_eq!((boxes(Ink::Full), boxes(Ink::Partial), boxes(Ink::Empty)), (5, 1, 2));
    }
}
