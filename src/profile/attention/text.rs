//! The report as text for a terminal, and as CSV.

use std::fmt::Write;

use super::fit::Meeting;
use super::report::{Peer, Point, Report};
use crate::train::budget;

/// Tables for people.
pub fn told(report: &Report) -> String {
    let (machine, sizes) = (&report.machine, &report.setting);
    let mut text = format!(
        "{} on {} ({}{} {}, {}): batch {}, {} heads of {}\nmeasured ceilings: {:.1} GB/s copied, {:.0} GFLOP/s in a large \
         product\n",
        machine.program,
        machine.device,
        if machine.name.is_empty() { String::new() } else { format!("{}, ", machine.name) },
        machine.units,
        if machine.device.starts_with("cuda") { "multiprocessors" } else { "threads" },
        machine.storage,
        sizes.batch,
        sizes.heads,
        sizes.head_size,
        report.ceilings.copy_bytes_per_s * 1e-9,
        report.ceilings.matmul_flop_per_s * 1e-9,
    );
    let _ = write!(
        text,
        "\n{:<22} {:<8} {:>7} {:>10} {:>10} {:>7} {:>9} {:>13} {:>8} {:>6} {:>5} bound\n",
        "pattern",
        "pass",
        "length",
        "median",
        "predicted",
        "error",
        "memory",
        "visible pairs",
        "GFLOP/s",
        "of max",
        "runs"
    );
    for point in &report.points {
        row(&mut text, point);
    }
    text.push_str(
        "\nmedian: `-` was not tried, for the reason behind it; error: predicted over measured, less 1 (`c`: calibrated \
         the model)\n",
    );
    if let Some(median) = report.prediction.median_error {
        let _ = writeln!(
            text,
            "predictions over the upper half of the lengths: median error {:.0} %, largest {:.0} % ({} points)",
            100.0 * median,
            100.0 * report.prediction.largest_error.unwrap_or(f64::NAN),
            report.prediction.points
        );
    }
    fits(&mut text, report);
    energy(&mut text, report);
    for peer in &report.peers {
        beside(&mut text, peer, &report.points);
    }
    let _ = write!(text, "\n{:.0} s in all", report.seconds);
    text
}

fn row(text: &mut String, p: &Point) {
    let error = match p.error {
        Some(error) => format!("{:+.0} %{}", 100.0 * error, if p.calibration { "c" } else { "" }),
        None => "-".into(),
    };
    let _ = writeln!(
        text,
        "{:<22} {:<8} {:>7} {:>10} {:>10} {:>7} {:>9} {:>13} {:>8} {:>6} {:>5} {}",
        p.pattern,
        p.pass.name(),
        p.length,
        p.median_s.map_or_else(|| format!("- {}", p.not_tried.as_deref().unwrap_or_default()), time),
        time(p.predicted_s),
        error,
        budget::bytes(p.peak_bytes),
        p.visible_pairs,
        p.flop_per_s.map_or("-".into(), |rate| format!("{:.1}", rate * 1e-9)),
        p.share_of_ceiling.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
        p.runs,
        p.bound,
    );
}

fn fits(text: &mut String, report: &Report) {
    let Some(first) = report.fits.first() else { return };
    let _ = write!(
        text,
        "\nover {} to {} tokens; beside a feed-forward layer of {} x {} ({})\n{:<22} {:<8} {:>18} {:>7} {:>12} {:>17} {:>13}\n",
        first.from_length,
        first.to_length,
        report.feed_forward.sizes.width,
        report.feed_forward.sizes.inside,
        report.feed_forward.sizes.model,
        "pattern",
        "pass",
        "time exponent",
        "memory",
        "beats full",
        "overtakes f.-f.",
        "memory ends"
    );
    for fit in &report.fits {
        let _ = writeln!(
            text,
            "{:<22} {:<8} {:>18} {:>7} {:>12} {:>17} {:>13}",
            fit.pattern,
            fit.pass.name(),
            exponent(fit.time_exponent, fit.ci95),
            fit.memory_exponent.map_or("-".into(), |e| format!("{e:.2}")),
            meeting(fit.beats_full, false),
            meeting(fit.overtakes_feed_forward, fit.extrapolated),
            fit.longest.map_or("-".into(), |n| n.to_string()),
        );
    }
}

/// Joules a run at the longest measured length, and their exponent; or why there are none.
fn energy(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n{}", report.energy.line());
    for fit in &report.fits {
        let own = report.points.iter().filter(|p| p.pattern == fit.pattern && p.pass == fit.pass);
        let last = own.filter_map(|p| Some((p.length, p.energy_j?))).next_back();
        let Some((length, energy)) = last else { continue };
        let _ = writeln!(
            text,
            "{:<22} {:<8} {} a run of {length} tokens, exponent {}",
            fit.pattern,
            fit.pass.name(),
            joules(energy),
            fit.energy_exponent.map_or("-".into(), |e| format!("{e:.2}")),
        );
    }
}

