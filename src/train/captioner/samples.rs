//! What is kept of an evaluation: what the model says of a few pictures, and what it looks at while it says it.

use super::evaluate::Described;
use crate::Result;
use crate::data::{Split, Vocabulary};
use crate::decode::{self, Method};
use crate::models::captioner::Session;
use crate::train::record::Record;

/// Captions kept of each evaluation, and pictures of attention.
const CAPTIONS: usize = 8;
const PICTURES: usize = 2;

/// # Errors
/// If a file cannot be written.
pub(super) fn keep(
    record: &mut Record,
    step: u64,
    session: &mut Session,
    vocabulary: &Vocabulary,
    split: &Split,
    described: &[Described],
) -> Result<()> {
    let (mut text, mut table) =
        (String::new(), String::from("| picture | caption | a reference |\n|---|---|---|\n"));
    for d in described.iter().take(CAPTIONS) {
        let (key, reference) = (split.key(d.sample), split.caption_text(d.sample, 0));
        text.push_str(&format!("{key}\t{}\n", d.caption));
        table.push_str(&format!("| {key} | {} | {reference} |\n", d.caption));
    }
    record.sample(step, ".txt", text.as_bytes())?;
    record.text("captions", step, &table)?;
    for (number, d) in described.iter().take(PICTURES).enumerate() {
        let pixels = split.pixels(d.sample);
        let caption = decode::caption(session, pixels, Method::GREEDY)?.remove(0);
        if caption.tokens.is_empty() {
            continue; // early in training the first word may be the end
        }
        let picture = decode::attention(session, vocabulary, pixels, &caption)?;
        let png = picture.png()?;
        record.sample(step, &format!("-attention-{}.png", number + 1), &png)?;
        record.image(&format!("attention/{}", number + 1), step, &png, picture.height, picture.width)?;
    }
    Ok(())
}
