//! Which checkpoints stay, and that equal ones are equal byte for byte.

use std::fs;

use evoke::train::checkpoint;
use evoke::train::files::Disk;

use super::{loads, memory, names, save, save_with};

#[test]
fn equal_contents_give_equal_bytes() {
    let (one, two) = (memory().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &two] {
        save(folder.path(), 7);
    }
    let read = |folder: &tempfile::TempDir, name: &str| {
        fs::read(checkpoint::folder(folder.path()).join("step-00000007").join(name)).unwrap()
    };
    for name in ["weights.safetensors", "moments.safetensors", "state.json"] {
        assert_eq!(read(&one, name), read(&two, name), "{name}");
    }
    save(one.path(), 7); // saving the same again changes nothing
    assert_eq!(names(one.path()), ["step-00000007"]);
}

#[test]
fn the_last_ones_and_the_best_are_kept() {
    let folder = memory().unwrap();
    let run = folder.path();
    for step in 1..=6 {
        assert_eq!(save_with(&Disk, run, step, 0.0, 2, step == 2).unwrap(), None);
    }
    assert_eq!(names(run), ["best.json", "step-00000002", "step-00000005", "step-00000006"]);
    assert_eq!(checkpoint::best_step(run), Some(2));
    let best = checkpoint::best_or_latest(run, &mut |note| panic!("{note}")).unwrap().unwrap();
    assert_eq!(best.step(), 2);
}

#[test]
fn retention_never_prefers_a_damaged_later_checkpoint_to_the_one_just_saved() {
    let folder = memory().unwrap();
    let run = folder.path();
    save(run, 1);
    save(run, 9);
    fs::write(checkpoint::folder(run).join("step-00000009/weights.safetensors"), b"rubbish").unwrap();
    for step in [2, 3] {
        assert_eq!(save_with(&Disk, run, step, 0.0, 1, false).unwrap(), None);
        assert_eq!(loads(run, &[0.0]), step);
    }
    save(run, 9);
    assert_eq!(loads(run, &[0.0]), 9);
    assert_eq!(names(run), ["step-00000003", "step-00000009"]);
}

#[test]
fn nothing_saved_yet_is_no_error() {
    let folder = memory().unwrap();
    assert!(checkpoint::latest(folder.path(), &mut |_| {}).unwrap().is_none());
}
