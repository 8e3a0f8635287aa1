//! Media files on disk as clips: films through ffmpeg, WAV files directly.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::cutter::{Clip, Frames, Rules, Samples, Short, cut, held_out};
use super::ffmpeg::{Decoder, Ffmpeg};
use super::probe::Probe;
use super::record::{FileRecord, Why};
use super::stream::Recordings;
use super::wav::Wav;
use crate::data::hash_hex;
use crate::error::At;
use crate::{Error, Result};

/// Extensions by which a folder's films are found; what they hold is told by their content.
pub const FILMS: [&str; 18] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "m2ts", "mts", "wmv", "flv", "ogv",
    "3gp", "mxf", "vob", "mjpeg",
];
/// The same for sound.
pub const SOUNDS: [&str; 11] =
    ["wav", "wave", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aac", "aiff", "aif"];

/// The splits by name.
pub const TRAIN: &str = "train";
pub const VAL: &str = "val";

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name in the set: from the folder that was given, or its file name alone.
    pub name: String,
    pub path: PathBuf,
    /// The split of all its clips, where a list decides that; else a part of them is held out.
    pub split: Option<String>,
}

/// Every file that the arguments name, and of folders every file with one of the extensions, sorted by name.
///
/// # Errors
/// If one is missing, or there is no file at all.
pub fn list(arguments: &[PathBuf], extensions: &[&str]) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            std::fs::metadata(argument).at("read", argument)?;
            let name = argument.file_name().unwrap_or_default().to_string_lossy().into_owned();
            items.push(Item { name, path: argument.clone(), split: None });
            continue;
        }
        let mut folders = vec![argument.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).at("read the folder", &folder)? {
                let entry = entry.at("read the folder", &folder)?;
                let path = entry.path();
                let extension = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
                // Links to folders are not followed: they can lead back.
                if entry.file_type().at("read", &path)?.is_dir() {
                    folders.push(path);
                } else if extension.is_some_and(|end| extensions.contains(&end.as_str())) {
                    // The same on every system: lists of splits name files with `/`.
                    let inner = path.strip_prefix(argument).unwrap_or(&path);
                    let name = inner.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
                    items.push(Item { name, path, split: None });
                }
            }
        }
    }
    if items.is_empty() {
        let places: Vec<String> = arguments.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::failed(format!(
            "{}: no file with one of the endings {}; name the files themselves if theirs are others",
            places.join(", "),
            extensions.join(", ")
        )));
    }
    // Two folders can hold the same name; then the whole path is the name.
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> =
        items.iter().filter(|item| !seen.insert(&item.name)).map(|item| item.name.clone()).collect();
    for item in items.iter_mut().filter(|item| twice.contains(&item.name)) {
        item.name = item.path.to_string_lossy().into_owned();
    }
    items.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    items.dedup_by(|a, b| a.path == b.path);
    Ok(items)
}

/// What stands for the files in the journal: their names, splits and lengths.
pub fn identity(items: &[Item]) -> String {
    let line = |item: &Item| {
        let bytes = std::fs::metadata(&item.path).map_or(0, |file| file.len());
        format!("{}\t{:?}\t{bytes}\n", item.name, item.split)
    };
    hash_hex(items.iter().map(line).collect::<String>().as_bytes())
}

/// Files as clips.
pub struct Files {
    pub items: Vec<Item>,
    pub rules: Rules,
    /// For films, and for sound that is no WAV file of the right rate.
    pub ffmpeg: Option<Ffmpeg>,
    /// What ffmpeg says of each file, where it was asked before.
    pub probes: Option<Vec<std::result::Result<Probe, String>>>,
}

impl Recordings for Files {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn splits(&self) -> Vec<String> {
        let mut splits: BTreeSet<String> = self.items.iter().filter_map(|item| item.split.clone()).collect();
        splits.insert(TRAIN.into());
        if self.rules.val_share > 0.0 && self.items.iter().any(|item| item.split.is_none()) {
            splits.insert(VAL.into());
        }
        splits.into_iter().collect()
    }

