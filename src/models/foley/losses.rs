//! What the model learns from: cross-entropy of codes, and spectrogram losses of the waveform that their probabilities
//! promise or that groups are.

use super::earlier;
use super::{Foley, IGNORED, Purpose, Step};
use crate::config::SoundLoss;
use crate::device::Memory;
use crate::graph::plan::Program;
use crate::graph::{Graph, Id};
use crate::ops::cross_entropy::{self, Loss};
use crate::ops::spectrogram::{self, FLOOR, Settings, multi_resolution_loss, spectrogram_loss};
use crate::ops::waveform::decoded::decoded_waveform;
use crate::ops::waveform::expected_waveform;
use crate::{Result, graph::DType};

/// The losses of a step, with the weight of each: scales that the caller writes ([`Step::weigh`]).
#[derive(Debug, Clone, Copy)]
pub struct Losses {
    /// Of the codes; none with groups.
    pub cross_entropy: Option<Loss>,
    /// (1): what a clip's spectrogram term is multiplied by, and the term.
    pub spectrogram: Option<(Id, spectrogram::Loss)>,
    /// The same of the multi-resolution term.
    pub multi_resolution: Option<(Id, [spectrogram::Loss; 3])>,
}

impl Foley {
    /// Traces the losses of `made`: logits, or groups.
    pub(super) fn losses(
        &self,
        g: &mut Graph,
        made: Id,
        targets: Id,
        scale: Id,
        samples: usize,
        purpose: Purpose,
    ) -> Result<Losses> {
        let Purpose { train, label_smoothing, spectrogram, multi_resolution, joined } = purpose;
        let mut losses = Losses { cross_entropy: None, spectrogram: None, multi_resolution: None };
        if spectrogram || multi_resolution {
            let wanted = decoded_waveform(g, targets, samples, self.ends.codes)?;
            let wave = match self.groups() {
                true => made,
                false => expected_waveform(g, made, self.ends.codes, train)?,
            };
            if spectrogram {
                let scale = g.input("spectrogram scale", &[1], DType::F32);
                let settings = Settings { joined, ..Settings::default() };
                let loss = spectrogram_loss(g, wave, wanted, settings, scale, train)?;
                losses.spectrogram = Some((scale, loss));
            }
            if multi_resolution {
                let scale = g.input("multi-resolution scale", &[1], DType::F32);
                let loss = multi_resolution_loss(g, wave, wanted, scale, FLOOR, train)?;
                losses.multi_resolution = Some((scale, loss));
            }
        }
        if !self.groups() {
            // Last, since it overwrites the logits.
            let loss = cross_entropy::cross_entropy_without(
                g,
                made,
                targets,
                scale,
                label_smoothing,
                train,
                IGNORED,
            )?;
            losses.cross_entropy = Some(loss);
        }
        Ok(losses)
    }
}

impl Step {
    /// Writes what a pass reads of its sound: `codes` of clips of `samples`, with the `lags` last ones at each, and `targets`.
    pub fn show(
        &self,
        memory: &mut Memory,
        program: &Program,
        (codes, samples): (&[u32], usize),
        lags: usize,
        targets: &[u32],
    ) {
        memory.write(program, self.codes, codes);
        if let Some(id) = self.earlier {
            memory.write(program, id, &earlier(codes, samples, lags));
        }
        memory.write(program, self.targets, targets);
    }

    /// Writes what each term is multiplied by, before a run: `scale` is one over the samples of the whole step, of which
    /// this pass has `samples`.
    pub fn weigh(
        &self,
        memory: &mut Memory,
        program: &Program,
        loss: &SoundLoss,
        scale: f32,
        samples: usize,
    ) {
        memory.write(program, self.scale, &[scale * loss.cross_entropy]);
        // The terms of waveforms are means over the clips of the pass.
        let share = scale * samples as f32;
        if let Some((id, _)) = self.losses.spectrogram {
            memory.write(program, id, &[share * loss.spectrogram]);
        }
        if let Some((id, _)) = self.losses.multi_resolution {
            memory.write(program, id, &[share * loss.multi_resolution]);
        }
    }

    /// This pass's share of the loss, after a run.
    pub fn loss(&self, memory: &Memory, program: &Program) -> f32 {
        self.losses.terms().into_iter().map(|sums| memory.read(program, sums)[0]).sum()
    }
}

impl Losses {
    /// The tensors whose first elements add up to the loss, in order.
    pub fn terms(&self) -> Vec<Id> {
        let Losses { cross_entropy, spectrogram, multi_resolution } = *self;
        let terms = cross_entropy.map(|loss| loss.sums).into_iter();
        let terms = terms.chain(spectrogram.map(|(_, loss)| loss.sums));
        terms
            .chain(multi_resolution.into_iter().flat_map(|(_, losses)| losses.map(|loss| loss.sums)))
            .collect()
    }
}
