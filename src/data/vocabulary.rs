//! Text to tokens and back: words or byte-pair encoding, kept as a `tokenizer.json` that other programs read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, ModelWrapper, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, SplitDelimiterBehavior, Tokenizer,
};

use super::{bpe, files, hash_hex};
use crate::error::At;
use crate::{Error, Result};

/// Fills a batch's shorter captions; never a target.
pub const PAD: u32 = 0;
/// Stands before a caption.
pub const START: u32 = 1;
/// Stands after a caption.
pub const END: u32 = 2;
/// A word that is not in the vocabulary.
pub const UNK: u32 = 3;
/// Hides a word from the decoder.
pub const MASK: u32 = 4;
/// The special tokens, by id.
pub const SPECIAL: [&str; 5] = ["<pad>", "<start>", "<end>", "<unk>", "<mask>"];

/// A word: letters, marks and digits, with apostrophes and hyphens inside but not at the ends. It keeps "man's" and
/// "t-shirt" whole because the metrics' tokeniser has to see them as they were written.
const WORD: &str = r"[\p{L}\p{M}\p{N}]+(?:['-][\p{L}\p{M}\p{N}]+)*";

/// How text is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Lower-case words without punctuation; the most frequent ones have an id, the others are `<unk>`.
    Words,
    /// Byte-pair encoding over lower-case bytes: every text can be written.
    Bpe,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Words => "words",
            Kind::Bpe => "bpe",
        })
    }
}

/// A tokenizer with its special tokens at fixed ids. `Send + Sync`: one serves all threads.
#[derive(Clone)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    kind: Kind,
    labels: Vec<String>,
    json: String,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Vocabulary({}, {} tokens, {})", self.kind, self.size(), self.hash())
    }
}

impl Vocabulary {
    /// Learns a vocabulary of at most `max_size` tokens, the special ones included, from the texts.
    ///
    /// `min_count` is how often a word (for `bpe`: a pair) has to occur. The same texts give the same bytes of
    /// `tokenizer.json`, in whatever order they come: ties are broken by text.
    ///
    /// # Errors
    /// If `max_size` has no room for the special tokens and at least one word (for `bpe`: all 256 bytes), or the
    /// texts hold no word.
    pub fn train<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
        kind: Kind,
        max_size: usize,
        min_count: u64,
    ) -> Result<Vocabulary> {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let least = SPECIAL.len() + if kind == Kind::Bpe { alphabet.len() } else { 1 };
        if max_size < least {
            return Err(Error::usage(format!(
                "a vocabulary of {max_size} is too small for {kind}: choose at least {least}"
            )));
        }

        let mut tokenizer = empty(kind)?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for text in texts {
            for word in split(&tokenizer, text.as_ref())? {
                *counts.entry(word).or_default() += 1;
            }
        }
        if counts.is_empty() {
            return Err(Error::failed(
                "the captions hold no word to make a vocabulary of: check the caption file",
            ));
        }

        let specials = SPECIAL.iter().map(|token| token.to_string());
        match kind {
            Kind::Words => {
                let mut words: Vec<(&String, &u64)> =
                    counts.iter().filter(|(_, n)| **n >= min_count).collect();
                words.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                let vocabulary = specials
                    .chain(words.into_iter().map(|(word, _)| word.clone()))
                    .take(max_size)
                    .zip(0u32..)
                    .collect();
                let model =
                    WordLevel::builder().vocab(vocabulary).unk_token(SPECIAL[UNK as usize].into()).build();
                tokenizer.with_model(model.map_err(broken)?);
            }
            Kind::Bpe => {
                let first = specials.chain(alphabet.iter().map(char::to_string)).collect();
                let learned = bpe::learn(&counts, first, max_size, min_count);
                let ids: tokenizers::models::bpe::Vocab = learned.tokens.into_iter().zip(0u32..).collect();
                let model = BPE::builder().vocab_and_merges(ids, learned.merges).build();
                tokenizer.with_model(model.map_err(broken)?);
            }
        }
        let specials: Vec<_> = SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect();
        tokenizer.add_special_tokens(&specials);
        let json = tokenizer.to_string(true).map_err(broken)?;
        Vocabulary::from_json(json)
    }

    /// Reads a `tokenizer.json` that [`Vocabulary::save`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, is no tokenizer, or has other special tokens than [`SPECIAL`].
    pub fn load(path: &Path) -> Result<Vocabulary> {
        let bytes = std::fs::read(path).at("read", path)?;
        let json = String::from_utf8(bytes)
            .map_err(|_| Error::failed(format!("{}: is not a tokenizer: not UTF-8 text", path.display())))?;
        Vocabulary::from_json(json).map_err(|error| Error::failed(format!("{}: {error}", path.display())))
    }

    /// Writes `tokenizer.json` whole: a kill leaves the old file or the new one.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write_whole(path, self.json.as_bytes())
    }

    /// Reads the text of a `tokenizer.json`.
    pub fn from_json(json: String) -> Result<Vocabulary> {
        let foreign = |error: String| Error::failed(format!("is not a tokenizer: {error}"));
        // The crate panics on text that is no JSON (tokenizers 0.22, `decoders/mod.rs`), so that is asked first.
        serde_json::from_str::<serde::de::IgnoredAny>(&json).map_err(|error| foreign(error.to_string()))?;
        let mut tokenizer = std::panic::catch_unwind(|| Tokenizer::from_bytes(json.as_bytes()))
            .map_err(|_| foreign("its parts do not fit together".into()))?
            .map_err(|error| foreign(error.to_string()))?;
        // A caption that says "<end>" means these five characters, not the end of the caption.
        tokenizer.set_encode_special_tokens(true);
        let kind = match tokenizer.get_model() {
            ModelWrapper::WordLevel(_) => Kind::Words,
            ModelWrapper::BPE(_) => Kind::Bpe,
            _ => return Err(Error::failed("holds another kind of tokenizer: words and bpe are known here")),
        };
        for (id, token) in SPECIAL.iter().enumerate() {
            if tokenizer.token_to_id(token) != Some(id as u32) {
                return Err(Error::failed(format!(
                    "has no {token} with the id {id}: it was not made by `evoke prepare`"
                )));
            }
        }
        let size = tokenizer.get_vocab_size(true);
        let mut labels = Vec::with_capacity(size);
        for id in 0..size as u32 {
            let token =
                tokenizer.id_to_token(id).ok_or_else(|| Error::failed(format!("has no token {id}")))?;
            let readable = match kind {
                Kind::Bpe => {
                    tokenizer.decode(&[id], true).map(|text| text.trim().to_owned()).unwrap_or_default()
                }
                Kind::Words => String::new(),
            };
            labels.push(if readable.is_empty() { token } else { readable });
        }
        Ok(Vocabulary { tokenizer, kind, labels, json })
    }

    /// The tokens of a text, without start and end.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // Neither model can fail: words have `<unk>`, and every byte is a token of the byte-pair encoding.
        self.tokenizer
            .encode_fast(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .unwrap_or_default()
    }

    /// The text of tokens; special ones are dropped, and so are ids beyond the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let known: Vec<u32> = tokens.iter().copied().filter(|&id| (id as usize) < self.size()).collect();
        self.tokenizer.decode(&known, true).map(|text| text.trim().to_owned()).unwrap_or_default()
    }

    /// How many tokens there are; ids are `0..size()`.
    pub fn size(&self) -> usize {
        self.labels.len()
    }

    /// How text is cut.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A token as people read it, for labels and tables; `<unk>` for an id beyond the vocabulary.
    pub fn token(&self, id: u32) -> &str {
        self.labels.get(id as usize).map_or(SPECIAL[UNK as usize], String::as_str)
    }

    /// The hash of `tokenizer.json`, as 16 hexadecimal digits: what shards and checkpoints are compared by.
    pub fn hash(&self) -> String {
        hash_hex(self.json.as_bytes())
    }

    /// The text of `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// The tokenizer of a kind before it has learned anything: only how text is cleaned and cut.
