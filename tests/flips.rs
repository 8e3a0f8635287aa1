//! Any byte of a data set flipped, any file cut: `verify` names file and column, and opening never crashes.

mod common;

use std::path::Path;

use evoke::data::picture::{Fit, Preprocessing, Skipped};
use evoke::data::vocabulary::Kind;
use evoke::data::writer::{Plan, Row, Source, Writer};
use evoke::data::{Dataset, Vocabulary, verify};
use safetensors::SafeTensors;

const HEIGHT: usize = 5;
const WIDTH: usize = 7;
const ROWS: usize = 9;

/// Small pictures of an odd size (5 x 7 x 3 bytes), so that columns need padding to be aligned.
struct Small;

impl Source for Small {
    fn len(&self) -> usize {
        ROWS
    }

    fn name(&self, i: usize) -> String {
        format!("row {i}")
    }

    fn row(&self, i: usize) -> Result<Row, Skipped> {
        let pixels = (0..HEIGHT * WIDTH * 3).map(|p| (p * 31 + i * 7) as u8).collect();
        let captions = (0..=i % 3).map(|c| format!("A picture, number {i}, caption {c}!")).collect();
        Ok(Row { key: format!("k{i}"), pixels, captions })
    }
}

/// Writes the data set and returns its files in memory.
fn make(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let texts = (0..ROWS).flat_map(|i| Small.row(i).unwrap().captions);
    let vocabulary = Vocabulary::train(texts, Kind::Words, 100, 1).unwrap();
    let plan = Plan {
        source: "captions".into(),
        identity: serde_json::json!({}),
        preprocessing: Preprocessing::new(HEIGHT, WIDTH, Fit::Crop),
        // Four pictures a shard: 4 + 4 + 1.
        shard_bytes: 4 * HEIGHT * WIDTH * 3,
    };
    let mut writer = Writer::create(folder, plan, vocabulary, false).unwrap();
    writer.split("train", &Small, &|_| ()).unwrap();
    writer.finish().unwrap();
    common::contents(folder)
}

/// Reads everything that training would read.
fn read_all(folder: &Path) -> evoke::Result<usize> {
    let data = Dataset::open(folder)?;
    let mut sum = 0;
    for name in data.split_names() {
        let split = data.split(name)?;
        for i in 0..split.len() {
            sum += split.pixels(i).iter().map(|&p| usize::from(p)).sum::<usize>() + split.key(i).len();
            for c in 0..split.caption_count(i) {
                let tokens = split.caption_tokens(i, c);
                assert!(tokens.iter().all(|&token| (token as usize) < data.tokenizer().size()));
                sum += tokens.len() + split.caption_text(i, c).len();
            }
        }
    }
    Ok(sum)
}

#[test]
fn rows_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let shards = ["train-00000.safetensors", "train-00001.safetensors", "train-00002.safetensors"];
    assert_eq!(names[..3], ["index.json", "prepare-report.json", "tokenizer.json"]);
    assert_eq!(names[3..], shards, "and no journal, and nothing partial");

    let data = Dataset::open(folder.path()).unwrap();
    assert_eq!((data.height(), data.width()), (HEIGHT, WIDTH));
    let train = data.split("train").unwrap();
    assert_eq!(train.len(), ROWS);
    for i in 0..ROWS {
        let row = Small.row(i).unwrap();
        assert_eq!((train.key(i), train.pixels(i)), (row.key.as_str(), &row.pixels[..]));
        assert_eq!(train.caption_count(i), row.captions.len());
        for (c, caption) in row.captions.iter().enumerate() {
            assert_eq!(train.caption_text(i, c), caption);
            assert_eq!(train.caption_tokens(i, c), data.tokenizer().encode(caption));
        }
    }
    let error = data.split("test").unwrap_err().to_string();
    assert!(error.contains("train"), "{error}");
    let report = verify::dataset(folder.path()).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

