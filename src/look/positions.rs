//! Positional encodings as pictures: the matrix of positions and channels, and how alike positions are.

use super::canvas::{Canvas, FAINT, INK, WHITE, diverging};
use super::text::wrap;
use crate::{Error, Result};

const EDGE: usize = 24;
const TITLE: f32 = 22.0;
const LINE: f32 = 16.0;
/// Longest side of a heat map, in pixels.
const MAP: usize = 448;
/// Room for the numbers left of a heat map.
const NUMBERS: usize = 44;
/// Title, note (two lines) and the axis' name above a heat map.
const HEAD: usize = 100;

/// Where the positions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    Line(usize),
    Grid { rows: usize, columns: usize },
}

impl Places {
    pub fn count(self) -> usize {
        match self {
            Places::Line(count) => count,
            Places::Grid { rows, columns } => rows * columns,
        }
    }
}

/// Draws `encoding[positions, width]` as a heat map from blue (-1) over white to red (1), and beside it the similarity
/// of positions (their dot product, as a share of a position's with itself): on a line all with all, on a grid nine
/// positions, each with the whole grid.
pub fn positions_picture(encoding: &[f32], width: usize, places: Places) -> Result<Canvas> {
    let count = places.count();
    if count == 0 || width == 0 || encoding.len() != count * width {
        return Err(Error::failed(format!(
            "a picture of {count} positions of width {width} needs {} values and at least one position, {} came",
            count * width,
            encoding.len()
        )));
    }
    let row = |position: usize| &encoding[position * width..(position + 1) * width];
    let dot = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(x, y)| x * y).sum::<f32>();
    let lengths: Vec<f32> = (0..count).map(|position| dot(position, position).sqrt()).collect();
    let alike = |a: usize, b: usize| dot(a, b) / (lengths[a] * lengths[b]).max(f32::MIN_POSITIVE);
    // Similarities are mostly high: their colours run from the lowest to 1. More positions than the map has pixels
    // need not all be asked.
    let step = count.div_ceil(MAP);
    let compared = compared(places, step);
    let all = compared.iter().flat_map(|&a| (0..count).step_by(step).map(move |b| (a, b)));
    let lowest = all.map(|(a, b)| alike(a, b)).fold(f32::INFINITY, f32::min);
    let span = (1.0 - lowest).max(f32::EPSILON);
    let alike = |a: usize, b: usize| 2.0 * (alike(a, b) - lowest) / span - 1.0;
    let right = EDGE * 2 + NUMBERS * 2 + MAP;
    let mut canvas = Canvas::new(right + MAP + EDGE, EDGE * 2 + HEAD + MAP + 56, WHITE);
    let top = EDGE + HEAD;

    let left = EDGE + NUMBERS;
    head(
        &mut canvas,
        left,
        "Encoding",
        "Each row is a position, each column a channel. Channels further right turn more slowly.",
    );
    if matches!(places, Places::Grid { .. }) {
        let note = "Each row is a position, row by row of the grid. The left half of the channels tells the row, \
                    the right half the column.";
        canvas.fill(left, EDGE + 30, MAP, 40, WHITE);
        notes(&mut canvas, left, note);
    }
    heat_map(&mut canvas, (left, top), count, width, |position, channel| row(position)[channel]);
    axes(&mut canvas, (left, top), ("position", count), ("channel", width));

    match places {
        Places::Line(count) => {
            head(
                &mut canvas,
                right,
                "Similarity",
                "The dot product of two positions: it falls with their distance, and depends on little else.",
            );
            heat_map(&mut canvas, (right, top), count, count, alike);
            axes(&mut canvas, (right, top), ("position", count), ("position", count));
        }
        Places::Grid { rows, columns } => {
            head(
                &mut canvas,
                right,
                "Similarity over the grid",
                "Nine positions (black frames), each compared with all the others: near ones, and those in the same row or column, are alike.",
            );
            nine(&mut canvas, (right, top), rows, columns, alike);
        }
    }
    ladder(&mut canvas, left, top + MAP + 40, ["-1", "1"]);
    ladder(&mut canvas, right, top + MAP + 40, [&format!("{lowest:.2}"), "1"]);
    Ok(canvas)
}

/// The positions whose similarities are drawn.
fn compared(places: Places, step: usize) -> Vec<usize> {
    match places {
        Places::Line(count) => (0..count).step_by(step).collect(),
        Places::Grid { rows, columns } => (0..9)
            .map(|part| {
                let (row, column) = ninth(part, rows, columns);
                row * columns + column
            })
            .collect(),
    }
}

/// Row and column of the first, middle and last places of a grid, `part` counted from 0 to 8.
fn ninth(part: usize, rows: usize, columns: usize) -> (usize, usize) {
    let spread = |part: usize, count: usize| part * (count - 1) / 2;
    (spread(part / 3, rows), spread(part % 3, columns))
}

fn head(canvas: &mut Canvas, x: usize, title: &str, note: &str) {
    canvas.text(x as f32, EDGE as f32, TITLE, INK, title);
    notes(canvas, x, note);
}