fn empty(kind: Kind) -> Result<Tokenizer> {
    let apostrophe = Replace::new(ReplacePattern::String("\u{2019}".into()), "'").map_err(broken)?;
    let normalizer = Sequence::new(vec![NFC.into(), Lowercase.into(), apostrophe.into()]);
    let mut tokenizer = match kind {
        Kind::Words => Tokenizer::new(WordLevel::default()),
        Kind::Bpe => Tokenizer::new(BPE::default()),
    };
    tokenizer.with_normalizer(Some(normalizer));
    match kind {
        Kind::Words => {
            let words = Split::new(SplitPattern::Regex(WORD.into()), SplitDelimiterBehavior::Removed, true)
                .map_err(broken)?;
            tokenizer.with_pre_tokenizer(Some(words));
        }
        Kind::Bpe => {
            // A space in front makes a caption's first word the same token as the same word later on.
            let bytes = ByteLevel::new(true, true, true);
            tokenizer.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
        }
    }
    Ok(tokenizer)
}

/// Cuts text into words as [`Kind::Words`] does, without a vocabulary.
pub struct Words(Tokenizer);

impl Words {
    /// # Errors
    /// If the tokenizer's pattern is refused, which it is not.
    pub fn new() -> Result<Words> {
        Ok(Words(empty(Kind::Words)?))
    }

    /// The words of a text, in lower case and without marks.
    ///
    /// # Errors
    /// If the tokenizer refuses the text; none is known that it does.
    pub fn of(&self, text: &str) -> Result<Vec<String>> {
        split(&self.0, text)
    }
}

