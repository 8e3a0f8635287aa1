//! What the tokenizer's rules ask about characters.

pub fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control() && !matches!(c, '\u{80}'..='\u{9f}')
}

pub fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '\u{92}')
}

/// A letter, or a mark that belongs to one. Beyond the basic plane CoreNLP 3.4.1 knows no letters.
pub fn is_letter(c: char) -> bool {
    (c.is_alphabetic() && !matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{2160}'..='\u{2182}')
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{94d}' | '\u{ba}'))
        && c < '\u{10000}'
}

pub fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

pub fn is_alnum(c: char) -> bool {
    is_letter(c) || is_digit(c)
}

pub fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '_' | '\u{2010}' | '\u{2011}')
}

/// True for a symbol that is a token when it stands alone. The rest (emoji, control characters) vanishes.
pub fn is_kept(c: char) -> bool {
    is_alnum(c)
        || c.is_ascii_punctuation()
        || matches!(c, '\u{80}' | '\u{a1}'..='\u{bf}' | '×' | '÷' | '†'..='•' | '‖' | '‗' | '‚' | '„' | '‟')
        || matches!(c, '\u{2023}' | '\u{2030}'..='\u{203b}' | '\u{203e}'..='\u{2042}' | '\u{2044}' | '\u{20a0}')
        || matches!(c, '\u{2070}'..='\u{208e}' | '₤' | '€' | '\u{2100}'..='\u{214f}' | '\u{2153}'..='\u{215e}')
        || matches!(c, '\u{2190}'..='\u{2bff}' | '、' | '。' | '〒' | '・')
}

/// How many characters from the start satisfy `test`.
pub fn count(text: &[char], test: impl Fn(char) -> bool) -> usize {
    text.iter().take_while(|&&c| test(c)).count()
}

pub fn is_at(text: &[char], at: usize, test: impl Fn(char) -> bool) -> bool {
    text.get(at).is_some_and(|&c| test(c))
}

/// True if `text` begins with the lower-case `word`; letters in any case, any apostrophe.
pub fn begins(text: &[char], word: &str) -> bool {
    for (at, expected) in word.chars().enumerate() {
        match text.get(at) {
            Some(&c) if (is_apostrophe(c) || c == '`' && at > 0) && expected == '\'' => {}
            Some(&c) if c.to_ascii_lowercase() == expected => {}
            _ => return false,
        }
    }
    true
}