#[test]
fn a_shard_is_plain_safetensors_on_a_page() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in make(folder.path()).into_iter().filter(|(name, _)| name.ends_with(".safetensors")) {
        let (header, _) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!((header + 8) % 4096, 0);
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let rows = if name.contains("00002") { 1 } else { 4 };
        assert_eq!(tensors.tensor("pixels").unwrap().shape(), [rows, HEIGHT, WIDTH, 3]);
        assert_eq!(tensors.tensor("captions.offsets").unwrap().shape(), [rows + 1]);
        assert_eq!(tensors.tensor("sample_hash").unwrap().shape(), [rows]);
    }
}

/// Flips one byte of a file for the time of a check.
fn with_flip(folder: &Path, name: &str, bytes: &[u8], at: usize, mask: u8, check: impl FnOnce()) {
    let mut changed = bytes.to_vec();
    changed[at] ^= mask;
    std::fs::write(folder.join(name), changed).unwrap();
    check();
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn every_flipped_byte_is_noticed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let (name, bytes) = &files[3];
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let start = bytes.as_ptr() as usize;
    for at in 0..bytes.len() {
        with_flip(folder.path(), name, bytes, at, 1 << (at % 8), || {
            let owner = tensors.iter().find_map(|(column, view)| {
                let begin = view.data().as_ptr() as usize - start;
                (begin..begin + view.data().len()).contains(&at).then(|| column.to_owned())
            });
            let column = owner.unwrap_or("header".into());
            let faults = verify::dataset(folder.path()).unwrap().faults;
            assert_eq!(faults.len(), 1, "byte {at} of {column}: {faults:?}");
            assert_eq!((&faults[0].file, &faults[0].column), (name, &column), "byte {at}");
            // Where the columns still stand, the row is named: all but the header, offsets and padding.
            if !["header", "padding"].contains(&column.as_str()) && !column.ends_with(".offsets") {
                assert_eq!(faults[0].rows.len(), 1, "byte {at} of {column}");
            }
            // Either refused or read without a panic or a fault.
            let _ = read_all(folder.path());
        });
    }
    assert!(verify::dataset(folder.path()).unwrap().faults.is_empty());
}

#[test]
fn every_flipped_byte_of_index_and_tokenizer_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    for name in ["index.json", "tokenizer.json"] {
        let bytes = &files.iter().find(|(known, _)| known == name).unwrap().1;
        for at in 0..bytes.len() {
            with_flip(folder.path(), name, bytes, at, 1 << (at % 8), || {
                let faults = verify::dataset(folder.path()).unwrap().faults;
                assert!(faults.iter().any(|fault| fault.file == name), "byte {at} of {name}: {faults:?}");
                assert!(Dataset::open(folder.path()).is_err(), "byte {at} of {name}");
            });
        }
    }
}

#[test]
fn every_truncation_is_noticed_and_never_a_bus_error() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    for (name, bytes) in files.iter().filter(|(name, _)| name != "prepare-report.json") {
        let path = folder.path().join(name);
        // Every length near the ends and around the header, every 13th between.
        let lengths = (0..bytes.len())
            .filter(|n| n % 13 == 0 || *n < 64 || (4090..4100).contains(n) || n + 64 > bytes.len());
        for length in lengths {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let faults = verify::dataset(folder.path()).unwrap().faults;
            assert!(faults.iter().any(|fault| fault.file == *name), "{name} cut at {length}: {faults:?}");
            assert!(read_all(folder.path()).is_err(), "{name} cut at {length}");
        }
        // Longer is wrong as well.
        std::fs::write(&path, [&bytes[..], b" "].concat()).unwrap();
        assert!(!verify::dataset(folder.path()).unwrap().faults.is_empty());
        assert!(read_all(folder.path()).is_err(), "{name} with a byte more");
        std::fs::remove_file(&path).unwrap();
        assert!(read_all(folder.path()).is_err(), "{name} missing");
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_shard_made_for_another_tokenizer_is_refused() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(folder.path());
    let vocabulary = Vocabulary::train(["other words"], Kind::Words, 100, 1).unwrap();
    vocabulary.save(&other.path().join("tokenizer.json")).unwrap();
    std::fs::copy(other.path().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let error = Dataset::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn threads_do_not_change_the_bytes() {
    let make_with = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| make(folder.path()))
    };
    assert!(make_with(1) == make_with(5));
}
