//! TensorBoard event files: scalars, texts and pictures.
//!
//! A file is a row of TFRecords (length, masked CRC32C of the length, data, masked CRC32C of the data), each record an
//! `Event` message of `event.proto`. The few fields used are encoded by hand: that is less than a protobuf crate and
//! its build step would be. Every run, and every resume, starts a file of its own, so that a record torn by a kill
//! stays the last one of its file: TensorBoard reads all files of a folder, and drops a torn tail.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::error::At;

/// Writes one event file. Records reach the file at [`Events::flush`] and when the buffer is full.
#[derive(Debug)]
pub struct Events {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Events {
    /// Starts a new file in the folder, which is created where it is missing; older files stay as they are.
    pub fn create(folder: impl AsRef<Path>) -> Result<Events> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).at("create the folder", folder)?;
        let seconds = now() as u64;
        let process = std::process::id();
        let mut turn = 0;
        let (file, path) = loop {
            // TensorBoard takes every name with `tfevents` in it, and reads them in alphabetical order.
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.{turn:04}.{process}.evoke"));
            match File::create_new(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => turn += 1,
                file => break (file.at("create", &path)?, path),
            }
        };
        let mut events = Events { file: BufWriter::new(file), path };
        let mut version = Message::default();
        version.bytes(3, b"brain.Event:2");
        events.event(None, version)?;
        events.flush()?;
        Ok(events)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One point of a curve.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        // TensorBoard takes curves from tensors as well, but `simple_value` is what every reader knows.
        let mut summary = Message::default();
        summary.bytes(1, tag.as_bytes());
        summary.float(2, value);
        self.summary(step, summary)
    }

    /// A text, which TensorBoard shows as Markdown.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        const DT_STRING: u64 = 7;
        let mut plugin = Message::default();
        plugin.bytes(1, b"text");
        let mut metadata = Message::default();
        metadata.message(1, plugin);
        // A tensor of one string: its shape is [1].
        let mut length = Message::default();
        length.integer(1, 1);
        let mut shape = Message::default();
        shape.message(2, length);
        let mut tensor = Message::default();
        tensor.integer(1, DT_STRING);
        tensor.message(2, shape);
        tensor.bytes(8, text.as_bytes());

        let mut summary = Message::default();
        summary.bytes(1, tag.as_bytes());
        summary.message(8, tensor);
        summary.message(9, metadata);
        self.summary(step, summary)
    }

    /// A picture, as a PNG file's bytes of these sides.
    pub fn image(&mut self, tag: &str, step: u64, png: &[u8], height: usize, width: usize) -> Result<()> {
        const RGB: u64 = 3;
        let mut image = Message::default();
        image.integer(1, height as u64);
        image.integer(2, width as u64);
        image.integer(3, RGB);
        image.bytes(4, png);
        let mut summary = Message::default();
        summary.bytes(1, tag.as_bytes());
        summary.message(4, image);
        self.summary(step, summary)
    }

    /// Hands everything written so far to the operating system, where TensorBoard sees it.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().at("write to", &self.path)
    }

    fn summary(&mut self, step: u64, value: Message) -> Result<()> {
        let mut summary = Message::default();
        summary.message(1, value);
        let mut event = Message::default();
        event.message(5, summary);
        self.event(Some(step), event)
    }

    fn event(&mut self, step: Option<u64>, rest: Message) -> Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        if let Some(step) = step {
            event.integer(2, step);
        }
        event.0.extend(rest.0);
        self.file.write_all(&record(&event.0)).at("write to", &self.path)
    }
}

/// Seconds since 1970, the unit of `Event.wall_time`.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A protobuf message under construction: its encoded fields.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const LENGTH: u64 = 2;
    const FIXED32: u64 = 5;

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | Self::VARINT);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | Self::FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | Self::FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | Self::LENGTH);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, value: Message) {
        self.bytes(field, &value.0);
    }
}

