//! A trained model back from its run folder.

use std::path::Path;

use super::identity::Identity;
use crate::Result;
use crate::config::Config;
use crate::data::Vocabulary;
use crate::device::Device;
use crate::models::captioner::{Captioner, Session};
use crate::train::run_folder::RunFolder;
use crate::train::weights;

/// A run as `caption` and `evaluate` need it.
#[derive(Debug)]
pub struct Trained {
    pub session: Session,
    pub config: Config,
    pub identity: Identity,
    pub vocabulary: Vocabulary,
    /// The step of the checkpoint that was loaded.
    pub step: u64,
}

/// Loads the best checkpoint of a run, or the latest where none was marked; averaged weights where there are any.
///
/// # Errors
/// If there is no run, no checkpoint, or nothing sound.
pub fn load(run: &Path, device: Device, note: &mut dyn FnMut(&str)) -> Result<Trained> {
    let config = RunFolder::stored_config(run)?;
    let found = weights::found(run, note)?;
    let (identity, vocabulary) = Identity::load(run)?;
    let model = Captioner::new(&config.model, identity.ends())?;
    let mut session = Session::new(model, device, None)?;
    let (model, engine) = session.parts();
    weights::best(&found, &model.parameters, &mut engine.memory)?;
    Ok(Trained { session, config, identity, vocabulary, step: found.step() })
}
