//! A trained foley model back from its run folder.

use std::path::Path;

use super::identity::Identity;
use crate::Result;
use crate::config::{self, Settings};
use crate::device::Device;
use crate::models::foley::{Foley, Session};
use crate::train::run_folder::RunFolder;
use crate::train::weights;

/// A run as `sound` and `evaluate` need it.
#[derive(Debug)]
pub struct Trained {
    pub session: Session,
    pub config: Settings<config::Foley>,
    pub identity: Identity,
    /// The step of the checkpoint that was loaded.
    pub step: u64,
}

/// Loads the best checkpoint of a run, or the latest where none was marked; averaged weights where there are any.
///
/// # Errors
/// If there is no run, no checkpoint, or nothing sound.
pub fn load(run: &Path, device: Device, note: &mut dyn FnMut(&str)) -> Result<Trained> {
    let config: Settings<config::Foley> = RunFolder::stored_config(run)?;
    let found = weights::found(run, note)?;
    let identity = Identity::load(run)?;
    let model = Foley::new(&config.model, identity.ends()?)?;
    let mut session = Session::new(model, device, None)?;
    let (model, engine) = session.parts();
    weights::best(&found, &model.parameters, &mut engine.memory)?;
    Ok(Trained { session, config, identity, step: found.step() })
}
