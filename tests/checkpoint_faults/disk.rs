//! A disk that is really full: a small file system in memory, where this user may mount one.

use std::path::Path;
use std::process::Command;

use evoke::train::checkpoint::{self, Group, Keep, Tensor, WEIGHTS};
use evoke::train::files::Disk;

/// A mounted file system, unmounted on drop.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn mount<'a>(path: &'a Path, size: &str) -> Option<Mounted<'a>> {
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(path).output().ok()?;
    output.status.success().then_some(Mounted(path))
}

#[test]
fn a_full_disk_keeps_the_previous_checkpoint_and_says_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = mount(folder.path(), "size=1m") else {
        eprintln!("skipped: a_full_disk_keeps_the_previous_checkpoint (mounting needs root)");
        return;
    };
    let save = |step: u64, count: usize| {
        let data = vec![step as f32; count];
        let tensor = Tensor { name: "w".into(), shape: vec![count], data: &data };
        let groups = [Group { name: WEIGHTS, tensors: vec![tensor] }];
        checkpoint::save(&Disk, disk.0, step, &groups, &step, Keep { last: 1, best: false })
    };
    let newest = || checkpoint::latest(disk.0, &mut |note| panic!("{note}")).unwrap().unwrap().step();
    save(1, 150_000).unwrap(); // 600 kB of 1 MB, so the next does not fit beside it
    let error = save(2, 150_000).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors") && error.contains("No space left"), "{error}");
    assert!(!error.contains('\n'));
    assert_eq!(newest(), 1);
    save(3, 50_000).unwrap(); // what the failed save took is free again
    assert_eq!(newest(), 3);
}
