//! Cases of the convolution's windows.

use super::windows;
use crate::ops::cases::{Case, Input};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [(1, 2, 2, 1), (2, 4, 6, 3), (3, 8, 8, 5), (2, 6, 4, 16)]
        .into_iter()
        .map(|sizes| case(sizes).against(move |x| vec![reference(&x[0], sizes)]))
        .collect();
    cases.push(case((16, 224, 224, 3)));
    cases
}

fn case((pictures, height, width, channels): (usize, usize, usize, usize)) -> Case {
    let inputs = vec![Input::activation(&[pictures * height * width, channels], 1.0)];
    let name = format!("{pictures} of {height} x {width} x {channels}");
    Case::new("windows", name, inputs, move |g, x| Ok(vec![windows(g, x[0], height, width)?]))
}

fn reference(x: &[f64], (pictures, height, width, channels): (usize, usize, usize, usize)) -> Vec<f64> {
    let mut out = Vec::new();
    for picture in 0..pictures {
        for oy in 0..height as isize / 2 {
            for ox in 0..width as isize / 2 {
                for (ky, kx) in (0..9).map(|k| (k / 3, k % 3)) {
                    let (y, x_) = (2 * oy + ky - 1, 2 * ox + kx - 1);
                    for c in 0..channels {
                        let inside = y >= 0 && y < height as isize && x_ >= 0 && x_ < width as isize;
                        let at = ((picture as isize * height as isize + y) * width as isize + x_)
                            * channels as isize;
                        out.push(if inside { x[at as usize + c] } else { 0.0 });
                    }
                }
            }
        }
    }
    out
}
