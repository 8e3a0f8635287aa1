//! Learning curves as inline SVG.

use std::fmt::Write;

use super::html::{Curve, escape};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// A longer series is drawn as means of neighbours: more points than pixels only make the page heavy.
const MOST_POINTS: usize = 400;
const COLOURS: usize = 6;

/// Appends a card: title, legend with the last values, axes with round numbers, one line a series.
pub(super) fn curve(page: &mut String, curve: &Curve) {
    let series: Vec<Vec<(f64, f64)>> = curve.series.iter().map(|(_, points)| thinned(points)).collect();
    let finite = || series.iter().flatten().filter(|(x, y)| x.is_finite() && y.is_finite());
    let _ = write!(page, "<div class=\"card\"><h3>{}</h3>", escape(&curve.title));
    page.push_str("<div class=\"legend\">");
    for (i, (name, points)) in curve.series.iter().enumerate() {
        let last =
            points.iter().rev().find(|(_, y)| y.is_finite()).map_or(String::new(), |(_, y)| number(*y));
        let _ = write!(
            page,
            "<span><i style=\"background:var(--s{})\"></i>{} <b>{last}</b></span>",
            i % COLOURS,
            escape(name)
        );
    }
    page.push_str("</div>");
    if finite().next().is_none() {
        page.push_str("<p class=\"count\">nothing was measured</p></div>\n");
        return;
    }
    let x_ticks = ticks(bounds(finite().map(|p| p.0)), 6);
    let y_ticks = ticks(bounds(finite().map(|p| p.1)), 5);
    let (x_low, x_high) = bounds(finite().map(|p| p.0));
    let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
    let x_place =
        |x: f64| LEFT + (x - x_low) / (x_high - x_low).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT);
    let y_place = |y: f64| HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);

    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(&curve.title)
    );
    for &tick in &y_ticks {
        let (y, right) = (y_place(tick), WIDTH - RIGHT);
        let _ =
            write!(page, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let (x, y) = (LEFT - 8.0, y + 4.0);
        let _ = write!(page, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", number(tick));
    }
    for &tick in x_ticks.iter().filter(|&&tick| tick >= x_low && tick <= x_high) {
        let (x, y) = (x_place(tick), HEIGHT - BOTTOM + 18.0);
        let _ = write!(page, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", number(tick));
    }
    let (x, y) = (WIDTH - RIGHT, HEIGHT - 4.0);
    let _ = write!(page, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{}</text>", escape(&curve.x_label));
    for (i, points) in series.iter().enumerate() {
        let colour = i % COLOURS;
        for run in points.split(|(x, y)| !x.is_finite() || !y.is_finite()).filter(|run| !run.is_empty()) {
            if let [(x, y)] = run {
                let (x, y) = (x_place(*x), y_place(*y));
                let _ =
                    write!(page, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"var(--s{colour})\"/>");
                continue;
            }
            let _ = write!(page, "<polyline class=\"series\" stroke=\"var(--s{colour})\" points=\"");
            for (x, y) in run {
                let _ = write!(page, "{:.1},{:.1} ", x_place(*x), y_place(*y));
            }
            page.push_str("\"/>");
        }
    }
    page.push_str("</svg></div>\n");
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Means of equal runs of points, in order; what is not finite stays so.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(MOST_POINTS).max(1);
    points
        .chunks(run)
        .map(|chunk| {
            let count = chunk.len() as f64;
            (chunk.iter().map(|p| p.0).sum::<f64>() / count, chunk.iter().map(|p| p.1).sum::<f64>() / count)
        })
        .collect()
}

/// About `count` round numbers (1, 2 or 5 times a power of ten apart) that enclose the bounds.
fn ticks((low, high): (f64, f64), count: usize) -> Vec<f64> {
    // A constant still needs an axis with a height, wide enough that its ends differ in floating point.
    let (low, high) = if high - low <= low.abs().max(high.abs()) * 1e-9 {
        let around = (low.abs() * 0.1).max(1e-3);
        (low - around, high + around)
    } else {
        (low, high)
    };
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number in few characters: 12k, 0.35, 3e-4.
fn number(value: f64) -> String {
    let size = value.abs();
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    };
    match size {
        0.0 => "0".to_string(),
        _ if size < 1e-12 => "0".to_string(),
        _ if size < 1e-3 => {
            let text = format!("{value:.1e}");
            text.replace(".0e", "e")
        }
        _ if size < 1.0 => trimmed(format!("{value:.4}")),
        _ if size < 1e4 => trimmed(format!("{value:.2}")),
        _ if size < 1e6 => trimmed(format!("{:.1}", value / 1e3)) + "k",
        _ => trimmed(format!("{:.1}", value / 1e6)) + "M",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(series: Vec<Vec<(f64, f64)>>) -> String {
        let series =
            series.into_iter().enumerate().map(|(i, points)| (format!("series {i}"), points)).collect();
        let mut page = String::new();
        curve(&mut page, &Curve { title: "loss".into(), x_label: "step".into(), series });
        page
    }

    #[test]
    fn points_land_on_the_axes_they_belong_to() {
        let page = drawn(vec![vec![(0.0, 0.0), (50.0, 2.0), (100.0, 4.0)]]);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let middle = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let expected =
            format!("points=\"{LEFT:.1},{bottom:.1} {:.1},{:.1} {right:.1},{TOP:.1} \"", middle.0, middle.1);
        assert!(page.contains(&expected), "{expected} is not in {page}");
        assert!(page.contains(">100</text>") && page.contains(">4</text>") && page.contains("<b>4</b>"));
    }

    #[test]
    fn what_is_not_finite_interrupts_its_line() {
        let line =
            |y: f64| vec![(0.0, 1.0), (1.0, 2.0), (2.0, y), (3.0, 1.0), (4.0, 2.0), (5.0, y), (6.0, 1.0)];
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let page = drawn(vec![line(bad)]);
            assert_eq!((page.matches("<polyline").count(), page.matches("<circle").count()), (2, 1));
            assert!(!page.contains("NaN") && !page.contains("inf"));
        }
        assert!(drawn(vec![vec![(0.0, f64::NAN)], vec![]]).contains("nothing was measured"));
        let constant = drawn(vec![vec![(0.0, 7.5); 3]]);
        assert!(!constant.contains("NaN") && constant.contains("<polyline"));
    }

    #[test]
    fn long_series_are_thinned_and_keep_their_mean() {
        let points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS && thin.len() > MOST_POINTS / 2);
        assert!((thin.iter().map(|p| p.1).sum::<f64>() / thin.len() as f64 - 3.0).abs() < 0.01);
    }

    #[test]
    fn ticks_are_round_and_enclose() {
        for (low, high) in
            [(0.0, 1.0), (0.31, 3.96), (-2.0, 17.0), (1e-5, 3e-4), (5.0, 5.0), (0.0, 0.0), (0.0, 1e7)]
        {
            let ticks = ticks((low, high), 5);
            assert!((2..=9).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks[0] <= low && *ticks.last().unwrap() >= high, "{low} {high}: {ticks:?}");
        }
        let texts: Vec<String> = ticks((0.0, 1.0), 5).into_iter().map(number).collect();
        assert_eq!(texts, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (3e-4, "3e-4"),
            (0.35, "0.35"),
            (12.0, "12"),
            (1500.0, "1500"),
            (25_000.0, "25k"),
            (2.5e6, "2.5M"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
