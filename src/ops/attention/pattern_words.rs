//! What a pattern shows, in words: who sees whom, and whether the ends of a window are part of it.

use super::pattern::{ALL, Kind, Pattern};

impl Pattern {
    /// One sentence or two, with `p` for the query's own position.
    pub fn in_words(self) -> String {
        let (kind, prefix) = self.parts();
        let mut words = match kind {
            Kind::Band { left: ALL, right: ALL, dilation: 1 } => "every query sees every key".into(),
            Kind::Band { left: ALL, right: 0, dilation: 1 } => {
                "a query at p sees keys 0 to p, inclusive: its own key too".into()
            }
            Kind::Band { left, right, dilation } => band(left, right, dilation),
            Kind::Strided { stride } => format!(
                "a query at p sees keys p-{stride} to p, both ends inclusive ({} keys), and every {stride}th key before \
                 them, counted from p",
                u64::from(stride) + 1
            ),
            Kind::Block { length } => format!(
                "a query at p sees the keys of its own block of {length}, from the block's first to p, both inclusive"
            ),
            Kind::Summary { length, first, count } => format!(
                "a query at p sees keys {first} to {} (both inclusive) of every block of {length}, up to p, inclusive",
                first + count - 1
            ),
            Kind::Fixed { length, first, count } => format!(
                "a query at p sees its own block of {length} from the first key to p, both inclusive, and keys {first} \
                 to {} (both inclusive) of every block before",
                first + count - 1
            ),
            Kind::Frames { left, right, tokens, .. } => format!(
                "a query sees all {tokens} tokens of frames {} to {}, both inclusive, where f is the frame shown with it",
                end("f", left, true, 1),
                end("f", right, false, 1)
            ),
        };
        if prefix > 0 {
            words.push_str(&format!("; every query also sees keys 0 to {}, inclusive", prefix - 1));
        }
        words
    }
}

fn band(left: u32, right: u32, dilation: u32) -> String {
    let (from, to) = (end("p", left, true, dilation), end("p", right, false, dilation));
    let count = match (left, right) {
        (ALL, _) | (_, ALL) => String::new(),
        _ => format!(": {} keys", u64::from(left) + u64::from(right) + 1),
    };
    let own = if left == 0 && right == 0 { " (its own alone)" } else { ", its own among them" };
    match dilation {
        1 => format!("a query at p sees keys {from} to {to}, both ends inclusive{count}{own}"),
        _ => format!(
            "a query at p sees every {dilation}th key, counted from p, from {from} to {to}, both ends inclusive{count}{own}"
        ),
    }
}

/// `p-3`, `p`, `the first`.
fn end(of: &str, steps: u32, back: bool, dilation: u32) -> String {
    match steps {
        ALL => if back { "the first" } else { "the last" }.into(),
        0 => of.into(),
        n => format!("{of}{}{}", if back { '-' } else { '+' }, u64::from(n) * u64::from(dilation)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words name the numbers of keys that the mask shows.
    #[test]
    fn words_say_what_the_mask_shows() {
        for (text, says) in [
            ("band:3,1", "keys p-3 to p+1, both ends inclusive: 5 keys"),
            ("band:256", "keys p-256 to p, both ends inclusive: 257 keys"),
            ("dilated:4:8", "every 8th key, counted from p, from p-32 to p, both ends inclusive: 5 keys"),
            ("band:all,2", "keys the first to p+2"),
            ("causal", "keys 0 to p, inclusive"),
            ("strided:8", "keys p-8 to p, both ends inclusive (9 keys)"),
            ("fixed:8:2", "keys 6 to 7 (both inclusive) of every block before"),
            ("full+prefix:2", "keys 0 to 1, inclusive"),
        ] {
            let pattern: Pattern = text.parse().unwrap();
            assert!(pattern.in_words().contains(says), "{text}: {}", pattern.in_words());
        }
        let middle = |text: &str| {
            let pattern: Pattern = text.parse().unwrap();
            (0..101).filter(|&j| pattern.visible(101, 101, 50, j)).count()
        };
        assert_eq!((middle("band:3,1"), middle("dilated:4:8"), middle("band:0,2")), (5, 5, 3));
    }
}
