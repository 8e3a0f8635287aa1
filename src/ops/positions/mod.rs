//! Adds a row of positions to each token of each sequence, then dropout: `y[b, t] = dropout(x[b, t] + positions[t])`.
//!
//! Shapes: x, y (batch * length, width); positions (length, width). Or, in a step of decoding, all rows of x stand at one
//! position, which lives in device memory.

pub(crate) mod cuda;

use super::cases::{Case, Gradient, Input};
use super::dropout::{self, Mask};
use super::{Cost, Dropout, Op};
use crate::device::cpu::{Args, parallel};
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces `dropout(x + positions)`.
///
/// # Errors
/// If x is not whole sequences of as many rows as there are positions.
pub fn add_positions(graph: &mut Graph, x: Id, positions: Id, dropout: Option<Dropout>) -> Result<Id> {
    let ((rows, width), (length, positions_width)) = (graph.matrix(x), graph.matrix(positions));
    if width != positions_width || length == 0 || rows % length != 0 {
        return Err(Error::failed(format!(
            "positions: x is ({rows}, {width}), the positions ({length}, {positions_width})"
        )));
    }
    let y = graph.activation("positioned", &[rows, width]);
    let op = AddPositions { rows, length, period: length, width, dropout, at: false };
    graph.push(op, &[x, positions], &[y]);
    Ok(y)
}

/// Traces `x + positions[position mod period]` of every row of x, with `position` (1) u32 and positions (period, width): a
/// step of decoding.
///
/// # Errors
/// If x and the positions are not equally wide, or there is no position.
pub fn add_position_at(graph: &mut Graph, x: Id, position: Id, positions: Id) -> Result<Id> {
    let ((rows, width), (period, positions_width)) = (graph.matrix(x), graph.matrix(positions));
    if width != positions_width || period == 0 || graph.tensor(position).len() != 1 {
        return Err(Error::failed(format!(
            "positions: x is ({rows}, {width}), the positions ({period}, {positions_width})"
        )));
    }
    let y = graph.activation("positioned", &[rows, width]);
    let op = AddPositions { rows, length: 1, period, width, dropout: None, at: true };
    graph.push(op, &[x, positions, position], &[y]);
    Ok(y)
}

#[derive(Debug, Clone, Copy)]
struct AddPositions {
    rows: usize,
    length: usize,
    /// Rows of the positions.
    period: usize,
    width: usize,
    dropout: Option<Dropout>,
    /// A third input holds the position of all rows.
    at: bool,
}

