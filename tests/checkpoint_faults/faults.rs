//! Every create, write, sync, rename and removal of a save is made to fail in turn; the last checkpoint must load.

use evoke::train::checkpoint::{self, Checkpoint};

use super::faulty::{FAULTS, Fault, Faulty};
use super::{loads, memory, names, save, save_with};

#[test]
fn whatever_operation_fails_the_previous_checkpoint_loads_and_the_next_save_works() {
    let mut seen = [0; FAULTS.len()];
    for (index, fault) in FAULTS.into_iter().enumerate() {
        for at in 0.. {
            let folder = memory().unwrap();
            let run = folder.path();
            save(run, 1);
            save(run, 2);
            let files = Faulty::new(at, fault);
            let result = save_with(&files, run, 3, 0.0, 2, true);
            let what = format!("{fault:?} at operation {at}: {result:?}");
            files.settle();
            if !files.fired() {
                assert_eq!(result.unwrap(), None, "{what}");
                assert_eq!(names(run), ["best.json", "step-00000002", "step-00000003"]);
                seen[index] = at;
                break;
            }
            match result {
                Err(error) => {
                    let line = error.to_string();
                    assert!(!line.contains('\n') && line.contains("checkpoints"), "{what}");
                    assert!([2, 3].contains(&loads(run, &[0.0])), "{what}");
                }
                Ok(note) => {
                    let note = note.unwrap_or_else(|| panic!("a failure went unmentioned: {what}"));
                    assert!(!note.contains('\n') && note.contains("checkpoints"), "{what}");
                    assert_eq!(loads(run, &[0.0]), 3, "{what}");
                }
            }
            // Nothing half-written or half-deleted has a checkpoint's name, unless its renaming aside was lost.
            for name in names(run).iter().filter(|name| name.starts_with("step-")) {
                let found = Checkpoint::open(&checkpoint::folder(run).join(name));
                let sound = found.and_then(|found| found.verify());
                assert!(
                    sound.is_ok() || fault == Fault::PowerCutBeforeRenames,
                    "{name} after {what}: {sound:?}"
                );
            }
            save(run, 4);
            assert_eq!(loads(run, &[0.0]), 4, "{what}");
            let left = names(run);
            assert!(left.iter().all(|name| !name.contains("partial")), "{what}: {left:?}");
            assert!(left.len() <= 4, "{what}: {left:?}");
        }
    }
    // 25 or more operations each: folder, three files, syncs, rename, best.json, removal.
    assert!(seen.iter().all(|&operations| operations >= 25 && operations == seen[0]), "{seen:?}");
}

#[test]
fn a_step_saved_again_with_other_contents_never_leaves_a_moment_without_a_checkpoint() {
    for fault in FAULTS {
        for at in 0.. {
            let folder = memory().unwrap();
            let run = folder.path();
            save(run, 3); // the only checkpoint there is
            let files = Faulty::new(at, fault);
            let result = save_with(&files, run, 3, 5.0, 2, false);
            files.settle();
            assert_eq!(loads(run, &[0.0, 5.0]), 3, "{fault:?} at operation {at}: {result:?}");
            if !files.fired() {
                assert_eq!(loads(run, &[5.0]), 3);
                assert_eq!(names(run), ["step-00000003"]);
                break;
            }
            assert!(!matches!(result, Ok(None)), "{fault:?} at operation {at} went unmentioned");
            save(run, 4);
            assert_eq!(loads(run, &[0.0]), 4, "{fault:?} at operation {at}");
        }
    }
}

#[test]
fn the_first_save_of_a_run_may_fail_anywhere_too() {
    for fault in FAULTS {
        for at in 0.. {
            let folder = memory().unwrap();
            let run = folder.path().join("run");
            let files = Faulty::new(at, fault);
            let result = save_with(&files, &run, 1, 0.0, 1, true);
            files.settle();
            if !files.fired() {
                break;
            }
            // Nothing, or the whole of it; never an error about a damaged one.
            let found = checkpoint::latest(&run, &mut |note| panic!("{fault:?} at {at}: {note}"));
            let found = found.unwrap_or_else(|error| panic!("{fault:?} at {at}: {error}"));
            assert!(found.is_some() || result.is_err(), "{fault:?} at {at}: {result:?}");
            save(&run, 2);
            assert_eq!(loads(&run, &[0.0]), 2);
        }
    }
}
