//! `evoke evaluate` of a foley run: bits a sample, and what is heard in the sounds that it makes.

use serde::Serialize;

use super::Output;
use super::evaluate::Args;
use super::sound::{bar, draws_nothing, folder_of, tell};
use crate::data::sound::SoundSet;
use crate::decode::Method;
use crate::decode::sampling::Sampling;
use crate::device::Device;
use crate::error::At;
use crate::look::heard;
use crate::train::foley::{evaluate, listen, load};
use crate::train::task::{Report as _, spread};
use crate::{Error, Result};

/// Clips on the page.
const ON_PAGE: usize = 12;

#[derive(Debug, Serialize)]
struct Report {
    step: u64,
    split: String,
    #[serde(flatten)]
    report: evaluate::Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<listen::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Args {
    pub(super) fn hear(self, out: &Output) -> Result<()> {
        let sampling = match self.method.method()? {
            Method::Sample(sampling) => sampling,
            // The most probable sample is silence nearly everywhere: sound is always drawn.
            Method::Beam { .. } => Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1 },
        };
        if let Some(page) = &self.page {
            folder_of(page, "--page")?;
        }
        let device = Device::parse(&self.device)?;
        let mut trained = load::load(&self.run, device, &mut |line| out.note(line))?;
        let data = SoundSet::open(&self.data)?;
        trained.identity.check(&data)?;
        let split = data.split(&self.split)?;
        let clips = spread(split.len(), self.pictures);
        if clips.is_empty() {
            return Err(Error::failed(format!(
                "{}: the split {:?} holds no clips; choose another with --split",
                self.data.display(),
                self.split
            )));
        }
        let (encoding, batch) = (trained.identity.sound.encoding, trained.config.train.batch);
        let session = &mut trained.session;
        if session.model.groups() && self.listen > 0 && self.method.draws() {
            out.note(draws_nothing("--temperature"));
        }
        let report = evaluate::evaluate(session, &split, &clips, encoding, batch)?;
        let mut heard = None;
        if self.listen > 0 {
            let clips = spread(split.len(), self.listen);
            let ends = session.model.ends;
            let bar = bar(ends.samples, false);
            let made = listen::listen(session, &split, &clips, encoding, sampling, &mut |tick| {
                tell(&bar, tick, clips.len(), ends.sample_rate);
            })?;
            bar.finish_and_clear();
            if let Some(path) = &self.page {
                let shown = &made.heard[..ON_PAGE.min(made.heard.len())];
                let page =
                    heard::page("Evoke: what the model hears", &summary(&report, &made.report), shown)?;
                std::fs::write(path, page).at("write", path)?;
            }
            heard = Some(made.report);
        }
        let warning = report.warning();
        let report = Report { step: trained.step, split: self.split, report, heard, warning };
        out.result(&report, told)
    }
}

fn summary(report: &evaluate::Report, heard: &listen::Report) -> Vec<(String, String)> {
    let (bits, verdict) = (&report.bits_per_sample, &heard.verdict);
    let mut lines = vec![(report.unit.to_string(), format!("{:.4}", bits.own))];
    if report.pictures {
        let cost = format!("{:+.4} \u{b1} {:.4}", bits.gain(), bits.ci95);
        lines.push(("another's video costs".into(), cost));
    }
    if verdict.knows_strikes() {
        lines.push((
            "onsets within 50 ms (F1)".into(),
            format!("{:.2} (another clip's: {:.2})", verdict.onset_f1, heard.onset_f1_dealt),
        ));
        lines.push(("strikes at their pitch".into(), format!("{:.0} %", 100.0 * verdict.pitch_right)));
    }
    let distance = verdict.spectral_distance;
    lines.push((
        "multi-resolution STFT distance".into(),
        format!("{:.2} \u{b1} {:.2}", distance.mean, distance.ci95),
    ));
    lines
}

fn told(told: &Report) -> String {
    let (report, bits) = (&told.report, &told.report.bits_per_sample);
    let mut text = format!(
        "{} clips of {:?}, step {}\n\n{:<16} {:>8.4}   with the clip's own video",
        report.clips, told.split, told.step, report.unit, bits.own
    );
    if report.pictures {
        text.push_str(&format!(
            "\n{:<16} {:>8.4}   with another's ({:+.4} \u{b1} {:.4})\n{:<16} {:>8.4}   with none",
            "",
            bits.other,
            bits.gain(),
            bits.ci95,
            "",
            bits.none
        ));
    }
    if let Some(heard) = &told.heard {
        let verdict = &heard.verdict;
        text.push_str(&format!(
            "\n\nheard in {} clips, {:.0} samples/s",
            verdict.clips, heard.samples_per_second
        ));
        if verdict.knows_strikes() {
            text.push_str(&format!(
                "\nonset F1         {:>8.4}   precision {:.4}, recall {:.4}; another clip's {:.4}\npitch            \
                 {:>7.1} %   of the strikes within half a semitone",
                verdict.onset_f1,
                verdict.onset_precision,
                verdict.onset_recall,
                heard.onset_f1_dealt,
                100.0 * verdict.pitch_right
            ));
        } else {
            text.push_str("\nonsets, pitch           -   the set names no strikes, as films do not");
        }
        text.push_str(&format!(
            "\nSTFT distance    {:>8.4}   \u{b1} {:.4}",
            verdict.spectral_distance.mean, verdict.spectral_distance.ci95
        ));
    }
    if let Some(warning) = &told.warning {
        text.push_str(&format!("\n\nwarning: {warning}"));
    }
    text
}
