//! A drawing of a few shapes that becomes SVG for a page, an SVG file, or a PNG, all alike.

use std::fmt::Write;

use super::canvas::{Canvas, Rgb};
use super::html::escape;
use crate::Result;

/// Lengths are in units of the view box; y grows downwards.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    pub width: f64,
    pub height: f64,
    /// For those who cannot see it.
    pub title: String,
    pub shapes: Vec<Shape>,
}

/// What a shape is drawn with: a name, so that a page can be light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Text,
    Faint,
    Grid,
    /// One of [`SERIES`] colours, in turn.
    Series(usize),
    Full,
    Partial,
    Empty,
}

#[derive(Debug, Clone)]
pub enum Shape {
    Path { points: Vec<(f64, f64)>, ink: Ink, width: f64, dashed: bool },
    Dot { at: (f64, f64), radius: f64, ink: Ink },
    Box { at: (f64, f64), size: (f64, f64), ink: Ink },
    Text { at: (f64, f64), size: f64, anchor: Anchor, ink: Ink, text: String },
}

/// Which end of a text stands at its place; its y is the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Colours of series.
pub const SERIES: usize = 8;

/// Of each ink: its name in `html.css`, light, and dark.
const SERIES_COLOURS: [(&str, Rgb, Rgb); SERIES] = [
    ("s0", [37, 99, 235], [122, 167, 255]),
    ("s1", [217, 72, 15], [255, 157, 102]),
    ("s2", [18, 128, 92], [95, 211, 168]),
    ("s3", [147, 51, 234], [199, 155, 255]),
    ("s4", [181, 137, 0], [230, 194, 92]),
    ("s5", [14, 116, 144], [98, 203, 224]),
    ("s6", [190, 24, 93], [244, 143, 177]),
    ("s7", [84, 96, 28], [190, 205, 110]),
];
const GROUND: (&str, Rgb, Rgb) = ("card", [255, 255, 255], [27, 32, 42]);

impl Ink {
    fn colours(self) -> (&'static str, Rgb, Rgb) {
        match self {
            Ink::Text => ("ink", [27, 33, 48], [232, 235, 241]),
            Ink::Faint => ("faint", [102, 112, 133], [152, 162, 179]),
            Ink::Grid => ("line", [227, 231, 238], [45, 52, 66]),
            Ink::Series(n) => SERIES_COLOURS[n % SERIES],
            Ink::Full => ("full", [37, 99, 235], [122, 167, 255]),
            Ink::Partial => ("partial", [160, 190, 250], [58, 84, 140]),
            Ink::Empty => ("empty", [238, 241, 246], [36, 42, 54]),
        }
    }

    const ALL: [Ink; 6] = [Ink::Text, Ink::Faint, Ink::Grid, Ink::Full, Ink::Partial, Ink::Empty];
}

impl Drawing {
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink) {
        self.shapes.push(Shape::Path { points: vec![from, to], ink, width: 1.0, dashed: false });
    }

    pub fn text(&mut self, at: (f64, f64), size: f64, anchor: Anchor, ink: Ink, text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, size, anchor, ink, text: text.into() });
    }

    /// An element for a page whose style is `html.css`, as wide as its place.
    pub fn inline(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
            self.width,
            self.height,
            escape(&self.title)
        );
        self.elements(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// A file that stands alone, light or dark as its reader's screen.
    pub fn file(&self) -> String {
        let (mut light, mut dark) = (String::new(), String::new());
        let inks = Ink::ALL.into_iter().map(Ink::colours).chain(SERIES_COLOURS).chain([GROUND]);
        for (name, day, night) in inks {
            let _ = write!(light, "--{name}:{};", hex(day));
            let _ = write!(dark, "--{name}:{};", hex(night));
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" \
             aria-label=\"{2}\">\n<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\
             text{{font-family:system-ui,sans-serif}}</style>\n\
             <rect width=\"{0}\" height=\"{1}\" fill=\"var(--card)\"/>\n",
            self.width,
            self.height,
            escape(&self.title)
        );
        self.elements(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn elements(&self, svg: &mut String) {
        for shape in &self.shapes {
            let _ = match shape {
                Shape::Path { points, ink, width, dashed } => {
                    let dash = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
                    let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    writeln!(
                        svg,
                        "<polyline points=\"{}\" style=\"fill:none;stroke:var(--{})\" stroke-width=\"{width}\" \
                         stroke-linejoin=\"round\"{dash}/>",
                        places.join(" "),
                        ink.colours().0
                    )
                }
                Shape::Dot { at: (x, y), radius, ink } => writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" style=\"fill:var(--{})\"/>",
                    ink.colours().0
                ),
                Shape::Box { at: (x, y), size: (width, height), ink } => writeln!(
                    svg,
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" shape-rendering=\"crispEdges\" style=\"fill:var(--{})\"/>",
                    ink.colours().0
                ),
                Shape::Text { at: (x, y), size, anchor, ink, text } => writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" style=\"fill:var(--{});font-size:{size}px\">{}</text>",
                    match anchor {
                        Anchor::Start => "start",
                        Anchor::Middle => "middle",
                        Anchor::End => "end",
                    },
                    ink.colours().0,
                    escape(text)
                ),
            };
        }
    }

    /// A PNG file's bytes, `scale` pixels a unit, in the light colours.
    ///
    /// # Errors
    /// If the drawing has no area.
    pub fn png(&self, scale: f64) -> Result<Vec<u8>> {
        let pixels = |units: f64| (units * scale).round().max(0.0) as usize;
        let mut canvas = Canvas::new(pixels(self.width), pixels(self.height), GROUND.1);
        for shape in &self.shapes {
            match shape {
                Shape::Path { points, ink, width, dashed } => {
                    let colour = ink.colours().1;
                    for pair in points.windows(2) {
                        for (from, to) in dashes(pair[0], pair[1], *dashed) {
                            stroke(
                                &mut canvas,
                                scaled(from, scale),
                                scaled(to, scale),
                                width * scale,
                                colour,
                            );
                        }
                    }
                }
                Shape::Dot { at, radius, ink } => {
                    let at = scaled(*at, scale);
                    stroke(&mut canvas, at, at, 2.0 * radius * scale, ink.colours().1);
                }
                Shape::Box { at, size, ink } => {
                    let (x, y) = (pixels(at.0), pixels(at.1));
                    let (right, bottom) = (pixels(at.0 + size.0), pixels(at.1 + size.1));
                    canvas.fill(x, y, right - x, bottom - y, ink.colours().1);
                }
                Shape::Text { at, size, anchor, ink, text } => {
                    // The baseline lies at about four fifths of the line's height in this font.
                    let (size, (x, y)) = ((size * scale) as f32 * 1.12, scaled(*at, scale));
                    let width = super::text::text_width(size, text);
                    let x = match anchor {
                        Anchor::Start => x as f32,
                        Anchor::Middle => x as f32 - width / 2.0,
                        Anchor::End => x as f32 - width,
                    };
                    canvas.text(x, y as f32 - 0.8 * size, size, ink.colours().1, text);
                }
            }
        }
        canvas.png()
    }
}

fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn scaled((x, y): (f64, f64), scale: f64) -> (f64, f64) {
    (x * scale, y * scale)
}

type Segment = ((f64, f64), (f64, f64));

/// The strokes of a dashed line: 5 units on, 4 off.
fn dashes(from: (f64, f64), to: (f64, f64), dashed: bool) -> Vec<Segment> {
    if !dashed {
        return vec![(from, to)];
    }
    let length = (to.0 - from.0).hypot(to.1 - from.1).max(1e-9);
    let at = |along: f64| {
        let share = (along / length).min(1.0);
        (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
    };
    (0..(length / 9.0).ceil() as usize).map(|n| (at(9.0 * n as f64), at(9.0 * n as f64 + 5.0))).collect()
}

/// A line with round ends and soft edges: each pixel takes as much colour as it lies within.
fn stroke(canvas: &mut Canvas, from: (f64, f64), to: (f64, f64), width: f64, colour: Rgb) {
    let reach = width / 2.0 + 1.0;
    let bounds =
        |a: f64, b: f64| ((a.min(b) - reach).max(0.0) as usize, (a.max(b) + reach).max(0.0) as usize);
    let ((left, right), (top, bottom)) = (bounds(from.0, to.0), bounds(from.1, to.1));
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let square = dx * dx + dy * dy;
    for y in top..=bottom.min(canvas.height.saturating_sub(1)) {
        for x in left..=right.min(canvas.width.saturating_sub(1)) {
            let (px, py) = (x as f64 + 0.5 - from.0, y as f64 + 0.5 - from.1);
            let along = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
            let away = (px - along * dx).hypot(py - along * dy);
            let cover = (width / 2.0 + 0.5 - away).clamp(0.0, 1.0);
            if cover > 0.0 {
                canvas.blend(x, y, colour, cover as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing() -> Drawing {
        let mut drawing = Drawing { width: 40.0, height: 20.0, title: "a <b>".into(), shapes: Vec::new() };
        drawing.shapes.push(Shape::Box { at: (0.0, 0.0), size: (10.0, 10.0), ink: Ink::Full });
        drawing.line((0.0, 15.0), (40.0, 15.0), Ink::Series(1));
        drawing.text((20.0, 8.0), 6.0, Anchor::Middle, Ink::Text, "x & y");
        drawing
    }

    #[test]
    fn a_picture_has_the_drawings_shapes_in_their_places() {
        let png = drawing().png(2.0).unwrap();
        let read = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!((read.width(), read.height()), (80, 40));
        assert_eq!(read.get_pixel(5, 5).0, Ink::Full.colours().1);
        assert_eq!(read.get_pixel(40, 30).0, SERIES_COLOURS[1].1);
        assert_eq!(read.get_pixel(70, 38).0, GROUND.1);
    }

    #[test]
    fn a_page_has_no_address_and_a_file_its_own_colours() {
        let page = drawing().inline();
        assert!(!page.contains("http") && page.contains("a &lt;b&gt;") && page.contains("x &amp; y"));
        let file = drawing().file();
        assert_eq!(file.matches("http").count(), 1, "the name of the format");
        assert!(file.contains("--s1:#d9480f") && file.contains("prefers-color-scheme:dark"));
    }

    /// What a page looks up by name is in its style.
    #[test]
    fn every_ink_is_in_the_pages_style() {
        let style = include_str!("html.css");
        for (name, light, dark) in
            Ink::ALL.into_iter().map(Ink::colours).chain(SERIES_COLOURS).chain([GROUND])
        {
            for colour in [light, dark] {
                let line = format!("--{name}: {};", hex(colour));
                assert!(style.contains(&line), "{line}");
            }
        }
    }
}