impl Op for AddPositions {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn differentiable(&self) -> bool {
        !self.at
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(dy) = graph.gradient(outputs[0]) else { return Ok(()) };
        let positions = graph.gradient_slot(inputs[1]);
        if self.dropout.is_none() {
            graph.set_gradient(inputs[0], dy);
            if let Some(positions) = positions {
                let op = PositionsBackward { forward: *self, dx: false, positions: true };
                graph.push(op, &[dy], &[positions]);
            }
            return Ok(());
        }
        let dx = graph.gradient_slot(inputs[0]);
        let op = PositionsBackward { forward: *self, dx: dx.is_some(), positions: positions.is_some() };
        let results: Vec<Id> = dx.into_iter().chain(positions).collect();
        graph.push(op, &[dy], &results);
        Ok(())
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * self.width) as f64;
        Cost { bytes: 8.0 * elements, flops: elements }
    }

    fn cpu(&self, args: &Args) {
        let Self { width, length, period, .. } = *self;
        let first_position = if self.at { args.input::<u32>(2)[0] as usize } else { 0 };
        let (x, positions): (&[f32], &[f32]) = (args.input(0), args.input(1));
        let mask = Mask::new(self.dropout, &args.state);
        parallel::rows(
            args.output(0),
            width,
            #[inline(always)]
            |first, out| {
                for (i, y) in out.chunks_exact_mut(width).enumerate() {
                    let row = first + i;
                    let place = (first_position + row % length) % period;
                    let (x, position) = (&x[row * width..][..width], &positions[place * width..][..width]);
                    for ((y, x), position) in y.iter_mut().zip(x).zip(position) {
                        *y = x + position;
                    }
                }
                if let Some(mask) = &mask {
                    mask.in_place(first * width, out);
                }
            },
        );
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// dx = dy * mask; d positions[t] += sum of dx over the batch, in the batch's order.
#[derive(Debug)]
struct PositionsBackward {
    forward: AddPositions,
    dx: bool,
    positions: bool,
}

impl Op for PositionsBackward {
    fn name(&self) -> &'static str {
        "positions backward"
    }

    fn workspace(&self) -> usize {
        // A masked row at a time for each position, where dx is not asked for.
        if self.forward.dropout.is_some() && self.positions {
            self.forward.length * self.forward.width * size_of::<f32>()
        } else {
            0
        }
    }

    fn cost(&self) -> Cost {
        let elements = (self.forward.rows * self.forward.width) as f64;
        Cost { bytes: 8.0 * elements, flops: elements }
    }

    fn cpu(&self, args: &Args) {
        let AddPositions { width, length, rows, .. } = self.forward;
        let dy: &[f32] = args.input(0);
        let mask = Mask::new(self.forward.dropout, &args.state);
        if self.dx {
            parallel::rows(
                args.output(0),
                width,
                #[inline(always)]
                |first, out| {
                    let start = first * width;
                    let dy = &dy[start..start + out.len()];
                    match &mask {
                        Some(mask) => mask.scaled(start, dy, out),
                        None => out.copy_from_slice(dy),
                    }
                },
            );
        }
        if !self.positions {
            return;
        }
        let out: &mut [f32] = args.output(usize::from(self.dx));
        let Some(mask) = mask else {
            parallel::rows(
                out,
                width,
                #[inline(always)]
                |first, out| {
                    for sequence in (0..rows).step_by(length) {
                        let start = (sequence + first) * width;
                        for (out, dy) in out.iter_mut().zip(&dy[start..]) {
                            *out += dy;
                        }
                    }
                },
            );
            return;
        };
        parallel::rows2(
            (out, width),
            (&mut args.workspace()[..length * width], width),
            #[inline(always)]
            |first, out, scratch| {
                for sequence in (0..rows).step_by(length) {
                    let start = (sequence + first) * width;
                    mask.scaled(start, &dy[start..start + out.len()], scratch);
                    for (out, dy) in out.iter_mut().zip(scratch.iter()) {
                        *out += dy;
                    }
                }
            },
        );
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(self, launch)
    }
}

/// Cases of the positions.
pub fn cases() -> Vec<Case> {
    let case = |batch: usize, length: usize, width: usize, rate: f32| {
        let inputs =
            vec![Input::activation(&[batch * length, width], 1.0), Input::weight(&[length, width], 1.0)];
        let name = format!("{batch} x {length} x {width}, dropout {rate}");
        Case::new("positions", name, inputs, move |g, x| {
            Ok(vec![add_positions(g, x[0], x[1], Dropout::new(rate, 8))?])
        })
    };
    let at = |position: u32| {
        let (rows, width, period) = (5, 17, 6);
        let inputs = vec![
            Input::activation(&[rows, width], 1.0),
            Input::weight(&[period, width], 1.0),
            Input::tokens(&[1], vec![position]),
        ];
        let name = format!("all at position {position}, period {period}");
        Case::new("positions", name, inputs, |g, x| Ok(vec![add_position_at(g, x[0], x[2], x[1])?]))
            .gradient(Gradient::None)
            .against(move |x| {
                let place = position as usize % period * width;
                vec![(0..rows * width).map(|i| x[0][i] + x[1][place + i % width]).collect()]
            })
    };
    let mut cases = vec![case(16, 196, 256, 0.0), at(3), at(16)];
    for (batch, length, width) in [(1, 1, 1), (3, 5, 7), (2, 70, 33), (19, 3, 264)] {
        for rate in [0.0, 0.25] {
            cases.push(case(batch, length, width, rate).against(move |x| {
                let kept = dropout::reference(Dropout::new(rate, 8), x[0].len());
                let at = |i: usize| (x[0][i] + x[1][i % (length * width)]) * kept[i];
                vec![(0..x[0].len()).map(at).collect()]
            }));
        }
    }
    cases
}
