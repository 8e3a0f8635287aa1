//! Results on their way from the GPU: what the guard says of a step, read by the host while the next one runs.
//!
//! Two slots of pinned memory take turns. A slot's event is behind the step's work on the one stream, so when it is
//! reached the words are those of that step, whatever was queued after it.

use cudarc::driver::sys::CUdeviceptr;

use super::driver::{Context, Stream};
use super::owned::{Event, Pinned};
use crate::Result;
use crate::ops::guard::Words;

/// Steps whose words may be under way at once: the one that the host reads, and the one that runs.
const SLOTS: usize = 2;

#[derive(Debug)]
struct Slot {
    pinned: Pinned,
    arrived: Event,
}

#[derive(Debug)]
pub struct Outbox {
    slots: [Slot; SLOTS],
    /// Readings that were queued, and that were taken, since the start.
    posted: usize,
    taken: usize,
}

impl Outbox {
    pub fn new(context: Context) -> Result<Outbox> {
        let slot = || -> Result<Slot> {
            Ok(Slot {
                pinned: Pinned::new(context, size_of::<Words>())?,
                arrived: Event::new(context, false)?,
            })
        };
        Ok(Outbox { slots: [slot()?, slot()?], posted: 0, taken: 0 })
    }

    /// Queues a reading of the words at `from`, device memory of that size.
    ///
    /// # Panics
    /// If the words of the last two are not taken yet.
    pub fn post(&mut self, stream: &Stream, from: CUdeviceptr) -> Result<()> {
        assert!(self.posted - self.taken < SLOTS, "words that nobody took");
        let slot = &mut self.slots[self.posted % SLOTS];
        let to = slot.pinned.bytes_mut().as_mut_ptr();
        // SAFETY: both have the words' size; the slot is read and given out again only after its event, see `collect`.
        unsafe { stream.fetch(to, from, size_of::<Words>()) }?;
        slot.arrived.record(stream)?;
        self.posted += 1;
        Ok(())
    }

    /// Waits for the oldest words that were not taken, and for nothing behind them.
    ///
    /// # Panics
    /// If none were asked for.
    pub fn collect(&mut self) -> Result<Words> {
        assert!(self.taken < self.posted, "no words were asked for");
        let slot = &self.slots[self.taken % SLOTS];
        self.taken += 1;
        slot.arrived.wait()?;
        Ok(bytemuck::pod_read_unaligned(slot.pinned.bytes()))
    }
}
