//! Data: pictures and captions become a folder of shards once, and training reads them through the memory map.
//!
//! [`picture`] decodes and resizes, [`vocabulary`] turns text into tokens, [`writer`] writes [`shard`]s and the
//! [`index`], [`dataset`] reads them back, [`order`] says which row comes when, [`verify`] checks every byte. [`sound`]
//! does the same for clips of sound and frames.

pub mod ahead;
mod bpe;
pub mod captions;
pub mod coco;
pub mod codes;
pub mod dataset;
mod files;
pub mod index;
mod journal;
pub mod loader;
pub mod motion;
pub mod order;
pub mod picture;
pub mod scenes;
pub mod shard;
mod shard_writer;
mod shards;
pub mod sound;
mod store;
pub mod verify;
pub mod vocabulary;
pub mod writer;

pub use dataset::{Dataset, Split};
pub use order::{Order, Visits, choose};
pub use vocabulary::Vocabulary;

/// The hash of everything here that is written down: xxh3 with 64 bits, as 16 hexadecimal digits.
pub fn hash_hex(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes))
}
