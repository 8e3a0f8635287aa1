//! Pictures on disk with their captions: JSONL, TSV, or a folder whose pictures have a `.txt` beside them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::picture::{self, Preprocessing, Skipped};
use super::writer::{Row, Source};
use crate::error::At;
use crate::{Error, Result};

/// One picture file and its captions.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name in the annotations.
    pub key: String,
    pub path: PathBuf,
    pub captions: Vec<String>,
}

/// Picture files as rows: each is read, decoded and resized when its row is asked for.
pub struct PictureFiles {
    pub items: Vec<Item>,
    pub preprocessing: Preprocessing,
}

impl Source for PictureFiles {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn name(&self, i: usize) -> String {
        self.items[i].path.display().to_string()
    }

    fn row(&self, i: usize) -> Result<Row, Skipped> {
        let item = &self.items[i];
        if item.captions.is_empty() {
            return Err(Skipped::new("has no caption"));
        }
        let pixels = picture::load(&item.path, &self.preprocessing)?;
        Ok(Row { key: item.key.clone(), pixels, captions: item.captions.clone() })
    }
}

/// Splits items in two by a hash of their names, so that a picture stays on its side whatever is added to the list.
/// `share` (0..1) of them go to the second part.
pub fn hash_split(items: Vec<Item>, share: f64) -> (Vec<Item>, Vec<Item>) {
    // 2^64 as a float is exact; a share of 0 takes nothing and 1 takes everything.
    items.into_iter().partition(|item| xxh3_64(item.key.as_bytes()) as f64 / 2f64.powi(64) >= share)
}

/// Reads captions from `from`: a `.jsonl` file, a `.tsv` file, or a folder of pictures with texts beside them.
///
/// Relative paths in a file start at `images`, or where there is none at the file's own folder. Captions of one
/// path are gathered, in the order of their first mention.
///
/// # Errors
/// If it cannot be read, a line is not understood (the error names it), or there is no caption at all.
pub fn read(from: &Path, images: Option<&Path>) -> Result<Vec<Item>> {
    let items = if from.is_dir() {
        folder(from)?
    } else {
        let bytes = std::fs::read(from).at("read", from)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::failed(format!("{}: is not UTF-8 text; save it as UTF-8", from.display())))?;
        let base = images.unwrap_or(from.parent().unwrap_or(Path::new("")));
        match from.extension().and_then(|extension| extension.to_str()) {
            Some("tsv" | "txt") => gather(from, base, &text, tsv_line)?,
            Some("jsonl" | "json" | "ndjson") => gather(from, base, &text, json_line)?,
            _ => {
                return Err(Error::usage(format!(
                    "{}: captions are read from a .jsonl file, a .tsv file or a folder",
                    from.display()
                )));
            }
        }
    };
    if items.iter().all(|item| item.captions.is_empty()) {
        let hint = if from.is_dir() { "put a .txt beside each picture" } else { "it is empty" };
        return Err(Error::failed(format!("{}: holds no captions: {hint}", from.display())));
    }
    Ok(items)
}

/// A line of a caption file: a path and its captions.
type Parsed = std::result::Result<(String, Vec<String>), String>;

fn gather(file: &Path, base: &Path, text: &str, parse: fn(&str) -> Parsed) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let (key, captions) = parse(line)
            .map_err(|what| Error::failed(format!("{}: line {}: {what}", file.display(), number + 1)))?;
        let place = *places.entry(key).or_insert_with_key(|key| {
            items.push(Item { key: key.clone(), path: base.join(key), captions: Vec::new() });
            items.len() - 1
        });
        items[place].captions.extend(captions);
    }
    Ok(items)
}

fn tsv_line(line: &str) -> Parsed {
    let (path, caption) = line.split_once('\t').ok_or("has no tab between path and caption")?;
    Ok((path.trim().to_owned(), vec![caption.trim().to_owned()]))
}

fn json_line(line: &str) -> Parsed {
    #[derive(Deserialize)]
    struct Line {
        #[serde(alias = "image", alias = "file_name")]
        path: String,
        #[serde(alias = "text")]
        caption: Option<String>,
        #[serde(default)]
        captions: Vec<String>,
    }
    let line: Line = serde_json::from_str(line).map_err(|error| {
        format!(
            "{error}; expected {{\"path\": ..., \"caption\": ...}} or {{\"path\": ..., \"captions\": [...]}}"
        )
    })?;
    let captions: Vec<String> = line.caption.into_iter().chain(line.captions).collect();
    if captions.is_empty() {
        return Err("has no caption".into());
    }
    Ok((line.path, captions))
}

