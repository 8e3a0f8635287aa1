//! A small gallery in the terminal: pictures as coloured half blocks, with lines of text beside them.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Columns that a picture takes; half blocks make two rows of pixels from one of text.
const COLUMNS: usize = 20;

/// One picture `[height, width, 3]` with what is to be read beside it.
#[derive(Debug, Clone)]
pub struct Item {
    pub pixels: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub lines: Vec<String>,
    /// Named where pictures cannot be shown.
    pub path: Option<PathBuf>,
}

/// Can this stream show colours? Not if it is a file or a pipe, nor if NO_COLOR is set (no-color.org) or the terminal
/// calls itself dumb.
pub fn shows_colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The gallery as text: with pictures where colours can be shown, else paths and lines alone.
pub fn gallery(items: &[Item], colours: bool) -> String {
    let mut text = String::new();
    for item in items {
        let drawn = colours && item.width > 0 && item.height > 0;
        if drawn && item.pixels.len() == item.width * item.height * 3 {
            beside(&mut text, &blocks(item), &item.lines);
        } else {
            if let Some(path) = &item.path {
                let _ = writeln!(text, "{}", path.display());
            }
            for line in &item.lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        text.push('\n');
    }
    text
}

/// The lines stand beside the middle of the picture.
fn beside(text: &mut String, picture: &[String], lines: &[String]) {
    let first = picture.len().saturating_sub(lines.len()) / 2;
    for row in 0..picture.len().max(first + lines.len()) {
        match picture.get(row) {
            Some(picture) => text.push_str(picture),
            None => text.push_str(&" ".repeat(COLUMNS)),
        }
        match row.checked_sub(first).and_then(|row| lines.get(row)) {
            Some(line) => text.push_str(&format!("  {line}\n")),
            None => text.push('\n'),
        }
    }
}

/// Rows of `COLUMNS` half blocks: the upper pixel is the foreground, the lower one the background.
fn blocks(item: &Item) -> Vec<String> {
    // An extreme shape must not scroll the screen away.
    let pixel_rows = (COLUMNS * item.height).div_ceil(item.width).clamp(2, 2 * COLUMNS).next_multiple_of(2);
    let mean = |column: usize, row: usize| -> [usize; 3] {
        let span = |index: usize, parts: usize, length: usize| {
            let low = index * length / parts;
            low..((index + 1) * length / parts).max(low + 1)
        };
        let (across, down) = (span(column, COLUMNS, item.width), span(row, pixel_rows, item.height));
        let count = across.len() * down.len();
        let mut sum = [0; 3];
        for (x, y) in down.flat_map(|y| across.clone().map(move |x| (x, y))) {
            let start = (y * item.width + x) * 3;
            (0..3).for_each(|channel| sum[channel] += usize::from(item.pixels[start + channel]));
        }
        sum.map(|sum| sum / count)
    };
    (0..pixel_rows / 2)
        .map(|row| {
            let mut line = String::new();
            for column in 0..COLUMNS {
                let ([r, g, b], [lower_r, lower_g, lower_b]) =
                    (mean(column, 2 * row), mean(column, 2 * row + 1));
                let _ = write!(line, "\x1b[38;2;{r};{g};{b};48;2;{lower_r};{lower_g};{lower_b}m▀");
            }
            line + "\x1b[0m"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(height: usize, width: usize) -> Item {
        // Red in its upper half, blue in its lower one.
        let pixels =
            (0..height * width).flat_map(|i| if i < height * width / 2 { [255, 0, 0] } else { [0, 0, 255] });
        let lines = vec!["a red sky above a blue sea".to_string()];
        Item { pixels: pixels.collect(), height, width, lines, path: Some("pictures/1.png".into()) }
    }

    #[test]
    fn a_picture_becomes_half_blocks_with_its_caption_beside() {
        let text = gallery(&[item(64, 64)], true);
        let rows: Vec<&str> = text.lines().filter(|line| line.contains('▀')).collect();
        assert_eq!(rows.len(), 10);
        assert!(rows.iter().all(|row| row.matches('▀').count() == 20 && row.contains("\x1b[0m")));
        assert!(rows[0].starts_with("\x1b[38;2;255;0;0;48;2;255;0;0m▀"));
        assert!(rows[9].starts_with("\x1b[38;2;0;0;255;48;2;0;0;255m▀"));
        assert_eq!(rows.iter().filter(|row| row.ends_with("  a red sky above a blue sea")).count(), 1);
    }

    #[test]
    fn without_colours_it_is_plain_text_with_the_path() {
        let text = gallery(&[item(64, 64)], false);
        assert_eq!(text, "pictures/1.png\n  a red sky above a blue sea\n\n");
        // A file is no terminal.
        assert!(!shows_colours(&std::fs::File::open("Cargo.toml").unwrap()));
    }

    #[test]
    fn odd_shapes_and_long_captions_stay_in_bounds() {
        for (height, width) in [(1, 1), (1, 500), (500, 1), (7, 13)] {
            let mut item = item(height, width);
            item.lines = vec!["x".to_string(); 30];
            let text = gallery(&[item], true);
            assert_eq!(text.matches("  x\n").count(), 30, "{height}x{width}");
            assert!(text.lines().filter(|line| line.contains('▀')).count() <= COLUMNS);
        }
    }
}
