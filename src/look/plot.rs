//! Lines over two logarithmic axes, as a [`Drawing`].

use super::drawing::{Anchor, Drawing, Ink, Shape};
use super::text::text_width;

/// Curves whose axes are both logarithms.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    /// Multiples of two on the x axis, as lengths are; else powers of ten.
    pub doublings: bool,
    pub series: Vec<Series>,
}

/// One curve: points above 0, x rising.
#[derive(Debug, Clone)]
pub struct Series {
    /// Empty: not in the legend.
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub ink: Ink,
    pub mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line with a dot at each point.
    Line,
    /// A dashed line alone.
    Dashed,
    /// Dots alone.
    Dots,
    /// A thin line alone: a limit.
    Thin,
}

const WIDTH: f64 = 400.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 12.0;
/// Where titles and names begin.
const EDGE: f64 = 4.0;
const BOTTOM: f64 = 36.0;
/// Height of the axes' field.
const FIELD: f64 = 210.0;
const TEXT: f64 = 12.0;
const ROW: f64 = 16.0;

/// Draws it; `y` writes a value of the y axis.
pub fn drawn(plot: &Plot, y: impl Fn(f64) -> String) -> Drawing {
    let mut drawing = Drawing { width: WIDTH, title: plot.title.clone(), ..Drawing::default() };
    drawing.text((EDGE, 16.0), 14.0, Anchor::Start, Ink::Text, plot.title.clone());
    let top = legend(&mut drawing, plot, 32.0) + 10.0;
    drawing.height = top + FIELD + BOTTOM;
    let points = || plot.series.iter().flat_map(|s| &s.points).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let Some(&(first_x, first_y)) = points().next() else {
        drawing.text((WIDTH / 2.0, top + 40.0), TEXT, Anchor::Middle, Ink::Faint, "nothing was measured");
        return drawing;
    };
    let bounds = |of: &dyn Fn(&(f64, f64)) -> f64, first: f64| {
        points().map(of).fold((first.log10(), first.log10()), |(low, high), value| {
            (low.min(value.log10()), high.max(value.log10()))
        })
    };
    let (x_low, x_high) = padded(bounds(&|p| p.0, first_x));
    let (y_low, y_high) = padded(bounds(&|p| p.1, first_y));
    let x_place = |x: f64| LEFT + (x.log10() - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let y_place = |y: f64| top + (y_high - y.log10()) / (y_high - y_low) * FIELD;
    for tick in decades(y_low, y_high) {
        let at = y_place(tick);
        drawing.line((LEFT, at), (WIDTH - RIGHT, at), Ink::Grid);
        drawing.text((LEFT - 5.0, at + 4.0), TEXT, Anchor::End, Ink::Faint, y(tick));
    }
    let ticks = if plot.doublings { doublings(x_low, x_high) } else { decades(x_low, x_high) };
    for tick in ticks {
        let at = x_place(tick);
        drawing.line((at, top), (at, top + FIELD), Ink::Grid);
        let text = if plot.doublings { thousands(tick) } else { short(tick) };
        drawing.text((at, top + FIELD + 14.0), TEXT, Anchor::Middle, Ink::Faint, text);
    }
    let below = top + FIELD + 29.0;
    drawing.text((WIDTH - RIGHT, below), TEXT, Anchor::End, Ink::Faint, plot.x_label.clone());
    drawing.text((EDGE, below), TEXT, Anchor::Start, Ink::Faint, format!("up: {}", plot.y_label));
    for series in &plot.series {
        let places: Vec<(f64, f64)> = series
            .points
            .iter()
            .filter(|(x, y)| *x > 0.0 && *y > 0.0)
            .map(|&(x, y)| (x_place(x), y_place(y)))
            .collect();
        if series.mark != Mark::Dots && places.len() > 1 {
            let width = if series.mark == Mark::Line { 2.0 } else { 1.2 };
            let dashed = series.mark == Mark::Dashed;
            drawing.shapes.push(Shape::Path { points: places.clone(), ink: series.ink, width, dashed });
        }
        if matches!(series.mark, Mark::Line | Mark::Dots) || places.len() == 1 {
            let dot = |at| Shape::Dot { at, radius: 3.0, ink: series.ink };
            drawing.shapes.extend(places.into_iter().map(dot));
        }
    }
    drawing
}

/// Names beside strokes of their colour, in rows; returns the y below them.
fn legend(drawing: &mut Drawing, plot: &Plot, top: f64) -> f64 {
    let (mut x, mut y) = (EDGE, top);
    for series in plot.series.iter().filter(|series| !series.name.is_empty()) {
        // The page's font may be wider than the one that is measured with.
        let wide = 22.0 + 1.15 * f64::from(text_width(TEXT as f32 * 1.12, &series.name));
        if x + wide > WIDTH - RIGHT && x > LEFT {
            (x, y) = (EDGE, y + ROW);
        }
        let middle = y - 4.0;
        if series.mark == Mark::Dots {
            drawing.shapes.push(Shape::Dot { at: (x + 7.0, middle), radius: 3.0, ink: series.ink });
        } else {
            drawing.shapes.push(Shape::Path {
                points: vec![(x, middle), (x + 14.0, middle)],
                ink: series.ink,
                width: if series.mark == Mark::Line { 2.5 } else { 1.2 },
                dashed: series.mark == Mark::Dashed,
            });
        }
        drawing.text((x + 18.0, y), TEXT, Anchor::Start, Ink::Text, series.name.clone());
        x += wide + 8.0;
    }
    y
}

/// A little room on either side, and a width where all values are one.
fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let room = ((high - low) * 0.05).max(0.05);
    (low - room, high + room)
}

