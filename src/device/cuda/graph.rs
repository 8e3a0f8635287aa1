//! CUDA graphs: the launches of a program, or of a whole step, recorded once and replayed in one call.
//!
//! The first run launches plainly: it loads kernels and measures products, which a recording does not allow. The second
//! one is recorded. What changes between runs is in the GPU's memory, so a replay is right for every step: seed, pass and
//! learning rate in `Region::State`, the step's number there too (by `kernels/guard.cu`, since it depends on how many
//! steps were skipped), the weight of each target in an input. Launch code is given their places and not their values.

use std::collections::HashMap;
use std::sync::Once;

use cudarc::driver::sys::{self, CUgraphExec, CUstreamCaptureMode};

use super::driver::{Stream, check};
use crate::{Error, Result};

/// Recordings that are kept. A run has a few shapes; more are of programs that are gone.
const MOST: usize = 64;

/// A recording that is ready to run.
#[derive(Debug)]
pub struct Recording(CUgraphExec);

// SAFETY: a recording may be launched by any thread; its owner does so one launch at a time.
unsafe impl Send for Recording {}
// SAFETY: shared references only show its address.
unsafe impl Sync for Recording {}

impl Recording {
    /// Records what `launch` gives to the stream, which runs nothing of it.
    pub fn of(stream: &Stream, launch: impl FnOnce() -> Result<()>) -> Result<Recording> {
        // Only this thread is held to the rules of recording, not one that uses another GPU meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive and not being recorded.
        check(unsafe { sys::cuStreamBeginCapture_v2(stream.raw, mode) }, "record a graph")?;
        let launched = launch();
        let mut graph = std::ptr::null_mut();
        // SAFETY: the recording was begun above, and there is a place to write to.
        let ended = check(unsafe { sys::cuStreamEndCapture(stream.raw, &mut graph) }, "end a recording");
        if graph.is_null() {
            launched?;
            ended?;
            return Err(Error::failed("the GPU recorded nothing"));
        }
        let mut ready = std::ptr::null_mut();
        let made = launched.and(ended).and_then(|()| {
            // SAFETY: the graph is whole, and there is a place to write to.
            check(unsafe { sys::cuGraphInstantiateWithFlags(&mut ready, graph, 0) }, "make a graph ready")
        });
        // SAFETY: what was made ready keeps what it needs. An error has nobody to go to.
        unsafe { sys::cuGraphDestroy(graph) };
        made?;
        Ok(Recording(ready))
    }

    pub fn launch(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both are alive, and the memory that the recording names lives as long as it (see `Graphs::forget`).
        check(unsafe { sys::cuGraphLaunch(self.0, stream.raw) }, "launch a graph")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // SAFETY: made in `of`; the driver keeps it until its launches are done. An error has nobody to go to.
        unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// What is known of a program.
#[derive(Debug)]
pub enum Known {
    /// It ran once.
    Seen,
    Recorded(Recording),
    /// It cannot be recorded.
    Refused,
}

/// The recordings of one memory, by the programs in them and what is moved between them.
#[derive(Debug)]
pub struct Graphs {
    on: bool,
    known: HashMap<Vec<u64>, Known>,
}

impl Graphs {
    /// `EVOKE_CUDA_GRAPH=0` turns them off, and so does waiting for each launch.
    pub fn new() -> Graphs {
        let on = std::env::var("EVOKE_CUDA_GRAPH").as_deref() != Ok("0") && !waits_for_each_launch();
        Graphs { on, known: HashMap::new() }
    }

    /// What is known of these programs; `None` at their first run, which is remembered, and where graphs are off.
    pub fn of(&mut self, key: &[u64]) -> Option<&Known> {
        if !self.on {
            return None;
        }
        if !self.known.contains_key(key) {
            if self.known.len() == MOST {
                self.known.clear();
            }
            self.known.insert(key.into(), Known::Seen);
            return None;
        }
        self.known.get(key)
    }

    /// The same, and nothing is remembered.
    pub fn known(&self, key: &[u64]) -> Option<&Known> {
        self.known.get(key)
    }

    /// Remembers how recording went. A failure is told once: the run goes on, more slowly.
    pub fn keep(&mut self, key: &[u64], recorded: Result<Recording>) {
        static TOLD: Once = Once::new();
        let known = match recorded {
            Ok(recording) => Known::Recorded(recording),
            Err(error) => {
                TOLD.call_once(|| eprintln!("no CUDA graph, kernels are launched one by one: {error}"));
                Known::Refused
            }
        };
        self.known.insert(key.into(), known);
    }

    /// Forgets all recordings: the addresses in them are no longer good.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// `EVOKE_CUDA_SYNC=1`: for finding the kernel that failed.
pub fn waits_for_each_launch() -> bool {
    std::env::var("EVOKE_CUDA_SYNC").as_deref() == Ok("1")
}
