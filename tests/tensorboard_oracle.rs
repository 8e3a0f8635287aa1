//! TensorBoard's own reader finds in an event folder exactly what was written, also after a kill.
//!
//! Needs Python with the `tensorboard` package: `EVOKE_PYTHON`, else `.tools/python/bin/python`.

use std::path::{Path, PathBuf};
use std::process::Command;

use evoke::look::Canvas;
use evoke::train::tensorboard::Events;

const NAME: &str = "tensorboard_reads_scalars_texts_and_images_across_a_torn_file";

fn python() -> PathBuf {
    match std::env::var_os("EVOKE_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin/python"),
    }
}

/// What the reader found, or `None` where Python or its package is missing.
fn read(folder: &Path) -> Option<serde_json::Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/read_events.py");
    let python = python();
    let output = match Command::new(&python).arg(script).arg(folder).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped {NAME}: {}: {error}", python.display());
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        println!("skipped {NAME}: {}", said.trim());
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).expect("the script prints JSON"))
}

#[test]
fn tensorboard_reads_scalars_texts_and_images_across_a_torn_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut canvas = Canvas::new(31, 17, [250, 240, 230]);
    canvas.fill(3, 4, 9, 5, [200, 20, 30]);
    let png = canvas.png().unwrap();

    let mut first = Events::create(folder.path()).unwrap();
    for step in 0..300 {
        first.scalar("loss/train", step, 1.0 / (1 + step) as f32).unwrap();
    }
    first.text("samples/val", 299, "a red circle above a **blue** square\n\nünï").unwrap();
    first.scalar("loss/train", 300, 0.5).unwrap();
    first.flush().unwrap();
    // A kill in the middle of the last record.
    let torn = std::fs::read(first.path()).unwrap();
    std::fs::write(first.path(), &torn[..torn.len() - 9]).unwrap();

    let mut resumed = Events::create(folder.path()).unwrap();
    resumed.scalar("loss/train", 300, 0.25).unwrap();
    resumed.image("attention", 300, &png, 17, 31).unwrap();
    resumed.flush().unwrap();

    let Some(found) = read(folder.path()) else { return };
    let losses = found["scalars"]["loss/train"].as_array().unwrap();
    assert_eq!(losses.len(), 301);
    for (step, point) in losses.iter().enumerate() {
        let expected = if step == 300 { 0.25 } else { 1.0 / (1 + step) as f32 };
        // The value is an f32 that went through decimal JSON: back in f32, it is exact.
        let value = point[1].as_f64().unwrap() as f32;
        assert_eq!((point[0].as_u64(), value), (Some(step as u64), expected));
    }
    assert_eq!(found["texts"]["samples/val"][0][1], "a red circle above a **blue** square\n\nünï");
    let image = &found["images"]["attention"][0];
    assert_eq!((image[0].as_u64(), image[1].as_u64(), image[2].as_u64()), (Some(300), Some(17), Some(31)));
    let hex: String = png.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(image[3], hex);
}
