//! The report as one HTML page that opens without a network.

use std::fmt::Write;

use super::plots::{Picture, maps, plots};
use super::report::{Point, Report};
use super::setting::Setting;
use super::text::{exponent, joules, meeting, time};
use crate::Result;
use crate::look::html::{self, escape};
use crate::train::budget;

/// The page.
///
/// # Errors
/// If a pattern does not fit the length of its map.
pub fn page(report: &Report, s: &Setting) -> Result<String> {
    let mut body = String::new();
    for (title, pictures) in [("Curves", plots(report, s)), ("Tiles", maps(report, s)?)] {
        let _ = write!(body, "<h2>{title}</h2>\n<div class=\"curves\">\n");
        pictures.iter().for_each(|picture| figure(&mut body, picture));
        body.push_str("</div>\n");
    }
    fits(&mut body, report);
    points(&mut body, report);
    for peer in &report.peers {
        let _ = writeln!(body, "<h2>Beside {}</h2>", escape(&peer.machine.program));
        let rows = peer.points.iter().map(|point| {
            let ours = report
                .points
                .iter()
                .find(|p| {
                    (p.pattern == point.pattern) && (p.pass == point.pass) && (p.length == point.length)
                })
                .and_then(|p| p.median_s);
            vec![
                point.pattern.clone(),
                point.pass.name().into(),
                point.length.to_string(),
                point.way.clone(),
                point.median_s.map_or("-".into(), time),
                ours.map_or("-".into(), time),
                point.median_s.zip(ours).map_or("-".into(), |(theirs, ours)| format!("{:.2}", theirs / ours)),
            ]
        });
        table(&mut body, &["pattern", "pass", "tokens", "way", "median", "evoke", "times evoke"], rows);
    }
    Ok(html::page("What attention costs", &summary(report), &body))
}

fn figure(body: &mut String, picture: &Picture) {
    let _ = writeln!(
        body,
        "<div class=\"card\">{}<p class=\"note\">{}</p></div>",
        picture.drawing.inline(),
        escape(&picture.caption)
    );
}

fn summary(report: &Report) -> Vec<(String, String)> {
    let (machine, sizes) = (&report.machine, &report.setting);
    let mut all = vec![
        ("device".to_string(), format!("{} {}", machine.device, machine.name)),
        ("threads or multiprocessors".into(), format!("{} ({})", machine.units, machine.vector)),
        ("numbers".into(), machine.storage.clone()),
        ("work".into(), format!("batch {}, {} heads of {}", sizes.batch, sizes.heads, sizes.head_size)),
        ("copy, measured".into(), format!("{:.1} GB/s", report.ceilings.copy_bytes_per_s * 1e-9)),
        ("product, measured".into(), format!("{:.1} GFLOP/s", report.ceilings.matmul_flop_per_s * 1e-9)),
    ];
    if machine.device.starts_with("cuda") {
        all[1] = ("multiprocessors".into(), machine.units.to_string());
    }
    if let Some(sheet) = report.datasheet {
        let text = format!("{:.0} TFLOP/s, {:.2} TB/s", sheet.flop_per_s * 1e-12, sheet.bytes_per_s * 1e-12);
        all.push(("datasheet".into(), text));
    }
    if let Some(free) = machine.memory_available {
        all.push(("free memory".into(), budget::bytes(free)));
    }
    if let Some(error) = report.prediction.median_error {
        all.push(("median error of the predictions".into(), format!("{:.0} %", 100.0 * error)));
    }
    let counter = report.energy.counter.as_deref().map_or_else(|| "not counted".into(), str::to_string);
    all.push(("energy".into(), counter));
    all.push(("made in".into(), format!("{:.0} s", report.seconds)));
    all
}

fn fits(body: &mut String, report: &Report) {
    let Some(first) = report.fits.first() else { return };
    let layer = &report.feed_forward.sizes;
    let _ = write!(
        body,
        "<h2>How it grows</h2>\n<p class=\"note\">Exponents over {} to {} tokens, with their 95 % interval. The \
         feed-forward layer is {} x {} ({}).</p>\n",
        first.from_length,
        first.to_length,
        layer.width,
        layer.inside,
        escape(&layer.model)
    );
    let names = [
        "pattern",
        "pass",
        "time exponent",
        "memory exponent",
        "energy exponent",
        "beats full",
        "overtakes feed-forward",
        "memory ends at",
    ];
    let rows = report.fits.iter().map(|fit| {
        vec![
            fit.pattern.clone(),
            fit.pass.name().into(),
            exponent(fit.time_exponent, fit.ci95),
            fit.memory_exponent.map_or("-".into(), |e| format!("{e:.2}")),
            fit.energy_exponent.map_or("-".into(), |e| format!("{e:.2}")),
            meeting(fit.beats_full, false),
            meeting(fit.overtakes_feed_forward, fit.extrapolated),
            fit.longest.map_or("-".into(), |n| n.to_string()),
        ]
    });
    table(body, &names, rows);
}

fn points(body: &mut String, report: &Report) {
    body.push_str(
        "<h2>Every point</h2>\n<p class=\"note\">Medians, and the tenth and ninetieth of a hundred. A point without a \
         median would not have fitted the time or the memory, and is predicted; a c marks those that calibrated the \
         prediction.</p>\n",
    );
    let names = [
        "pattern",
        "pass",
        "tokens",
        "median",
        "p10",
        "p90",
        "predicted",
        "error",
        "memory",
        "visible pairs",
        "useful GFLOP/s",
        "GB/s",
        "FLOP a byte",
        "bound",
        "of ceiling",
        "of datasheet",
        "energy",
        "runs",
    ];
    table(body, &names, report.points.iter().map(row));
}

fn row(p: &Point) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share));
    let billions = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{:.1}", rate * 1e-9));
    let seconds = |s: Option<f64>| s.map_or("-".into(), time);
    vec![
        p.pattern.clone(),
        p.pass.name().into(),
        p.length.to_string(),
        p.median_s
            .map_or_else(|| format!("predicted ({})", p.not_tried.as_deref().unwrap_or("not tried")), time),
        seconds(p.p10_s),
        seconds(p.p90_s),
        time(p.predicted_s),
        p.error
            .map_or("-".into(), |e| format!("{:+.0} %{}", 100.0 * e, if p.calibration { " c" } else { "" })),
        budget::bytes(p.peak_bytes),
        p.visible_pairs.to_string(),
        billions(p.flop_per_s),
        billions(p.bytes_per_s),
        format!("{:.1}", p.intensity),
        p.bound.to_string(),
        share(p.share_of_ceiling),
        share(p.share_of_datasheet),
        p.energy_j.map_or("-".into(), joules),
        p.runs.to_string(),
    ]
}

fn table(body: &mut String, names: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    body.push_str("<div class=\"card scroll\"><table>\n<thead><tr>");
    for name in names {
        let _ = write!(body, "<th>{}</th>", escape(name));
    }
    body.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        body.push_str("<tr>");
        for word in row {
            let _ = write!(body, "<td>{}</td>", escape(&word));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table></div>\n");
}
