//! A training step allocates nothing that grows: counted by an allocator of its own, in a process of its own.
//!
//! What a step still takes and gives back at once are the packing buffers of the `gemm` crate (traced: nothing else
//! above a few bytes, but now and then a block of 1,520 for rayon's queue); their sum is measured and has a limit.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use evoke::config::Config;
use evoke::data::loader::{Batch, Recipe};
use evoke::data::{Dataset, Split, Visits};
use evoke::device::{Device, StepState};
use evoke::graph::plan::Region;
use evoke::models::captioner::{Captioner, Ends, Purpose, Session};

/// Bytes in use, bytes ever asked for, and how often.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        ASKED.fetch_add(layout.size(), Relaxed);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The share of its memory that a step may take beside it, and how often it may ask.
const MOST_SHARE: f64 = 0.25;
const MOST_CALLS: usize = 500;

/// A model that trains on the same batch again and again.
struct Training {
    session: Session,
    batch: Batch,
    step: u64,
}

impl Training {
    fn new(split: &Split, ends: Ends, width: usize, batch: usize) -> Training {
        let sets = [
            format!("model.width={width}"),
            "model.heads=4".into(),
            "encoder_layers=2".into(),
            "decoder_layers=2".into(),
            "patch=8".into(),
            "average=0.99".into(),
            format!("batch={batch}"),
        ];
        let config = Config::load(None, &sets).unwrap();
        let model = Captioner::new(&config.model, ends).unwrap();
        let mut session = Session::new(model, Device::Cpu, Some(&config.optimizer)).unwrap();
        session.initialise(1);
        let recipe = Recipe {
            visits: Visits { seed: 1, batch, first: 0 },
            max_words: 16,
            word_dropout: 0.0,
            parallel: 0.0,
        };
        Training { session, batch: recipe.make(split, 0), step: 0 }
    }

    /// What `evoke train` does in a step.
    fn step(&mut self) -> f32 {
        let purpose = Purpose { train: true, both_ways: false, label_smoothing: 0.1 };
        let (session, batch) = (&mut self.session, &self.batch);
        self.step += 1;
        let state = StepState { seed: 1, pass: self.step, step: self.step, learning_rate: 1e-4 };
        let planned = session.step(batch.batch, batch.length, purpose).unwrap();
        session.memory.write(&planned.program, planned.ends.pixels, &batch.pixels);
        session.memory.write(&planned.program, planned.ends.words, &batch.words);
        session.memory.write(&planned.program, planned.ends.targets, &batch.targets);
        session.memory.write(&planned.program, planned.ends.scale, &[1.0 / batch.target_words() as f32]);
        session.run(&planned.program, &state).unwrap();
        assert!(session.update(&state).unwrap().is_finite());
        session.memory.read(&planned.program, planned.ends.loss.sums)[0]
    }

    /// Bytes and calls of each of `steps` steps, and the bytes in use after each.
    fn measure(&mut self, steps: usize) -> Vec<(usize, usize, usize)> {
        let mut measured = Vec::with_capacity(steps);
        for _ in 0..steps {
            let (asked, calls) = (ASKED.load(Relaxed), CALLS.load(Relaxed));
            let loss = self.step();
            measured.push((ASKED.load(Relaxed) - asked, CALLS.load(Relaxed) - calls, LIVE.load(Relaxed)));
            assert!(loss.is_finite());
        }
        measured
    }

    /// Bytes of everything the model keeps: what stands in `evoke plan`.
    fn kept(&mut self) -> usize {
        let purpose = Purpose { train: true, both_ways: false, label_smoothing: 0.1 };
        let arena = self.session.step(self.batch.batch, self.batch.length, purpose).unwrap().program.arena;
        let regions =
            [Region::Weights, Region::Gradients, Region::FirstMoment, Region::SecondMoment, Region::Average];
        arena + regions.iter().map(|&region| self.session.memory.bytes(region)).sum::<usize>()
    }
}

/// The resident memory of this process in bytes, where the system tells.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

/// One test, since the counters are the whole process's.
#[test]
fn steps_of_one_shape_do_not_grow_the_heap() {
    let (asked, calls) = (ASKED.load(Relaxed), CALLS.load(Relaxed));
    drop(std::hint::black_box(vec![1u8; 10_000_000]));
    assert!(ASKED.load(Relaxed) - asked >= 10_000_000 && CALLS.load(Relaxed) > calls, "the counters count");

    // The products pack for each thread: the same number everywhere gives the same bytes.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = Dataset::open(&common::scenes(folder.path(), 64, 0)).unwrap();
    let split = data.split("train").unwrap();
    let ends = Ends { height: 32, width: 32, vocabulary: data.tokenizer().size() };

    for (width, batch) in [(32, 8), (128, 32)] {
        let mut training = Training::new(&split, ends, width, batch);
        training.measure(20); // rayon's threads start, and each makes its own buffers
        let measured = training.measure(100);
        let kept = training.kept();
        let live: Vec<usize> = measured.iter().map(|step| step.2).collect();
        let (least, most) = (*live.iter().min().unwrap(), *live.iter().max().unwrap());
        let bytes = measured.iter().map(|step| step.0).max().unwrap();
        let calls = measured.iter().map(|step| step.1).max().unwrap();
        let fewest = measured.iter().map(|step| step.0).min().unwrap();
        println!(
            "width {width}, batch {batch}: {kept} bytes kept; a step asks for {fewest} to {bytes} bytes in up to \
             {calls} calls; in use after a step {least} to {most}"
        );
        // A queue of rayon may be a block longer after one step than after another: that is all.
        assert!(most - least <= 16 * 1024, "the heap moves between {least} and {most} bytes");
        assert!((bytes as f64) <= MOST_SHARE * kept as f64, "{bytes} bytes a step beside {kept}");
        assert!(calls <= MOST_CALLS, "{calls} allocations a step");
    }

    let mut training = Training::new(&split, ends, 32, 8);
    training.measure(50);
    let Some(early) = resident() else {
        return eprintln!("SKIPPED: resident memory from step 50 to 500 (this system does not tell)");
    };
    training.measure(450);
    let late = resident().unwrap();
    println!("resident memory: {early} bytes at step 50, {late} at step 500");
    assert!(late <= early + (1 << 20), "resident memory grew from {early} to {late} bytes");
}
