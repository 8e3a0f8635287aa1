//! What known codes stand for: the waveform that a spectrogram loss compares with, and what groups of samples are made
//! from, which is the same some samples later.
//!
//! codes (clips, samples) u32; wave[b, t] = value of codes[b, t - shift], and 0 before the first one and for a code that is
//! none (256 and above).

use super::{CODES, Codes};
use crate::device::cpu::{Args, parallel};
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::ops::cases::{Case, Gradient, Input, random};
use crate::ops::{Cost, Op};
use crate::{Error, Result};

/// Traces the waveform (clips, samples), f32, of `codes`, a tensor of clips * samples elements.
///
/// # Errors
/// If the codes are not whole clips of `samples`.
pub fn decoded_waveform(graph: &mut Graph, codes: Id, samples: usize, values: Codes) -> Result<Id> {
    let count = whole(graph, codes, samples)?;
    let wave = graph.activation_f32("waveform", &[count / samples, samples]);
    graph.push(Decoded { count, samples, shift: 0, values }, &[codes], &[wave]);
    Ok(wave)
}

/// Traces groups of `group` samples (clips * samples / group, group), in the device's storage type, each as the one before
/// it sounds; a clip's first group is silence.
///
/// # Errors
/// If the codes are not whole clips of `samples`, or those no whole groups.
pub fn groups_before(
    graph: &mut Graph,
    codes: Id,
    samples: usize,
    group: usize,
    values: Codes,
) -> Result<Id> {
    let count = whole(graph, codes, samples)?;
    if group == 0 || !samples.is_multiple_of(group) {
        return Err(Error::usage(format!("{samples} samples are no whole groups of {group}")));
    }
    let wave = graph.activation("groups before", &[count / group, group]);
    graph.push(Decoded { count, samples, shift: group, values }, &[codes], &[wave]);
    Ok(wave)
}

/// Traces single groups (clips, group) as they sound, in the device's storage type: from codes of (clips, group), what
/// [`groups_before`] makes of the same codes a group later.
///
/// # Errors
/// If the codes are no whole groups.
pub fn groups_as_heard(graph: &mut Graph, codes: Id, group: usize, values: Codes) -> Result<Id> {
    let count = whole(graph, codes, group)?;
    let wave = graph.activation("group before", &[count / group, group]);
    graph.push(Decoded { count, samples: group, shift: 0, values }, &[codes], &[wave]);
    Ok(wave)
}

fn whole(graph: &Graph, codes: Id, samples: usize) -> Result<usize> {
    let count = graph.tensor(codes).len();
    if samples == 0 || count == 0 || !count.is_multiple_of(samples) {
        return Err(Error::failed(format!("waveform: {count} codes are no whole clips of {samples}")));
    }
    Ok(count)
}

#[derive(Debug)]
struct Decoded {
    count: usize,
    samples: usize,
    shift: usize,
    values: Codes,
}

impl Op for Decoded {
    fn name(&self) -> &'static str {
        "decoded waveform"
    }

    fn cost(&self) -> Cost {
        Cost { bytes: 8.0 * self.count as f64, flops: 0.0 }
    }

    fn cpu(&self, args: &Args) {
        let codes: &[u32] = args.input(0);
        let values = self.values.values().map(|value| value as f32);
        let Self { samples, shift, .. } = *self;
        parallel::rows(
            args.output(0),
            1,
            #[inline(always)]
            |first, out| {
                for (i, out) in (first..).zip(out) {
                    let code = if i % samples >= shift { codes[i - shift] as usize } else { CODES };
                    *out = values.get(code).copied().unwrap_or(0.0);
                }
            },
        );
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (wave, codes) = (launch.output(0), launch.input(0));
        launch
            .kernel(&format!("decoded_samples_{}", wave.suffix()))
            .out(wave)
            .read(codes)
            .long(self.count as u64)
            .size(self.samples)
            .size(self.shift)
            .word((self.values == Codes::MuLaw).into())
            .grid(self.count.div_ceil(THREADS))
    }
}

/// Threads of a block of `kernels/waveform.cu`.
const THREADS: usize = 256;

/// Cases of the decoding.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (clips, samples, group) in [(1, 1, 1), (2, 300, 20), (3, 48, 48)] {
        for values in [Codes::MuLaw, Codes::Linear] {
            let mut codes = random::tokens(5, clips * samples, CODES as u32);
            codes[0] = 0;
            codes[samples / 2] = u32::MAX; // none
            let inputs = vec![Input::tokens(&[clips, samples], codes)];
            let name = format!("{clips} clips of {samples}, groups of {group}, {values:?}");
            let case = Case::new("decoded waveform", name, inputs, move |g, x| {
                Ok(vec![
                    decoded_waveform(g, x[0], samples, values)?,
                    groups_before(g, x[0], samples, group, values)?,
                    groups_as_heard(g, x[0], group, values)?,
                ])
            });
            cases.push(case.gradient(Gradient::None).against(move |x| {
                let known = values.values();
                let value = |code: f64| if code < CODES as f64 { known[code as usize] } else { 0.0 };
                let wave: Vec<f64> = x[0].iter().map(|&code| value(code)).collect();
                let before = |clip: &[f64]| {
                    let mut before = vec![0.0; group];
                    before.extend_from_slice(&clip[..samples - group]);
                    before
                };
                vec![wave.clone(), wave.chunks(samples).flat_map(before).collect(), wave]
            }));
        }
    }
    cases
}
