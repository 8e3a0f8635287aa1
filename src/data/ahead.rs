//! Batches made ahead of the step that needs them, on a thread of their own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use crate::{Error, Result};

/// Batches kept ready: one in use, one on its way.
const AHEAD: usize = 2;

/// Makes batches ahead of the step that needs them.
#[derive(Debug)]
pub struct Ahead<B> {
    batches: Receiver<B>,
    /// Seconds spent waiting in [`Ahead::next`].
    pub waited: f64,
}

impl<B: Send + 'static> Ahead<B> {
    /// The batches that `make` gives for pass `first` and those after it, in order.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(make: impl Fn(u64) -> B + Send + 'static, first: u64) -> Result<Ahead<B>> {
        let (sender, batches) = sync_channel(AHEAD);
        std::thread::Builder::new()
            .name("loader".into())
            .spawn(move || {
                for pass in first.. {
                    if sender.send(make(pass)).is_err() {
                        return; // training is over
                    }
                }
            })
            .map_err(|error| Error::failed(format!("cannot start the loader's thread: {error}")))?;
        Ok(Ahead { batches, waited: 0.0 })
    }

    /// The next batch.
    ///
    /// # Errors
    /// If the loader's thread died.
    #[allow(clippy::should_implement_trait)] // an endless iterator of results would say less
    pub fn next(&mut self) -> Result<B> {
        let start = Instant::now();
        let batch = self.batches.recv().map_err(|_| {
            Error::failed("the loader stopped; run `evoke verify` on the data set, then resume")
        });
        self.waited += start.elapsed().as_secs_f64();
        batch
    }
}
