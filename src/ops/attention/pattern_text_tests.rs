//! Every form there and back, and what is refused.

use super::*;

fn parsed(text: &str) -> Pattern {
    Pattern::parse(text, Some(16_000)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_form_is_read_and_printed_back() {
    for (text, pattern) in [
        ("full", Pattern::full()),
        ("causal", Pattern::causal()),
        ("band:256", Pattern::banded(256, 0)),
        ("band:3,1", Pattern::banded(3, 1)),
        ("band:0,2", Pattern::banded(0, 2)),
        ("band:all,4", Pattern::banded(ALL, 4)),
        ("dilated:256:8", Pattern::dilated(256, 0, 8)),
        ("dilated:2,all:5", Pattern::dilated(2, ALL, 5)),
        ("strided:128", Pattern::strided(128)),
        ("strided-column:128", Pattern::strided_column(128)),
        ("fixed:128:16", Pattern::fixed(128, 112, 16)),
        ("fixed:128:16:0", Pattern::fixed(128, 0, 16)),
        ("fixed-local:128", Pattern::fixed_local(128)),
        ("fixed-summary:128:16", Pattern::fixed_summary(128, 112, 16)),
        ("fixed-summary:128:16:32", Pattern::fixed_summary(128, 32, 16)),
        ("in-time:1:49:3/16000", Pattern::in_time(1, 0, 49, Rate::new(3, 16_000))),
        ("in-time:all,2:1:15/8008", Pattern::in_time(ALL, 2, 1, Rate::new(15, 8008))),
        ("band:4+prefix:2", Pattern::banded(4, 0).with_prefix(2)),
    ] {
        assert_eq!(parsed(text), pattern, "{text}");
        assert_eq!(pattern.to_string(), text);
        assert_eq!(text.parse::<Pattern>().unwrap(), pattern);
    }
    for (text, printed) in [
        ("strided-local:128", "band:128"),
        ("dilated:4:1", "band:4"),
        ("band:all", "causal"),
        ("fixed:8:2:6", "fixed:8:2"),
        (" band:3,0 ", "band:3"),
        ("in-time:0:4:6/32", "in-time:0:4:3/16"),
    ] {
        assert_eq!(parsed(text).to_string(), printed);
    }
}

#[test]
fn a_period_follows_the_length() {
    for (length, period) in [
        (1, 1),
        (2, 1),
        (3, 2),
        (9, 2),
        (10, 4),
        (1024, 32),
        (16_000, 128),
        (36_864, 128),
        (36_865, 256),
        (262_144, 512),
    ] {
        assert_eq!(
            Pattern::parse("strided:sqrt", Some(length)).unwrap(),
            Pattern::strided(period),
            "{length}"
        );
    }
    assert_eq!(parsed("fixed:sqrt:16"), Pattern::fixed(128, 112, 16));
    assert_eq!(parsed("dilated:256:sqrt"), Pattern::dilated(256, 0, 128));
}

#[test]
fn heads_share_a_pattern_or_have_their_own() {
    let heads = |text| {
        Pattern::parse_heads(text, 4, None)
            .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(heads("band:256").unwrap(), "band:256");
    assert_eq!(heads("2*band:8 dilated:8:2  full").unwrap(), "band:8 band:8 dilated:8:2 full");
    assert_eq!(heads("4*causal").unwrap(), "causal causal causal causal");
    for (text, says) in [
        ("band:8 full", "2 for 4 heads"),
        ("", "0 for 4 heads"),
        ("5*full", "a number from 1 to 4"),
        ("x*full", "a number from 1 to 4"),
        ("3*full bend:3", "no such form"),
    ] {
        let error = heads(text).unwrap_err().to_string();
        assert!(error.contains(says), "`{text}`: {error}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_in_words() {
    for (text, says) in [
        ("band:0", "a band must reach at least 1"),
        ("band:0,0", "a band must reach at least 1"),
        ("dilated:0:4", "a band must reach at least 1"),
        ("strided-local:0", "a band must reach at least 1"),
        ("band:-1", "-1 is negative"),
        ("band:3,-2", "-2 is negative"),
        ("dilated:3:-2", "-2 is negative"),
        ("dilated:3:0", "the dilation must be at least 1"),
        ("strided:0", "the stride must be at least 1"),
        ("fixed-local:0", "a block must hold at least 1 key"),
        ("fixed:8:9", "a summary of 9 keys does not fit a block of 8"),
        ("fixed:8:4:6", "do not lie in a block of 8"),
        ("fixed:8:0", "do not lie in a block of 8"),
        ("band", "no such form"),
        ("band:3:4", "no such form"),
        ("Full", "no such form"),
        ("", "no such form"),
        ("band:", "`` is not a number"),
        ("band:wide", "`wide` is not a number"),
        ("band:4294967295", "is too large"),
        ("strided:sqrt", "`sqrt` needs the length"),
        ("in-time:1:4:3", "FRAMES/SAMPLES"),
        ("in-time:1:0:3/16", "a frame must hold at least 1 token"),
        ("in-time:1:4:3/0", "no rate"),
    ] {
        let error = Pattern::parse(text, None).unwrap_err().to_string();
        assert!(error.contains(says), "`{text}`: {error}");
    }
}

#[test]
fn windows_and_dilations_beyond_the_sequence_work() {
    for (text, printed) in [
        ("band:100", "#..\n##.\n###\n"),
        ("dilated:100:50", "#..\n.#.\n..#\n"),
        ("strided:77", "#..\n##.\n###\n"),
    ] {
        assert_eq!(parsed(text).printed(3, 3), printed, "{text}");
    }
}