fn notes(canvas: &mut Canvas, x: usize, note: &str) {
    for (i, line) in wrap(LINE, note, MAP as f32).into_iter().take(2).enumerate() {
        canvas.text(x as f32, EDGE as f32 + 30.0 + i as f32 * (LINE + 3.0), LINE, FAINT, &line);
    }
}

fn heat_map(
    canvas: &mut Canvas,
    at: (usize, usize),
    rows: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> f32,
) {
    canvas.paint(at, (MAP, MAP), |x, y| diverging(value(y * rows / MAP, x * columns / MAP)));
    canvas.frame(at.0, at.1, MAP, MAP, FAINT);
}

/// Numbers along the left and the lower side: first, middle, last.
fn axes(canvas: &mut Canvas, (x, y): (usize, usize), down: (&str, usize), across: (&str, usize)) {
    let marks = |count: usize| {
        let mut marks = vec![0, count / 4, count / 2, count * 3 / 4, count - 1];
        marks.dedup();
        marks
    };
    let middle = |index: usize, count: usize| (index as f32 + 0.5) / count as f32 * MAP as f32;
    for index in marks(down.1) {
        let at = y as f32 + middle(index, down.1) - LINE / 2.0;
        canvas.text_right(x as f32 - 7.0, at, LINE, FAINT, &index.to_string());
    }
    for index in marks(across.1) {
        let at = x as f32 + middle(index, across.1);
        canvas.text_centred(at, (y + MAP + 4) as f32, LINE, FAINT, &index.to_string());
    }
    canvas.text_right(x as f32 - 7.0, y as f32 - LINE - 6.0, LINE, INK, down.0);
    canvas.text_right((x + MAP) as f32, (y + MAP + 20) as f32, LINE, INK, across.0);
}

/// Three by three small maps, each of the similarity of one grid position with all others.
fn nine(
    canvas: &mut Canvas,
    at: (usize, usize),
    rows: usize,
    columns: usize,
    alike: impl Fn(usize, usize) -> f32,
) {
    const GAP: usize = 14;
    let room = (MAP - 2 * GAP) / 3;
    let cell = (room / rows.max(columns)).max(1);
    for part in 0..9 {
        let (row, column) = ninth(part, rows, columns);
        let (x, y) = (at.0 + part % 3 * (room + GAP), at.1 + part / 3 * (room + GAP));
        let (width, height) = ((cell * columns).min(room), (cell * rows).min(room));
        canvas.paint((x, y), (width, height), |dx, dy| {
            let other = (dy * rows / height) * columns + dx * columns / width;
            diverging(alike(row * columns + column, other))
        });
        canvas.frame(x, y, width, height, FAINT);
        canvas.frame(x + column * width / columns, y + row * height / rows, cell - 1, cell - 1, INK);
    }
}

/// What the colours mean.
fn ladder(canvas: &mut Canvas, x: usize, y: usize, ends: [&str; 2]) {
    const LENGTH: usize = 160;
    canvas.text_right(x as f32 + 28.0, y as f32, LINE, INK, ends[0]);
    canvas
        .paint((x + 36, y + 3), (LENGTH, 12), |dx, _| diverging(2.0 * dx as f32 / (LENGTH - 1) as f32 - 1.0));
    canvas.frame(x + 36, y + 3, LENGTH, 12, FAINT);
    canvas.text((x + LENGTH + 44) as f32, y as f32, LINE, INK, ends[1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::positions::{sinusoid_1d, sinusoid_2d};

    #[test]
    fn the_matrix_and_the_similarities_stand_where_they_should() {
        let (count, width) = (64, 32);
        let encoding = sinusoid_1d(count, width).unwrap();
        let canvas = positions_picture(&encoding, width, Places::Line(count)).unwrap();
        let (left, top, cell_h, cell_w) = (EDGE + NUMBERS, EDGE + HEAD, MAP / count, MAP / width);
        for (position, channel) in [(0, 0), (0, 1), (5, 0), (33, 7), (63, 31)] {
            let pixel = canvas.get(left + channel * cell_w + 3, top + position * cell_h + 3);
            assert_eq!(pixel, diverging(encoding[position * width + channel]), "{position} {channel}");
        }
        let right = EDGE * 2 + NUMBERS * 2 + MAP;
        // A position is most like itself, and similarity is symmetric.
        assert_eq!(canvas.get(right + 20 * cell_h + 3, top + 20 * cell_h + 3), diverging(1.0));
        let far = canvas.get(right + 50 * cell_h + 3, top + 10 * cell_h + 3);
        assert_eq!(far, canvas.get(right + 10 * cell_h + 3, top + 50 * cell_h + 3));
        assert_ne!(far, diverging(1.0));
    }

    #[test]
    fn any_size_can_be_drawn_and_a_wrong_one_is_an_error() {
        for (rows, columns) in [(1, 1), (1, 40), (14, 14), (3, 200), (600, 2)] {
            let encoding = sinusoid_2d(rows, columns, 8).unwrap();
            positions_picture(&encoding, 8, Places::Grid { rows, columns }).unwrap();
        }
        assert!(
            positions_picture(&[0.0; 9], 4, Places::Line(2)).unwrap_err().to_string().contains("8 values")
        );
        assert!(positions_picture(&[], 4, Places::Line(0)).is_err());
    }
}
