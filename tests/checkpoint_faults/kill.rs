//! A process that saves without pause is killed at random instants; what it leaves must load.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use evoke::train::checkpoint;
use evoke::train::files::Disk;

use super::{loads, memory, save_with};

const CHILD: &str = "EVOKE_TEST_SAVES_TO";
const KILLS: u64 = 40;

/// Saves for ever, going on from what is there.
fn save_for_ever(run: &Path) -> ! {
    let found = checkpoint::latest(run, &mut |note| panic!("{note}")).unwrap();
    let mut step = found.map_or(0, |found| found.step());
    loop {
        step += 1;
        save_with(&Disk, run, step, 0.0, 2, step.is_multiple_of(3)).unwrap();
    }
}

#[test]
fn a_kill_at_any_instant_leaves_a_checkpoint_that_loads() {
    if let Ok(run) = std::env::var(CHILD) {
        save_for_ever(Path::new(&run));
    }
    let folder = memory().unwrap();
    save_with(&Disk, folder.path(), 1, 0.0, 2, false).unwrap();
    let mut reached = 1;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::a_kill_at_any_instant_leaves_a_checkpoint_that_loads", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The instants need no pattern, only variety within the millisecond that a save takes.
        std::thread::sleep(Duration::from_micros(20_000 + kill * 7_919 % 20_000));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "the child ended by itself: {output:?}");
        let step = loads(folder.path(), &[0.0]);
        assert!(step >= reached, "went back from {reached} to {step}");
        reached = step;
    }
    assert!(reached > KILLS, "only {reached} steps were saved: the kills hit nothing");
    // A child that panics prints to stderr and exits; the assertion on its status would have caught it.
    let last = checkpoint::latest(folder.path(), &mut |note| panic!("{note}")).unwrap().unwrap();
    assert_eq!(last.step(), reached);
}
