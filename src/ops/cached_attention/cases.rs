//! Cases of the decoding step.

use super::cached_attention;
use crate::ops::cases::reference::softmax;
use crate::ops::cases::{Case, Gradient, Input, random};

pub fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1, 1, 4, 0),
        (3, 2, 5, 6, 2),
        (6, 3, 16, 20, 15),
        (2, 2, 24, 9, 8),
        (5, 1, 64, 40, 32),
        (3, 2, 128, 5, 4),
    ];
    sizes.map(|(rows, heads, head_dim, most, position)| case(rows, heads, head_dim, most, position)).into()
}

fn case(rows: usize, heads: usize, head_dim: usize, most: usize, position: usize) -> Case {
    let width = heads * head_dim;
    let inputs = vec![
        Input::activation(&[rows, 3 * width], 1.0),
        // Hypotheses that branched: their earlier words lie in other rows.
        Input::tokens(&[rows, most], random::tokens(2, rows * most, rows as u32)),
        Input::tokens(&[1], vec![position as u32]),
        Input::activation(&[rows * most, 2 * width], 1.0),
    ];
    let name = format!("{rows} hypotheses, {heads} heads of {head_dim}, word {position} of {most}");
    Case::new("cached attention", name, inputs, move |g, x| {
        Ok(vec![cached_attention(g, x[0], x[1], x[2], x[3], heads)?])
    })
    .gradient(Gradient::None)
    .against(move |x| {
        let mut out = vec![0.0; rows * width];
        for row in 0..rows {
            let new = &x[0][row * 3 * width..][..3 * width];
            let entry = |t: usize| -> &[f64] {
                if t == position {
                    return &new[width..];
                }
                &x[3][(x[1][row * most + t] as usize * most + t) * 2 * width..][..2 * width]
            };
            for h in 0..heads {
                let channels = h * head_dim..(h + 1) * head_dim;
                let score = |t: usize| -> f64 {
                    channels.clone().map(|c| new[c] * entry(t)[c]).sum::<f64>() / (head_dim as f64).sqrt()
                };
                let weights = softmax(&(0..=position).map(score).collect::<Vec<_>>());
                for c in channels.clone() {
                    out[row * width + c] = (0..=position).map(|t| weights[t] * entry(t)[width + c]).sum();
                }
            }
        }
        vec![out]
    })
}
