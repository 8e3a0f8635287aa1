//! Sets come back as they were written, are checked byte by byte, and are not taken for the other kind.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::data::picture::{Fit, Preprocessing, Skipped};
use crate::data::vocabulary::{Kind, Vocabulary};
use crate::data::writer::{Plan, Row, Source, Writer};
use crate::data::{Dataset, verify};

const CLIPS: usize = 7;

fn format(encoding: Encoding, frames: usize) -> Format {
    let (height, width) = if frames > 0 { (3, 5) } else { (0, 0) };
    let (sample_rate, samples, frame_rate) = (16_000, 11, (30_000, 1001));
    Format { sample_rate, samples, encoding, frames, height, width, frame_rate, gain: false }
}

/// Small clips of odd sizes, so that columns need padding; the third cannot be made.
struct Small(Format);

impl SoundSource for Small {
    fn len(&self) -> usize {
        CLIPS
    }

    fn name(&self, i: usize) -> String {
        format!("clip {i}")
    }

    fn row(&self, i: usize) -> Result<ClipRow, Skipped> {
        if i == 2 {
            return Err(Skipped::new("is the third"));
        }
        let strike = |k: usize| Strike { seconds: k as f32, hertz: 440.0 + i as f32, loudness: 0.5 };
        Ok(ClipRow {
            key: format!("k{i}"),
            frames: (0..self.0.frame_bytes()).map(|p| (p * 31 + i) as u8).collect(),
            samples: (0..self.0.sample_bytes()).map(|p| (p * 7 + i) as u8).collect(),
            strikes: (0..i % 3).map(strike).collect(),
        })
    }
}

fn write(folder: &Path, format: &Format) {
    let shard_bytes = 2 * (format.frame_bytes() + format.sample_bytes());
    let plan =
        SoundPlan { source: "scenes".into(), identity: json!({}), format: format.clone(), shard_bytes };
    let mut writer = SoundWriter::create(folder, plan, false).unwrap();
    writer.split("train", &Small(format.clone()), &|_| ()).unwrap();
    let report = writer.finish().unwrap();
    assert_eq!(report.splits["train"].skipped[0].reason, "is the third");
}

#[test]
fn clips_come_back_as_they_went_in() {
    for encoding in [Encoding::MuLaw8, Encoding::Linear8, Encoding::MuLaw16] {
        for frames in [0, 2] {
            let folder = tempfile::tempdir().unwrap();
            let format = format(encoding, frames);
            write(folder.path(), &format);
            let data = SoundSet::open(folder.path()).unwrap();
            assert_eq!(data.format(), &format);
            let split = data.split("train").unwrap();
            assert_eq!(split.len(), CLIPS - 1);
            let made: Vec<ClipRow> = (0..CLIPS).filter_map(|i| Small(format.clone()).row(i).ok()).collect();
            for (i, row) in made.iter().enumerate() {
                assert_eq!((split.key(i), split.frames(i)), (row.key.as_str(), &row.frames[..]));
                assert_eq!((split.samples(i), split.strikes(i)), (&row.samples[..], &row.strikes[..]));
            }
            assert!(verify::dataset(folder.path()).unwrap().faults.is_empty());
            assert!(data.split("val").unwrap_err().to_string().contains("only train"));
        }
    }
}

#[test]
fn a_shard_of_clips_is_plain_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format(Encoding::MuLaw16, 2));
    let bytes = std::fs::read(folder.path().join("train-00000.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape =
        |name: &str| (tensors.tensor(name).unwrap().dtype(), tensors.tensor(name).unwrap().shape().to_vec());
    use safetensors::Dtype::{F32, U8, U16, U64};
    assert_eq!(shape("frames"), (U8, vec![2, 2, 3, 5, 3]));
    assert_eq!(shape("samples"), (U16, vec![2, 11]));
    assert_eq!(shape("strikes"), (F32, vec![1, 3]));
    assert_eq!(shape("strikes.offsets"), (U64, vec![3]));
}

#[test]
fn every_flipped_byte_of_a_sound_set_is_noticed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format(Encoding::MuLaw8, 2));
    for name in ["index.json", "train-00000.safetensors"] {
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).filter(|at| *at < 500 || *at >= 4000 || name == "index.json") {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, changed).unwrap();
            let faults = verify::dataset(folder.path()).unwrap().faults;
            assert!(faults.iter().any(|fault| fault.file == name), "byte {at} of {name}: {faults:?}");
            assert!(name != "index.json" || SoundSet::open(folder.path()).is_err(), "byte {at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(SoundSet::open(folder.path()).is_err());
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(verify::dataset(folder.path()).unwrap().faults.is_empty());
}

/// One grey picture.
struct Grey;

impl Source for Grey {
    fn len(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        "grey".into()
    }

    fn row(&self, _: usize) -> Result<Row, Skipped> {
        Ok(Row { key: "grey".into(), pixels: vec![9; 48], captions: vec!["grey".into()] })
    }
}

#[test]
fn the_other_kind_of_data_set_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, pictures) = (folder.path().join("sound"), folder.path().join("pictures"));
    write(&sound, &format(Encoding::MuLaw8, 0));
    let vocabulary = Vocabulary::train(["grey"], Kind::Words, 10, 1).unwrap();
    let preprocessing = Preprocessing::new(4, 4, Fit::Crop);
    let (source, identity) = ("captions".into(), json!({}));
    let plan = Plan { source, identity, preprocessing, shard_bytes: 100 };
    let mut writer = Writer::create(&pictures, plan, vocabulary, false).unwrap();
    writer.split("train", &Grey, &|_| ()).unwrap();
    writer.finish().unwrap();

    let error = Dataset::open(&sound).unwrap_err().to_string();
    assert!(error.contains("holds sound, and this needs pictures with captions"), "{error}");
    let error = SoundSet::open(&pictures).unwrap_err().to_string();
    assert!(error.contains("holds pictures with captions, and this needs sound"), "{error}");
    assert!(error.contains("evoke prepare video") && !error.contains('\n'), "{error}");
}

#[test]
fn what_is_no_format_is_refused() {
    let good = format(Encoding::MuLaw8, 2);
    for wrong in [
        Format { sample_rate: 0, ..good.clone() },
        Format { samples: 0, ..good.clone() },
        Format { frame_rate: (3, 0), ..good.clone() },
        Format { width: 0, ..good.clone() },
        Format { frames: 0, ..good.clone() },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
    assert!(good.check().is_ok());
}
