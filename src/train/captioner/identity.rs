//! What a run knows of the data it was trained on: enough to caption a picture without them, and to refuse others.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::picture::Preprocessing;
use crate::data::{Dataset, Vocabulary};
use crate::error::At;
use crate::models::captioner::Ends;
use crate::train::files::{self, Files};
use crate::{Error, Result};

const FILE: &str = "data.json";
const TOKENIZER: &str = "tokenizer.json";

/// `RUN/data.json`, beside `RUN/tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub height: usize,
    pub width: usize,
    pub vocabulary: usize,
    pub tokenizer: String,
    /// The data set's hash: a resume wants the same bytes.
    pub data: String,
    pub preprocessing: Preprocessing,
}

impl Identity {
    pub fn of(data: &Dataset) -> Identity {
        Identity {
            height: data.height(),
            width: data.width(),
            vocabulary: data.tokenizer().size(),
            tokenizer: data.tokenizer().hash(),
            data: data.hash().to_string(),
            preprocessing: data.preprocessing().clone(),
        }
    }

    pub fn ends(&self) -> Ends {
        Ends { height: self.height, width: self.width, vocabulary: self.vocabulary }
    }

    /// Writes both files, each whole or not at all.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, files: &dyn Files, run: &Path, vocabulary: &Vocabulary) -> Result<()> {
        files::replace(files, &run.join(TOKENIZER), vocabulary.json().as_bytes())?;
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::failed(format!("{FILE}: has no form as JSON: {error}")))?;
        files::replace(files, &run.join(FILE), &json)
    }

    /// Whether the run was begun far enough to have been described.
    pub fn is_saved(run: &Path) -> bool {
        run.join(FILE).exists()
    }

    /// Reads both files.
    ///
    /// # Errors
    /// If one is missing or damaged, or they do not belong together.
    pub fn load(run: &Path) -> Result<(Identity, Vocabulary)> {
        let path = run.join(FILE);
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let identity: Identity = serde_json::from_str(&text)
            .map_err(|error| Error::failed(format!("{}: is damaged ({error})", path.display())))?;
        let vocabulary = Vocabulary::load(&run.join(TOKENIZER))?;
        if vocabulary.hash() != identity.tokenizer {
            return Err(Error::failed(format!(
                "{}: is not the tokenizer that the run was trained with; put the run's own back",
                run.join(TOKENIZER).display()
            )));
        }
        Ok((identity, vocabulary))
    }

    /// Refuses data that would not mean to the model what they meant in training.
    ///
    /// # Errors
    /// If the tokenizer, the picture size or the preprocessing differ.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        let other = Identity::of(data);
        let place = data.folder().display();
        if other.tokenizer != self.tokenizer {
            return Err(Error::failed(format!(
                "{place}: was made with another tokenizer ({}) than the run ({}); prepare it again \
                 with --tokenizer-file and the run's {TOKENIZER}",
                other.tokenizer, self.tokenizer
            )));
        }
        if (other.height, other.width) != (self.height, self.width)
            || other.preprocessing != self.preprocessing
        {
            return Err(Error::failed(format!(
                "{place}: holds pictures of {} x {} pixels, made another way than the run's ({} x {}); prepare it \
                 again with the run's size and fit",
                other.height, other.width, self.height, self.width
            )));
        }
        Ok(())
    }
}