/// A TFRecord around the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// A checksum of data that holds checksums is weak; the format rotates and shifts it.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli): polynomial 0x1edc6f41, here with its bits reversed.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc: u32, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One field: its number, and its value as a number (varint and fixed) or as bytes.
    #[derive(Debug, Clone, PartialEq)]
    enum Field {
        Number(u64, u64),
        Bytes(u64, Vec<u8>),
    }

    /// Reads a message with no help from the writer.
    fn fields(mut data: &[u8]) -> Vec<Field> {
        fn varint(data: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let (&byte, rest) = data.split_first().unwrap();
                *data = rest;
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        fn fixed(data: &mut &[u8], size: usize) -> u64 {
            let (value, rest) = data.split_at(size);
            *data = rest;
            value.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
        }
        let mut found = Vec::new();
        while !data.is_empty() {
            let key = varint(&mut data);
            found.push(match key & 7 {
                0 => Field::Number(key >> 3, varint(&mut data)),
                1 => Field::Number(key >> 3, fixed(&mut data, 8)),
                5 => Field::Number(key >> 3, fixed(&mut data, 4)),
                2 => {
                    let length = varint(&mut data) as usize;
                    let (value, rest) = data.split_at(length);
                    data = rest;
                    Field::Bytes(key >> 3, value.to_vec())
                }
                kind => panic!("wire type {kind}"),
            });
        }
        found
    }

    fn bytes(message: &[Field], field: u64) -> Vec<u8> {
        let found = message.iter().find_map(|f| match f {
            Field::Bytes(number, value) if *number == field => Some(value.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no field {field} in {message:?}"))
    }

    fn number(message: &[Field], field: u64) -> u64 {
        let found = message.iter().find_map(|f| match f {
            Field::Number(number, value) if *number == field => Some(*value),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no field {field} in {message:?}"))
    }

    /// CRC-32C bit by bit, from the polynomial alone.
    fn slow_crc(data: &[u8]) -> u32 {
        let mut crc = !0u32;
        for bit in data.iter().flat_map(|&byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
            let carry = (crc & 1) ^ bit;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0x1edc_6f41_u32.reverse_bits();
            }
        }
        !crc
    }

    /// Whole records and whether a torn one follows.
    fn records(mut file: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut found = Vec::new();
        let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282ead8);
        loop {
            if file.is_empty() {
                return (found, false);
            }
            if file.len() < 12 {
                return (found, true);
            }
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(u32::from_le_bytes(file[8..12].try_into().unwrap()), mask(slow_crc(&file[..8])));
            if file.len() < 16 + length {
                return (found, true);
            }
            let data = &file[12..12 + length];
            let stored = u32::from_le_bytes(file[12 + length..16 + length].try_into().unwrap());
            assert_eq!(stored, mask(slow_crc(data)));
            found.push(data.to_vec());
            file = &file[16 + length..];
        }
    }

    #[test]
    fn crc32c_matches_the_published_vectors() {
        // RFC 3720, appendix B.4, and the common check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_reads_back_field_by_field() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path().join("new")).unwrap();
        events.scalar("loss/train", 300, -2.5).unwrap();
        events.text("samples", 7, &"a red circle\n".repeat(40)).unwrap();
        events.image("attention", 1 << 40, b"not really a png", 20, 300).unwrap();
        events.flush().unwrap();
        let (records, torn) = records(&std::fs::read(events.path()).unwrap());
        assert!(!torn && records.len() == 4);
        let event: Vec<Vec<Field>> = records.iter().map(|record| fields(record)).collect();

        assert_eq!(bytes(&event[0], 3), b"brain.Event:2");
        let seconds = f64::from_bits(number(&event[0], 1));
        assert!((seconds - now()).abs() < 60.0);

        let value = |event: &[Field]| fields(&bytes(&fields(&bytes(event, 5)), 1));
        assert_eq!(number(&event[1], 2), 300);
        assert_eq!(bytes(&value(&event[1]), 1), b"loss/train");
        assert_eq!(f32::from_bits(number(&value(&event[1]), 2) as u32), -2.5);

        let text = value(&event[2]);
        assert_eq!(bytes(&fields(&bytes(&fields(&bytes(&text, 9)), 1)), 1), b"text");
        let tensor = fields(&bytes(&text, 8));
        assert_eq!((number(&tensor, 1), bytes(&tensor, 8).len()), (7, 13 * 40));

        let image = fields(&bytes(&value(&event[3]), 4));
        assert_eq!((number(&image, 1), number(&image, 2), number(&image, 3)), (20, 300, 3));
        assert_eq!(bytes(&image, 4), b"not really a png");
        assert_eq!(number(&event[3], 2), 1 << 40);
    }

    #[test]
    fn a_resume_starts_a_file_of_its_own_and_leaves_the_torn_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Events::create(folder.path()).unwrap();
        first.scalar("loss", 1, 1.0).unwrap();
        first.flush().unwrap();
        let whole = std::fs::read(first.path()).unwrap();
        let cut = &whole[..whole.len() - 5];
        std::fs::write(first.path(), cut).unwrap();
        let mut second = Events::create(folder.path()).unwrap();
        second.scalar("loss", 1, 1.0).unwrap();
        second.flush().unwrap();
        assert!(second.path() > first.path());
        assert_eq!(std::fs::read(first.path()).unwrap(), cut);
        assert!(records(cut).1);
        let (found, torn) = records(&std::fs::read(second.path()).unwrap());
        assert!(found.len() == 2 && !torn);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let error = Events::create(file.join("events")).unwrap_err().to_string();
        assert!(error.contains("cannot create the folder") && !error.contains('\n'), "{error}");
    }
}