/// Extensions that a folder's pictures are found by; what they hold is told by their content.
const EXTENSIONS: [&str; 12] =
    ["jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"];

/// Every picture under `folder`, sorted by path, with the first line of the `.txt` of the same name.
fn folder(folder: &Path) -> Result<Vec<Item>> {
    let mut pictures = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).at("read the folder", &inner)? {
            let entry = entry.at("read the folder", &inner)?;
            let path = entry.path();
            let extension =
                path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
            // Links to folders are not followed: they can lead back.
            if entry.file_type().at("read", &path)?.is_dir() {
                folders.push(path);
            } else if EXTENSIONS.contains(&extension.as_str()) {
                pictures.push(path);
            }
        }
    }
    pictures.sort();
    let mut items = Vec::with_capacity(pictures.len());
    for path in pictures {
        let text = path.with_extension("txt");
        let captions = match std::fs::read(&text) {
            Ok(bytes) => first_line(&String::from_utf8_lossy(&bytes)).into_iter().collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).at("read", &text),
        };
        let key = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        items.push(Item { key, path, captions });
    }
    Ok(items)
}

/// The caption: the first line, unless it is already one of the translations (`de.utf8=...`) that may follow.
fn first_line(text: &str) -> Option<String> {
    let line = text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|line| !line.is_empty())?;
    let translation = line.split_once('=').is_some_and(|(name, _)| name.ends_with(".utf8"));
    (!translation).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn jsonl_knows_every_spelling_and_gathers_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "{\"path\":\"a.png\",\"caption\":\"one\"}\n\n{\"image\":\"b.png\",\"text\":\"two\"}\n\
                     {\"file_name\":\"a.png\",\"captions\":[\"three\",\"four\"],\"id\":7}\n";
        let items = read(&write(folder.path(), "c.jsonl", lines), Some(Path::new("/pictures"))).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].captions, ["one", "three", "four"]);
        assert_eq!((items[1].path.as_path(), items[1].key.as_str()), (Path::new("/pictures/b.png"), "b.png"));
    }

    #[test]
    fn tsv_paths_start_at_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            write(folder.path(), "c.tsv", "\u{feff}a.png\tone\twith tab\r\nb.png\ttwo\na.png\tthree\n");
        let items = read(&path, None).unwrap();
        assert_eq!(items[0].captions, ["one\twith tab", "three"]);
        assert_eq!(items[1].path, folder.path().join("b.png"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("c.tsv", "a.png\tone\nno tab\n"),
            ("c.jsonl", "{\"path\":\"a\",\"caption\":\"b\"}\n{\"path\":\"a\"}\n"),
            ("d.jsonl", "{\"path\":\"a\",\"caption\":\"b\"}\n{\"caption\":\"a\"}\n"),
        ] {
            let error = read(&write(folder.path(), name, text), None).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
        assert!(
            read(&write(folder.path(), "empty.jsonl", "\n"), None).unwrap_err().to_string().contains("empty")
        );
        assert!(read(&write(folder.path(), "c.csv", "a,b"), None).is_err());
    }

    #[test]
    fn folders_take_the_first_line_beside_each_picture() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "z/dog.png", "");
        write(folder.path(), "z/dog.txt", "A dog.\nde.utf8=Ein Hund.\n");
        write(folder.path(), "cat.JPG", "");
        write(folder.path(), "cat.txt", "de.utf8=Eine Katze.\n");
        write(folder.path(), "alone.gif", "");
        write(folder.path(), "notes.txt", "not a caption");
        let items = read(folder.path(), None).unwrap();
        let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys, ["alone.gif", "cat.JPG", "z/dog.png"]);
        assert_eq!(items[2].captions, ["A dog."]);
        assert!(items[0].captions.is_empty() && items[1].captions.is_empty());
    }

    #[test]
    fn a_hash_split_keeps_every_picture_on_its_side() {
        let item = |i: usize| Item { key: format!("{i}.jpg"), path: PathBuf::new(), captions: Vec::new() };
        let (train, val) = hash_split((0..2000).map(item).collect(), 0.1);
        assert!(val.len().abs_diff(200) < 60, "{}", val.len());
        let (_, more) = hash_split((0..4000).map(item).collect(), 0.1);
        assert!(val.iter().all(|item| more.contains(item)));
        assert_eq!(train.len() + val.len(), 2000);
        assert!(hash_split((0..100).map(item).collect(), 0.0).1.is_empty());
        assert!(hash_split((0..100).map(item).collect(), 1.0).0.is_empty());
    }
}
