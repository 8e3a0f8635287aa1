//! COCO's caption annotations: `images` with file names, `annotations` with captions.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::captions::Item;
use crate::error::At;
use crate::{Error, Result};

#[derive(Deserialize)]
struct Annotations {
    images: Vec<Picture>,
    annotations: Vec<Caption>,
}

#[derive(Deserialize)]
struct Picture {
    id: i64,
    file_name: String,
}

#[derive(Deserialize)]
struct Caption {
    image_id: i64,
    caption: String,
}

/// What an annotation file says.
#[derive(Debug)]
pub struct Read {
    /// Pictures in the order of `images`, their captions in the order of `annotations`.
    pub items: Vec<Item>,
    /// Captions whose `image_id` is not among the images.
    pub orphans: usize,
}

/// Reads COCO's `captions_*.json`; the pictures are looked for in `images`.
///
/// # Errors
/// If the file cannot be read, is not in COCO's layout, or holds no picture or no caption.
pub fn read(file: &Path, images: &Path) -> Result<Read> {
    if !images.is_dir() {
        return Err(Error::failed(format!(
            "{}: no such folder of pictures; check --images",
            images.display()
        )));
    }
    let bytes = std::fs::read(file).at("read", file)?;
    let wrong = |what: String| {
        Error::failed(format!(
            "{}: {what}; expected COCO's captions_*.json, with `images` (id, file_name) and `annotations` \
             (image_id, caption)",
            file.display()
        ))
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(wrong("is empty".into()));
    }
    let read: Annotations = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if read.images.is_empty() || read.annotations.is_empty() {
        let what = format!("holds {} pictures and {} captions", read.images.len(), read.annotations.len());
        return Err(wrong(what));
    }
    let mut items: Vec<Item> = Vec::with_capacity(read.images.len());
    let mut places: HashMap<i64, usize> = HashMap::with_capacity(read.images.len());
    for picture in read.images {
        // A picture that is listed twice is one picture.
        places.entry(picture.id).or_insert_with(|| {
            let path = images.join(&picture.file_name);
            items.push(Item { key: picture.file_name, path, captions: Vec::new() });
            items.len() - 1
        });
    }
    let mut orphans = 0;
    for caption in read.annotations {
        match places.get(&caption.image_id) {
            Some(&place) => items[place].captions.push(caption.caption),
            None => orphans += 1,
        }
    }
    Ok(Read { items, orphans })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_find_their_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        let text = r#"{"info":{}, "images":[{"id":9,"file_name":"b.jpg","width":3},{"id":2,"file_name":"a.jpg"},
            {"id":9,"file_name":"b.jpg"}], "annotations":[{"id":1,"image_id":2,"caption":"one\n"},
            {"id":2,"image_id":9,"caption":"two"},{"id":3,"image_id":2,"caption":"three"},
            {"id":4,"image_id":5,"caption":"nobody's"}]}"#;
        std::fs::write(&file, text).unwrap();
        let read = read(&file, folder.path()).unwrap();
        assert_eq!(read.orphans, 1);
        assert_eq!(read.items.len(), 2);
        assert_eq!(
            (read.items[0].key.as_str(), &read.items[0].captions[..]),
            ("b.jpg", &["two".to_owned()][..])
        );
        assert_eq!(read.items[1].captions, ["one\n", "three"]);
    }

    #[test]
    fn other_files_are_refused_with_the_layout() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        for text in ["", " \n", "{}", "[]", "{\"images\":[],\"annotations\":[]}", "{\"images\":[{\"id\":1"] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file, folder.path()).unwrap_err().to_string();
            assert!(error.contains("captions_*.json"), "{text:?}: {error}");
        }
        assert!(read(&file, &folder.path().join("nowhere")).unwrap_err().to_string().contains("--images"));
    }
}
