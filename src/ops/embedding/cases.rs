//! Cases of the word embedding.

use super::{embedding, embedding_at};
use crate::ops::cases::{Case, Gradient, Input, random};
use crate::ops::{Dropout, dropout};

const SCALE: f32 = 1.75;

/// Sequences, tokens in each, words, width.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    length: usize,
    /// Rows of the positions.
    period: usize,
    words: usize,
    width: usize,
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, length, words, width) in
        [(1, 1usize, 1, 1), (2, 3, 7, 5), (5, 20, 11, 33), (30, 7, 3, 264), (1, 9, 3, 8), (3, 50, 9, 40)]
    {
        // More positions than tokens, as many, and fewer: they begin anew.
        let period = [length + 2, length, length.div_ceil(3)][cases.len() / 2 % 3];
        let sizes = Sizes { batch, length, period, words, width };
        for rate in [0.0, 0.25] {
            cases.push(case(sizes, rate).against(move |x| vec![reference(x, sizes, rate)]));
        }
    }
    // So many rows of few words that a GPU counts them.
    for (batch, length, words) in [(1, 8500, 257), (5, 1700, 3)] {
        let sizes = Sizes { batch, length, period: length, words, width: 8 };
        cases.push(case(sizes, 0.0).against(move |x| vec![reference(x, sizes, 0.0)]));
    }
    cases.push(case(Sizes { batch: 64, length: 20, period: 20, words: 10_000, width: 512 }, 0.0));
    cases.push(at_a_position(3));
    cases.push(at_a_position(16));
    cases
}

fn case(sizes: Sizes, rate: f32) -> Case {
    let Sizes { batch, length, period, words, width } = sizes;
    let inputs = vec![
        Input::tokens(&[batch, length], random::tokens(9, batch * length, words as u32)),
        Input::weight(&[words, width], 1.0),
        Input::weight(&[period, width], 0.5),
    ];
    let name = format!("{batch} x {length} (period {period}) of {words} x {width}, dropout {rate}");
    Case::new("embedding", name, inputs, move |g, x| {
        Ok(vec![embedding(g, x[0], length, x[1], x[2], SCALE, Dropout::new(rate, 6))?])
    })
}

fn reference(x: &[Vec<f64>], sizes: Sizes, rate: f32) -> Vec<f64> {
    let Sizes { batch, length, period, width, .. } = sizes;
    let kept = dropout::reference(Dropout::new(rate, 6), batch * length * width);
    (0..batch * length * width)
        .map(|i| {
            let (row, channel) = (i / width, i % width);
            let word = x[1][x[0][row] as usize * width + channel] * f64::from(SCALE);
            (word + x[2][row % length % period * width + channel]) * kept[i]
        })
        .collect()
}

fn at_a_position(position: u32) -> Case {
    let (rows, words, width, period) = (5, 9, 17, 6);
    let inputs = vec![
        Input::tokens(&[rows], random::tokens(9, rows, words as u32)),
        Input::weight(&[words, width], 1.0),
        Input::weight(&[period, width], 0.5),
        Input::tokens(&[1], vec![position]),
    ];
    Case::new("embedding", format!("one word at position {position}, period {period}"), inputs, |g, x| {
        Ok(vec![embedding_at(g, x[0], x[3], x[1], x[2], SCALE)?])
    })
    .gradient(Gradient::None)
    .against(move |x| {
        let at = |i: usize| {
            let (row, channel) = (i / width, i % width);
            x[1][x[0][row] as usize * width + channel] * f64::from(SCALE)
                + x[2][position as usize % period * width + channel]
        };
        vec![(0..rows * width).map(at).collect()]
    })
}
