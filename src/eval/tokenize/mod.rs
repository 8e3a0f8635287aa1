//! Splits a caption into the words that the caption metrics count.
//!
//! COCO's published scores tokenise with the Penn-Treebank tokenizer of Stanford CoreNLP, lower-case every token and
//! drop punctuation. This module does the same without Java. It was written against that program's observed
//! behaviour, not its source: [`rules`] proposes tokens, the longest wins, and the earlier rule wins a tie.
//!
//! Penn-Treebank conventions that a reader may not expect:
//!
//! - a contraction is two words (`don't` is `do n't`, `cannot` is `can not`, `gonna` is `gon na`);
//! - brackets are words: `(` is `-lrb-`, `[` is `-lsb-`, `{` is `-lcb-`. The list of dropped punctuation names
//!   `-LRB-` in capitals, but tokens are lower-cased before they are compared, so these stay, as in COCO's own scores;
//! - so do runs of marks such as `!!`, and every symbol that is not in [`DROPPED`];
//! - an abbreviation keeps its full stop (`st.`, `u.s.`), any other word loses it.

mod chars;
mod lists;
mod marks;
mod numbers;
mod rules;

/// Tokens that count for nothing, as the metrics of COCO list them.
pub const DROPPED: [&str; 17] = [
    "''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";",
];

/// The words of a caption, lower-cased and without punctuation; empty for a caption that has none.
///
/// Time is linear in the caption's length. A run of more than 1,000 characters without a space is cut.
///
/// The Stanford program reads all captions as one text, so that a single letter that ends a caption may lose its
/// full stop to the next caption's first word; here each caption stands alone.
pub fn tokenize(caption: &str) -> Vec<String> {
    // A soft hyphen only says where a line may break: the word is the same word.
    let text: Vec<char> = caption.chars().filter(|&c| c != '\u{ad}').collect();
    let mut words = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if chars::is_space(text[at]) {
            at += 1;
            continue;
        }
        let length = rules::longest(&text, at).max(1);
        emit(&text[at..at + length], &mut words);
        at += length;
    }
    words
}

/// Adds a token's words: escaped, lower-cased, and none if it is punctuation.
fn emit(token: &[char], words: &mut Vec<String>) {
    let written: String = token.iter().map(|&c| if chars::is_apostrophe(c) { '\'' } else { c }).collect();
    if let [single] = *token {
        if !chars::is_kept(single) {
            return;
        }
        if let Some(word) = lists::replacement(single) {
            words.extend(word.map(str::to_owned));
            return;
        }
    }
    if let Some(word) = lists::ENTITIES.iter().find(|(name, _)| *name == written) {
        words.extend(word.1.map(str::to_owned));
        return;
    }
    let mut written = written.replace("&amp;", "&").replace("&AMP;", "&");
    // Tags and other raw tokens keep their brackets' angle form; round brackets are always escaped.
    for (mark, name) in lists::BRACKETS {
        if written.contains(mark) && !keeps_brackets(&written) {
            written = written.replace(mark, name);
        }
    }
    // A token may hold spaces (`3 1/2`, a tag with attributes); the metrics split there again.
    for word in written.to_lowercase().split_whitespace() {
        if !DROPPED.contains(&word) && !is_full_stops_or_dashes(word) {
            words.push(word.to_owned());
        }
    }
}

/// Square and curly brackets inside an emoticon stay as they are; round ones do not.
fn keeps_brackets(token: &str) -> bool {
    token.chars().count() > 1 && !token.contains(['(', ')'])
}

/// `....` is one ellipsis, two to four hyphens are one dash; a longer rule of hyphens is a word.
fn is_full_stops_or_dashes(word: &str) -> bool {
    word.chars().all(|c| c == '.') || (word.len() <= 4 && word.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests;