/// Powers of ten between the logarithms; where there is one or none, also 2 and 5 times them.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let inside = |factors: &[f64]| -> Vec<f64> {
        (low.floor() as i32..=high.ceil() as i32)
            .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
            .filter(|tick| (low..=high).contains(&tick.log10()))
            .collect()
    };
    let tens = inside(&[1.0]);
    match tens.len() {
        0 | 1 => inside(&[1.0, 2.0, 5.0]),
        // Many would run into each other.
        n => tens.into_iter().step_by(n.div_ceil(8)).collect(),
    }
}

/// Powers of two between the logarithms, so many that their names fit.
fn doublings(low: f64, high: f64) -> Vec<f64> {
    let power = |log: f64| log / 2f64.log10();
    let all: Vec<f64> =
        (power(low).ceil() as i32..=power(high).floor() as i32).map(|n| 2f64.powi(n)).collect();
    let step = all.len().div_ceil(9).max(1);
    all.into_iter().step_by(step).collect()
}

/// `16k` for 16384, as `--lengths` takes it.
pub fn thousands(length: f64) -> String {
    match length {
        n if n >= 1048576.0 && n % 1048576.0 == 0.0 => format!("{}m", n / 1048576.0),
        n if n >= 1024.0 && n % 1024.0 == 0.0 => format!("{}k", n / 1024.0),
        n => format!("{n}"),
    }
}

/// A value in few characters: `0.1`, `20`, `3e9`.
pub fn short(value: f64) -> String {
    if (1e-3..1e5).contains(&value) {
        format!("{}", (value * 1e6).round() / 1e6)
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_powers_and_never_too_many() {
        assert_eq!(decades(-3.2, 0.1), [1e-3, 1e-2, 1e-1, 1.0]);
        assert_eq!(decades(0.1, 0.9), [2.0, 5.0]);
        assert!(decades(-12.0, 12.0).len() <= 8);
        assert_eq!(doublings(1000f64.log10(), 5000f64.log10()), [1024.0, 2048.0, 4096.0]);
        assert!(doublings(0.0, 9.0).len() <= 9);
        assert_eq!(
            (thousands(16384.0), thousands(1500.0), short(0.1)),
            ("16k".into(), "1500".into(), "0.1".into())
        );
    }

    #[test]
    fn every_point_lies_within_the_field_and_larger_ones_higher() {
        let points = vec![(64.0, 1e-5), (128.0, 4e-5), (256.0, 16e-5)];
        let series = Series { name: "full".into(), points, ink: Ink::Series(0), mark: Mark::Line };
        let plot = Plot { title: "t".into(), doublings: true, series: vec![series], ..Plot::default() };
        let drawing = drawn(&plot, short);
        let dots: Vec<(f64, f64)> = drawing
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Dot { at, .. } => Some(*at),
                _ => None,
            })
            .collect();
        assert_eq!(dots.len(), 3);
        assert!(
            dots.iter()
                .all(|&(x, y)| x > LEFT && x < WIDTH - RIGHT && y > 32.0 && y < drawing.height - BOTTOM)
        );
        // A power law is a straight line.
        let slope = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) / (b.0 - a.0);
        assert!(slope(dots[0], dots[1]) < 0.0);
        assert!((slope(dots[0], dots[1]) - slope(dots[1], dots[2])).abs() < 1e-6);
    }

    #[test]
    fn nothing_measured_is_said() {
        let drawing = drawn(&Plot::default(), short);
        assert!(drawing.inline().contains("nothing was measured"));
    }
}