    fn expected(&self) -> usize {
        let Some(probes) = &self.probes else { return self.items.len() };
        let seconds = probes.iter().filter_map(|probe| probe.as_ref().ok()?.seconds);
        seconds.map(|seconds| self.rules.clips(seconds)).sum()
    }

    fn record(&self, file: usize, put: &mut dyn FnMut(&str, Clip) -> ControlFlow<()>) -> FileRecord {
        let mut record = FileRecord::new(&self.items[file].name);
        if let Err(fault) = self.cut_file(file, &mut record, put) {
            record.fault(fault);
        }
        record
    }
}

type Put<'a> = dyn FnMut(&str, Clip) -> ControlFlow<()> + 'a;

impl Files {
    fn cut_file(
        &self,
        file: usize,
        record: &mut FileRecord,
        put: &mut Put,
    ) -> std::result::Result<(), String> {
        let item = &self.items[file];
        if !self.rules.format.pictures() {
            let wav = is_wav(&item.path).then(|| Wav::open(&item.path));
            match wav {
                Some(Ok(mut wav)) if wav.rate() == self.rules.format.sample_rate => {
                    let seconds = wav.left() as f64 / f64::from(wav.rate());
                    let _ = self.cut_streams(item, Some(seconds), None, Some(&mut wav), record, put);
                    return Ok(());
                }
                Some(Ok(wav)) if self.ffmpeg.is_none() => {
                    return Err(format!(
                        "has {} samples a second, not {}; install ffmpeg to resample it",
                        wav.rate(),
                        self.rules.format.sample_rate
                    ));
                }
                // ffmpeg reads some that are not read here; of an empty one it would say less.
                Some(Err(fault)) if self.ffmpeg.is_none() || fault == Wav::EMPTY => return Err(fault),
                _ => {}
            }
        }
        let Some(ffmpeg) = &self.ffmpeg else {
            return Err("is no WAV file; install ffmpeg to read it".into());
        };
        let probe = match &self.probes {
            Some(probes) => probes[file].clone()?,
            None => ffmpeg.probe(&item.path)?,
        };
        self.cut_media(ffmpeg, item, &probe, record, put)
    }

    /// Cuts a file that ffmpeg decodes: one process for the picture, one for the sound, both read as they come.
    fn cut_media(
        &self,
        ffmpeg: &Ffmpeg,
        item: &Item,
        probe: &Probe,
        record: &mut FileRecord,
        put: &mut Put,
    ) -> std::result::Result<(), String> {
        let format = &self.rules.format;
        let wanted = [("picture", format.pictures(), probe.picture), ("sound", true, probe.sound)];
        let missing: Vec<&str> =
            wanted.iter().filter(|(_, wanted, there)| *wanted && !there).map(|(what, ..)| *what).collect();
        if !missing.is_empty() {
            record.fault(format!("has no {}", missing.join(" and no ")));
            let nothing = wanted.iter().all(|(_, wanted, there)| !(*wanted && *there));
            if self.rules.short == Short::Drop || nothing {
                record.drop(Why::Short, probe.seconds.map_or(0, |seconds| self.rules.clips(seconds)));
                return Ok(());
            }
        }
        let failed = |error: std::io::Error| format!("ffmpeg cannot run: {error}");
        let mut pictures = match format.pictures() && probe.picture {
            true => Some(ffmpeg.frames(&item.path, probe, format).map_err(failed)?),
            false => None,
        };
        let mut sound = match probe.sound {
            true => Some(ffmpeg.sound(&item.path, probe, format.sample_rate).map_err(failed)?),
            false => None,
        };
        let ended = self.cut_streams(
            item,
            probe.seconds,
            pictures.as_mut().map(|decoder| decoder as &mut dyn Frames),
            sound.as_mut().map(|decoder| decoder as &mut dyn Samples),
            record,
            put,
        );
        if ended.is_continue() {
            for (what, decoder) in [("picture", pictures), ("sound", sound)] {
                let complaints = decoder.map(Decoder::finish).unwrap_or_default();
                if complaints.lines > 0 {
                    record
                        .fault(format!("{what}: {} errors (first: {})", complaints.lines, complaints.first));
                }
            }
        }
        Ok(())
    }

