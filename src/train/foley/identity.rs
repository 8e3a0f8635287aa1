//! What a run knows of the sound it was trained on: enough to make sound without the data, and to refuse others.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::sound::{Encoding, Format, SoundSet};
use crate::error::At;
use crate::models::foley::Ends;
use crate::ops::waveform::Codes;
use crate::train::files::{self, Files};
use crate::{Error, Result};

const FILE: &str = "data.json";

/// `RUN/data.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub sound: Format,
    /// The data set's hash: a resume wants the same bytes.
    pub data: String,
}

impl Identity {
    pub fn of(data: &SoundSet) -> Identity {
        Identity { sound: data.format().clone(), data: data.hash().to_string() }
    }

    /// The model's ends.
    ///
    /// # Errors
    /// If the samples have more values than the model tells apart.
    pub fn ends(&self) -> Result<Ends> {
        let Format { sample_rate, samples, encoding, frames, height, width, frame_rate, .. } = self.sound;
        if encoding.bytes() > 1 {
            return Err(Error::usage(format!(
                "the data hold {} samples, and the model tells 256 codes apart; prepare them with --encoding mu-law-8",
                encoding.name()
            )));
        }
        let codes = if encoding == Encoding::Linear8 { Codes::Linear } else { Codes::MuLaw };
        let classes = encoding.levels();
        Ok(Ends { height, width, frames, frame_rate, samples, sample_rate, classes, codes })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, files: &dyn Files, run: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::failed(format!("{FILE}: has no form as JSON: {error}")))?;
        files::replace(files, &run.join(FILE), &json)
    }

    /// Whether the run was begun far enough to have been described.
    pub fn is_saved(run: &Path) -> bool {
        run.join(FILE).exists()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing, damaged, or another model's.
    pub fn load(run: &Path) -> Result<Identity> {
        let path = run.join(FILE);
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        serde_json::from_str(&text).map_err(|error| {
            Error::failed(format!("{}: is damaged, or not of a foley run ({error})", path.display()))
        })
    }

    /// Refuses data that would not mean to the model what they meant in training.
    ///
    /// # Errors
    /// If rate, encoding, length or frames differ.
    pub fn check(&self, data: &SoundSet) -> Result<()> {
        let (ours, theirs) = (&self.sound, data.format());
        let place = data.folder().display();
        let fail = |what: &str, theirs: String, ours: String| {
            Err(Error::failed(format!(
                "{place}: holds {what} {theirs}, and the run was trained on {ours}; prepare it again with the run's"
            )))
        };
        if theirs.sample_rate != ours.sample_rate {
            return fail(
                "sound of",
                format!("{} samples a second", theirs.sample_rate),
                ours.sample_rate.to_string(),
            );
        }
        if theirs.encoding != ours.encoding || theirs.gain != ours.gain {
            return fail(
                "samples encoded as",
                format!("{:?}", theirs.encoding),
                format!("{:?}", ours.encoding),
            );
        }
        if theirs.samples != ours.samples {
            return fail("clips of", format!("{} samples", theirs.samples), ours.samples.to_string());
        }
        let size =
            |f: &Format| format!("{} x {} x {} at {:?} a second", f.frames, f.height, f.width, f.frame_rate);
        if size(theirs) != size(ours) {
            return fail("frames of", size(theirs), size(ours));
        }
        Ok(())
    }
}
