//! Clips of many files, decoded side by side and stored in one order.
//!
//! Files go to [`LANES`] lanes in turn, each with a thread of its own, and the store takes one clip from each lane in
//! turn. So the order is the same on any machine, memory holds a few clips a lane whatever the files' lengths, and no
//! file waits for the end of another. A stopped stream goes on by decoding each lane's file again from its start, without
//! storing what is stored: seeking would not give the same samples.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::cutter::Clip;
use super::record::FileRecord;
use super::writer::{SoundWriter, cells};
use super::{ClipRow, Format};
use crate::data::journal::Place;
use crate::data::store::{Store, Tick};
use crate::{Error, Result};

/// Files that are decoded at once. A part of the order, so it does not follow the machine.
pub const LANES: usize = 8;
/// Clips that wait in each lane.
const WAITING: usize = 2;

/// Files that become clips.
pub trait Recordings: Sync {
    /// How many files there are.
    fn len(&self) -> usize;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The splits that files can go to.
    fn splits(&self) -> Vec<String>;

    /// About how many clips all files have, for a progress line.
    fn expected(&self) -> usize;

    /// Cuts file `file` and gives each clip with its split to `put`; the same ones whenever it is asked. Ends early when
    /// `put` breaks.
    fn record(&self, file: usize, put: &mut dyn FnMut(&str, Clip) -> ControlFlow<()>) -> FileRecord;
}

/// What a lane says.
enum Said {
    Clip(String, ClipRow),
    Ended(FileRecord),
}

impl SoundWriter {
    /// Writes all clips of all files to their splits, from where an earlier start stopped.
    ///
    /// # Errors
    /// If a file of the set cannot be written; finished shards are kept, and the same call continues after them.
    pub fn stream(&mut self, source: &dyn Recordings, progress: &dyn Fn(Tick)) -> Result<()> {
        let (store, format) = self.parts();
        source.splits().iter().for_each(|split| store.know(split));
        if source.splits().iter().all(|split| store.journal().progress(split).done) {
            return Ok(());
        }
        let stop = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            let lanes = LANES.min(source.len());
            let mut place = store.journal().place().clone();
            place.lanes.resize(lanes, (0, 0));
            let mut receivers = Vec::with_capacity(lanes);
            for (lane, &(file, stored)) in place.lanes.iter().enumerate() {
                let (sender, receiver) = sync_channel(WAITING);
                receivers.push(receiver);
                let stop = &stop;
                scope.spawn(move || run_lane(source, (lane, lanes), (file, stored), &sender, stop));
            }
            let result = collect(store, format, place, receivers, source.expected(), progress);
            // The receivers are gone, so lanes that wait to send end; those at work see this.
            stop.store(true, Ordering::Relaxed);
            result
        });
        result.map_err(|error| store.given_up(error))
    }
}

/// Decodes the files of one lane, beginning with its `file`-th, of which `stored` clips are stored.
fn run_lane(
    source: &dyn Recordings,
    (lane, lanes): (usize, usize),
    (file, stored): (usize, usize),
    sender: &SyncSender<Said>,
    stop: &AtomicBool,
) {
    let mut left = stored;
    for number in (file * lanes + lane..source.len()).step_by(lanes) {
        let mut put = |split: &str, clip: Clip| {
            if left > 0 {
                left -= 1;
                return if stop.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                };
            }
            match sender.send(Said::Clip(split.into(), clip.row)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let record = source.record(number, &mut put);
        left = 0;
        if sender.send(Said::Ended(record)).is_err() {
            return;
        }
    }
}

/// Takes one word of each lane in turn and stores it.
fn collect(
    store: &mut Store,
    format: &Format,
    mut place: Place,
    receivers: Vec<Receiver<Said>>,
    expected: usize,
    progress: &dyn Fn(Tick),
) -> Result<()> {
    let lanes = receivers.len();
    let mut receivers: Vec<Option<Receiver<Said>>> = receivers.into_iter().map(Some).collect();
    let resumed = store.stored();
    let (mut done, mut ended) = (resumed, Vec::new());
    while receivers.iter().any(Option::is_some) {
        let lane = place.turn;
        place.turn = (lane + 1) % lanes;
        let Some(receiver) = &receivers[lane] else { continue };
        match receiver.recv() {
            Ok(Said::Clip(split, row)) => {
                let key = row.key.clone();
                let cells = cells(format, row)
                    .map_err(|skipped| Error::failed(format!("{key}: {}", skipped.reason)))?;
                place.lanes[lane].1 += 1;
                done += 1;
                if store.push(&split, cells)? {
                    store.flush(place.clone(), std::mem::take(&mut ended), false)?;
                }
                progress(Tick { done, total: expected.max(done), resumed, skipped: 0 });
            }
            Ok(Said::Ended(record)) => {
                ended.push(record);
                place.lanes[lane] = (place.lanes[lane].0 + 1, 0);
            }
            Err(_) => receivers[lane] = None,
        }
    }
    store.flush(place, ended, true)
}
