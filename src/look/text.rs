//! Text on a canvas, in a font that the program carries with it (Ubuntu Light, Ubuntu Font Licence 1.0).

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};

use super::canvas::{Canvas, Rgb};

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    // The bytes are a constant of a dependency: this cannot fail on anything a user does.
    FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).expect("the built-in font is a valid font")
});

/// The advance of a line of text at this size (pixels from the highest ascent to the lowest descent).
pub fn text_width(size: f32, text: &str) -> f32 {
    let font = FONT.as_scaled(PxScale::from(size));
    let mut width = 0.0;
    let mut last = None;
    for glyph in text.chars().map(|c| font.glyph_id(c)) {
        width += last.map_or(0.0, |last| font.kern(last, glyph)) + font.h_advance(glyph);
        last = Some(glyph);
    }
    width
}

/// Breaks the text at spaces into lines no wider than `width`; a single word may still be wider.
pub fn wrap(size: f32, text: &str, width: f32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(size, &format!("{line} {word}")) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// The text, or as much of it as fits with an ellipsis.
pub fn fit(size: f32, text: &str, width: f32) -> String {
    if text_width(size, text) <= width {
        return text.to_string();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let short: String = kept.iter().chain(['…'].iter()).collect();
        if text_width(size, &short) <= width {
            return short;
        }
    }
    String::new()
}

impl Canvas {
    /// Writes one line whose box starts at (x, y), its upper left corner.
    pub fn text(&mut self, x: f32, y: f32, size: f32, colour: Rgb, text: &str) {
        let font = FONT.as_scaled(PxScale::from(size));
        let (mut pen, mut last) = (x, None);
        for id in text.chars().map(|c| font.glyph_id(c)) {
            pen += last.map_or(0.0, |last| font.kern(last, id));
            let glyph = id.with_scale_and_position(size, ab_glyph::point(pen, y + font.ascent()));
            if let Some(outline) = FONT.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                outline.draw(|dx, dy, coverage| {
                    let (column, row) = (bounds.min.x + dx as f32, bounds.min.y + dy as f32);
                    if column >= 0.0 && row >= 0.0 {
                        // A light face at small sizes: a little more coverage keeps it readable.
                        self.blend(column as usize, row as usize, colour, coverage.powf(0.7).min(1.0));
                    }
                });
            }
            pen += font.h_advance(id);
            last = Some(id);
        }
    }

    /// As [`Canvas::text`], centred on x.
    pub fn text_centred(&mut self, x: f32, y: f32, size: f32, colour: Rgb, text: &str) {
        self.text(x - text_width(size, text) / 2.0, y, size, colour, text);
    }

    /// As [`Canvas::text`], ending at x.
    pub fn text_right(&mut self, x: f32, y: f32, size: f32, colour: Rgb, text: &str) {
        self.text(x - text_width(size, text), y, size, colour, text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::{INK, WHITE};
    use super::*;

    fn ink(canvas: &Canvas, columns: std::ops::Range<usize>) -> usize {
        columns
            .flat_map(|x| (0..canvas.height).map(move |y| (x, y)))
            .filter(|&(x, y)| canvas.get(x, y)[0] < 128)
            .count()
    }

    #[test]
    fn text_leaves_ink_where_it_stands_and_nowhere_else() {
        let mut canvas = Canvas::new(200, 40, WHITE);
        canvas.text(50.0, 10.0, 20.0, INK, "square");
        let end = (50.0 + text_width(20.0, "square")).ceil() as usize;
        assert!(ink(&canvas, 50..end) > 80);
        assert_eq!(ink(&canvas, 0..48) + ink(&canvas, end + 2..200), 0);
        assert!((0..200).all(|x| (0..10).chain(31..40).all(|y| canvas.get(x, y) == WHITE)));
    }

    #[test]
    fn text_beyond_the_edge_is_cut_off() {
        let mut canvas = Canvas::new(20, 10, WHITE);
        canvas.text(-30.0, -8.0, 20.0, INK, "a long line that does not fit");
        canvas.text(15.0, 5.0, 40.0, INK, "Ünï→");
    }

    #[test]
    fn lines_wrap_and_shorten_to_the_width() {
        let lines = wrap(16.0, "a red circle above a blue square and a star", 110.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| text_width(16.0, line) <= 110.0), "{lines:?}");
        assert_eq!(lines.join(" "), "a red circle above a blue square and a star");
        let short = fit(16.0, "extraordinarily", 50.0);
        assert!(short.ends_with('…') && text_width(16.0, &short) <= 50.0);
        assert_eq!(fit(16.0, "red", 50.0), "red");
    }
}
