//! Any flipped byte, any cut and any missing file is noticed, and named.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use evoke::train::checkpoint;

use super::{loads, memory, save};

/// The notes of loading, after `change` was done to one file of the newest of two checkpoints.
///
/// The file is changed in place and mended again: emptying and rewriting it would sync it each time.
fn notes_after(run: &Path, name: &str, change: impl Fn(&File)) -> Vec<String> {
    let path = checkpoint::folder(run).join("step-00000002").join(name);
    let bytes = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    change(&file);
    let mut notes = Vec::new();
    let found = checkpoint::latest(run, &mut |note| notes.push(note.to_string())).unwrap().unwrap();
    (&file).seek(SeekFrom::Start(0)).unwrap();
    (&file).write_all(&bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    assert_eq!(found.step(), 1, "{name}: a damaged checkpoint was taken");
    notes
}

fn put(mut file: &File, at: usize, byte: u8) {
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

#[test]
fn any_flipped_byte_and_any_cut_is_noticed_and_named() {
    let folder = memory().unwrap();
    let run = folder.path();
    save(run, 1);
    save(run, 2);
    assert_eq!(loads(run, &[0.0]), 2);
    for name in ["weights.safetensors", "moments.safetensors", "state.json"] {
        let bytes = fs::read(checkpoint::folder(run).join("step-00000002").join(name)).unwrap();
        let header = match name {
            "state.json" => bytes.len(),
            _ => 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize,
        };
        // The part of the file that byte `at` belongs to.
        let part = |at: usize| match (name, at) {
            ("state.json", _) => "state.json",
            (_, at) if at < header => "header",
            ("weights.safetensors", at) if at < header + 80 => "tensor embed",
            ("weights.safetensors", _) => "tensor out",
            _ => "tensor embed.first",
        };
        for (at, byte) in bytes.iter().enumerate() {
            for notes in [
                notes_after(run, name, |file| put(file, at, byte ^ (1 << (at % 8)))),
                notes_after(run, name, |file| file.set_len(at as u64).unwrap()),
            ] {
                assert_eq!(notes.len(), 1);
                let (note, part) = (&notes[0], part(at));
                assert!(note.contains(name) && note.contains(part), "{name} byte {at}, in {part}: {note}");
                assert!(!note.contains('\n'));
            }
        }
        let notes = notes_after(run, name, |file| put(file, bytes.len(), 0));
        assert!(notes[0].contains(name), "{notes:?}");
    }
    let weights = checkpoint::folder(run).join("step-00000002/weights.safetensors");
    fs::remove_file(&weights).unwrap();
    assert_eq!(loads(run, &[0.0]), 1, "a missing file");
    fs::remove_file(checkpoint::folder(run).join("step-00000001/state.json")).unwrap();
    let error = checkpoint::latest(run, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("no checkpoint") && error.contains("weights.safetensors"), "{error}");
}