/// Joules in three digits: `1.23 mJ`.
pub fn joules(energy: f64) -> String {
    match energy {
        e if e >= 100.0 => format!("{e:.0} J"),
        e if e >= 1.0 => format!("{e:.2} J"),
        e if e >= 1e-3 => format!("{:.2} mJ", e * 1e3),
        e => format!("{:.1} uJ", e * 1e6),
    }
}

/// `1.02 (0.97..1.07)`.
pub fn exponent(exponent: Option<f64>, ci95: Option<[f64; 2]>) -> String {
    match (exponent, ci95) {
        (Some(e), Some([low, high])) => format!("{e:.2} ({low:.2}..{high:.2})"),
        (Some(e), None) => format!("{e:.2}"),
        _ => "-".into(),
    }
}

/// `from 2048`, `always`; a meeting beyond what was profiled has a `~`.
pub fn meeting(meeting: Option<Meeting>, extrapolated: bool) -> String {
    match meeting {
        None => "-".into(),
        Some(Meeting::Always) => "always".into(),
        Some(Meeting::Never) => "never".into(),
        Some(Meeting::From(length)) => format!("from {}{length}", if extrapolated { "~" } else { "" }),
    }
}

fn beside(text: &mut String, peer: &Peer, own: &[Point]) {
    let _ = write!(
        text,
        "\n{} on {}\n{:<22} {:<8} {:>7} {:<10} {:>10} {:>10} {:>8}\n",
        peer.machine.program,
        peer.machine.device,
        "pattern",
        "pass",
        "length",
        "way",
        "median",
        "evoke",
        "times"
    );
    for point in &peer.points {
        let ours = own
            .iter()
            .find(|p| p.pattern == point.pattern && p.pass == point.pass && p.length == point.length)
            .and_then(|p| p.median_s);
        let _ = writeln!(
            text,
            "{:<22} {:<8} {:>7} {:<10} {:>10} {:>10} {:>8}",
            point.pattern,
            point.pass.name(),
            point.length,
            point.way,
            point.median_s.map_or("-".into(), time),
            ours.map_or("-".into(), time),
            point.median_s.zip(ours).map_or("-".into(), |(theirs, ours)| format!("{:.2}", theirs / ours)),
        );
    }
    for fit in peer.fits.iter().filter(|fit| fit.time_exponent.is_some()) {
        let _ = writeln!(
            text,
            "{:<22} {:<8} {:<10} exponent {}",
            fit.pattern,
            fit.pass.name(),
            fit.way,
            exponent(fit.time_exponent, fit.ci95)
        );
    }
}

/// Seconds in three digits: `1.23 ms`.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}

const COLUMNS: &str = "pattern,resolved,pass,length,median_s,p10_s,p90_s,runs,predicted_s,error,calibration,not_tried,\
                       peak_bytes,planned_bytes,visible_pairs,computed_pairs,flops,bytes,intensity,flop_per_s,\
                       bytes_per_s,bound,floor_s,share_of_ceiling,share_of_datasheet,energy_j";

/// One line a point, under a line of names; what is not there is empty.
pub fn csv(points: &[Point]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for p in points {
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:e}"));
        let words = [
            quoted(&p.pattern),
            quoted(&p.resolved),
            p.pass.name().into(),
            p.length.to_string(),
            number(p.median_s),
            number(p.p10_s),
            number(p.p90_s),
            p.runs.to_string(),
            number(Some(p.predicted_s)),
            number(p.error),
            p.calibration.to_string(),
            p.not_tried.as_deref().unwrap_or_default().into(),
            p.peak_bytes.to_string(),
            p.planned_bytes.to_string(),
            p.visible_pairs.to_string(),
            p.computed_pairs.to_string(),
            number(Some(p.flops)),
            number(Some(p.bytes)),
            number(Some(p.intensity)),
            number(p.flop_per_s),
            number(p.bytes_per_s),
            p.bound.to_string(),
            number(Some(p.floor_s)),
            number(p.share_of_ceiling),
            number(p.share_of_datasheet),
            number(p.energy_j),
        ];
        text.push_str(&words.join(","));
        text.push('\n');
    }
    text
}

/// `band:3,1` has a comma.
fn quoted(word: &str) -> String {
    if word.contains(',') { format!("\"{word}\"") } else { word.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (seconds, text) in
            [(123.4, "123 s"), (1.234, "1.23 s"), (0.5, "500 ms"), (0.00123, "1.23 ms"), (4.2e-6, "4.2 us")]
        {
            assert_eq!(time(seconds), text);
        }
        for (energy, text) in [(123.4, "123 J"), (1.234, "1.23 J"), (0.5, "500.00 mJ"), (4.2e-6, "4.2 uJ")] {
            assert_eq!(joules(energy), text);
        }
    }

    #[test]
    fn meetings_and_exponents_are_words() {
        assert_eq!(meeting(Some(Meeting::From(2000)), true), "from ~2000");
        assert_eq!(meeting(None, false), "-");
        assert_eq!(exponent(Some(1.5), Some([1.4, 1.6])), "1.50 (1.40..1.60)");
        assert_eq!(quoted("band:3,1"), "\"band:3,1\"");
    }
}
