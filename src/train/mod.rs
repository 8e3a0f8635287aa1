//! Training around the model: checkpoints, metrics, guards, signals, the progress line and the run folder.

pub mod budget;
pub mod captioner;
pub mod checkpoint;
pub mod files;
pub mod foley;
pub mod guard;
mod manifest;
pub mod metrics;
pub mod progress;
pub mod record;
pub mod run;
pub mod run_folder;
pub mod signals;
mod state;
mod step;
pub mod task;
pub mod tensor_file;
pub mod tensorboard;
mod trainer;
pub mod weights;