    fn cut_streams(
        &self,
        item: &Item,
        seconds: Option<f64>,
        pictures: Option<&mut dyn Frames>,
        sound: Option<&mut dyn Samples>,
        record: &mut FileRecord,
        put: &mut Put,
    ) -> ControlFlow<()> {
        // A clip that is padded is one, too.
        let clips = seconds.map(|seconds| self.rules.clips(seconds).max(1));
        let held = held_out(&item.name, clips, self.rules.val_share);
        let mut put = |clip: Clip| {
            let drawn = if held.contains(&clip.number) { VAL } else { TRAIN };
            put(item.split.as_deref().unwrap_or(drawn), clip)
        };
        cut(&self.rules, &item.name, pictures, sound, record, &mut put)
    }
}

/// By its ending: what a file without one holds is ffmpeg's to say.
fn is_wav(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("wav") || end.eq_ignore_ascii_case("wave"))
}

impl Frames for Decoder {
    fn read(&mut self, into: &mut [u8]) -> std::result::Result<usize, String> {
        Decoder::read(self, into).map_err(|error| format!("the picture breaks off: {error}"))
    }
}

impl Samples for Decoder {
    fn read(&mut self, into: &mut Vec<f32>, count: usize) -> std::result::Result<(), String> {
        let mut bytes = vec![0; count * size_of::<f32>()];
        let there =
            Decoder::read(self, &mut bytes).map_err(|error| format!("the sound breaks off: {error}"))?;
        let samples = bytes[..there].chunks_exact(size_of::<f32>());
        into.extend(samples.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
        Ok(())
    }
}

/// Reads the lists of Speech Commands (`validation_list.txt`, `testing_list.txt`) where the folder has them, and sets
/// every file's split; false where there is none.
///
/// # Errors
/// If a list cannot be read.
pub fn read_lists(folder: &Path, items: &mut [Item]) -> Result<bool> {
    let mut found = false;
    for (file, split) in [("validation_list.txt", VAL), ("testing_list.txt", "test")] {
        let path = folder.join(file);
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let names: BTreeSet<&str> = text.lines().map(|line| line.trim().trim_start_matches("./")).collect();
        for item in items.iter_mut().filter(|item| names.contains(item.name.as_str())) {
            item.split = Some(split.into());
        }
        found = true;
    }
    if found {
        items.iter_mut().filter(|item| item.split.is_none()).for_each(|item| item.split = Some(TRAIN.into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_lists_and_names_that_occur_twice() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/one.wav", "b/one.wav", "b/two.WAV", "b/notes.txt", "c.mp4"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |arguments: &[PathBuf]| -> Vec<String> {
            list(arguments, &SOUNDS).unwrap().into_iter().map(|item| item.name).collect()
        };
        let whole = folder.path().to_path_buf();
        assert_eq!(names(std::slice::from_ref(&whole)), ["a/one.wav", "b/one.wav", "b/two.WAV"]);
        let both = names(&[whole.join("a"), whole.join("b")]);
        assert_eq!(both.iter().filter(|name| name.ends_with("one.wav") && name.len() > 20).count(), 2);
        assert!(list(&[whole.join("none")], &SOUNDS).is_err());
        let error = list(&[whole.join("a")], &FILMS).unwrap_err().to_string();
        assert!(error.contains("mp4"), "{error}");

        let mut items = list(std::slice::from_ref(&whole), &SOUNDS).unwrap();
        assert!(!read_lists(&whole, &mut items).unwrap());
        std::fs::write(whole.join("validation_list.txt"), "b/one.wav\nb/gone.wav\n").unwrap();
        assert!(read_lists(&whole, &mut items).unwrap());
        let splits: Vec<&str> = items.iter().filter_map(|item| item.split.as_deref()).collect();
        assert_eq!(splits, [TRAIN, VAL, TRAIN]);
    }
}