/// A text's words as the tokenizer cuts them.
fn split(tokenizer: &Tokenizer, text: &str) -> Result<Vec<String>> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut normalized).map_err(broken)?;
    }
    let mut words = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut words).map_err(broken)?;
    }
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).collect())
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::failed(format!("the tokenizer cannot be built: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 5] = [
        "A man's t-shirt is RED, isn\u{2019}t it?",
        "A red ball -- and a 'blue' ball.",
        "Caf\u{e9} au lait on a table",
        "zebra apple zebra apple",
        "the red the red",
    ];

    fn words() -> Vocabulary {
        Vocabulary::train(TEXTS, Kind::Words, 100, 1).unwrap()
    }

    #[test]
    fn special_tokens_have_their_fixed_ids() {
        for kind in [Kind::Words, Kind::Bpe] {
            let v = Vocabulary::train(TEXTS, kind, 400, 1).unwrap();
            for (id, token) in
                [(PAD, "<pad>"), (START, "<start>"), (END, "<end>"), (UNK, "<unk>"), (MASK, "<mask>")]
            {
                assert_eq!(v.token(id), token);
            }
            assert_eq!(v.kind(), kind);
        }
    }

    #[test]
    fn words_are_lower_case_without_punctuation() {
        let v = words();
        assert_eq!(v.decode(&v.encode(TEXTS[0])), "a man's t-shirt is red isn't it");
        assert_eq!(v.decode(&v.encode(TEXTS[1])), "a red ball and a blue ball");
        assert_eq!(v.encode("A purple ball"), [v.encode("a")[0], UNK, v.encode("ball")[0]]);
        assert_eq!(v.encode(" ,.!- ' \n"), [0u32; 0]);
        // NFC: the same word, however its accent is written.
        assert_eq!(v.encode("cafe\u{301}"), v.encode("caf\u{e9}"));
    }

    #[test]
    fn frequent_words_come_first_and_ties_go_by_text() {
        let v = words();
        assert_eq!((v.token(5), v.token(6)), ("a", "red"));
        let (apple, ball) = (v.encode("apple")[0], v.encode("ball")[0]);
        assert_eq!(ball, apple + 1, "both occur twice");
        assert_eq!(Vocabulary::train(TEXTS, Kind::Words, 7, 1).unwrap().size(), 7);
        assert_eq!(Vocabulary::train(TEXTS, Kind::Words, 100, 4).unwrap().size(), 5 + 2);
    }

    #[test]
    fn special_tokens_in_a_caption_are_plain_text() {
        for kind in [Kind::Words, Kind::Bpe] {
            let v = Vocabulary::train(TEXTS, kind, 400, 1).unwrap();
            for token in v.encode("a <end> <pad><mask>") {
                assert!(token == UNK || token as usize >= SPECIAL.len(), "{kind}: {token}");
            }
        }
    }

    #[test]
    fn bpe_writes_every_text() {
        let v = Vocabulary::train(TEXTS, Kind::Bpe, 300, 1).unwrap();
        assert_eq!(v.size(), 300);
        for text in ["a red ball", "\u{732b} is japanese for cat \u{1f431}", "caf\u{e9}"] {
            assert_eq!(v.decode(&v.encode(text)), text);
        }
        assert_eq!(v.encode("red")[0], v.encode("a red")[v.encode("a").len()]);
        assert!(v.encode("the red").len() < "the red".len() / 2);
    }

    #[test]
    fn decoding_drops_special_and_unknown_ids() {
        let v = words();
        let ball = v.encode("ball")[0];
        assert_eq!(v.decode(&[START, ball, UNK, ball, END, PAD, 1_000_000]), "ball ball");
    }

    /// The trainer of the `tokenizers` crate walks hash maps, whose order changes from run to run.
    #[test]
    fn hash_map_order_leaked_into_the_vocabulary() {
        for kind in [Kind::Words, Kind::Bpe] {
            let first = Vocabulary::train(TEXTS, kind, 320, 1).unwrap();
            for turn in 0..TEXTS.len() {
                let mut texts = TEXTS;
                texts.rotate_left(turn);
                assert_eq!(Vocabulary::train(texts, kind, 320, 1).unwrap().json(), first.json());
            }
        }
    }

    #[test]
    fn a_saved_vocabulary_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        for kind in [Kind::Words, Kind::Bpe] {
            let v = Vocabulary::train(TEXTS, kind, 300, 1).unwrap();
            v.save(&path).unwrap();
            let loaded = Vocabulary::load(&path).unwrap();
            assert_eq!((loaded.hash(), loaded.size(), loaded.kind()), (v.hash(), v.size(), kind));
            TEXTS.iter().for_each(|text| assert_eq!(loaded.encode(text), v.encode(text)));
        }
    }

    #[test]
    fn bad_vocabularies_are_refused() {
        assert!(Vocabulary::train(TEXTS, Kind::Words, 5, 1).is_err());
        assert!(Vocabulary::train(TEXTS, Kind::Bpe, 260, 1).is_err());
        assert!(Vocabulary::train([" ", "..."], Kind::Words, 100, 1).is_err());
        for text in ["", "{}", "not JSON", &words().json()[..200]] {
            assert!(Vocabulary::from_json(text.into()).is_err(), "{text}");
        }
        let foreign = words().json().replace("<start>", "<begin>");
        assert!(Vocabulary::from_json(foreign).unwrap_err().to_string().contains("<start>"));
    }
}
