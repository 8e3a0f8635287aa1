//! A report as one HTML page that opens without a network: pictures as data URIs, curves as inline SVG, no scripts.

use std::fmt::Write;

use super::canvas::png;
use super::curves::curve;

/// What the page shows, from top to bottom.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub title: String,
    /// Names and values.
    pub summary: Vec<(String, String)>,
    pub curves: Vec<Curve>,
    pub gallery: Vec<GallerySection>,
    /// Captions and PNG files' bytes, such as attention pictures.
    pub figures: Vec<(String, Vec<u8>)>,
}

/// Lines over a common axis. Points that are not finite interrupt their line.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    pub title: String,
    pub x_label: String,
    /// Names, and points (x, y) in the order of x.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

#[derive(Debug, Clone, Default)]
pub struct GallerySection {
    pub title: String,
    pub items: Vec<GalleryItem>,
}

/// A picture `[height, width, 3]`, what the model wrote, what people (or the scene) wrote.
#[derive(Debug, Clone, Default)]
pub struct GalleryItem {
    pub pixels: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub caption: String,
    pub references: Vec<String>,
    /// Is the caption one of the references? `None` shows no mark.
    pub correct: Option<bool>,
}

/// The page. All text is escaped; a picture whose size does not fit its bytes is left out.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    for section in &report.gallery {
        gallery(&mut body, section);
    }
    if !report.figures.is_empty() {
        body.push_str("<h2>Figures</h2>\n");
    }
    for (caption, bytes) in &report.figures {
        let (uri, caption) = (data_uri(bytes), escape(caption));
        let _ = writeln!(
            body,
            "<figure class=\"card\"><img class=\"wide\" src=\"{uri}\" alt=\"{caption}\">\
             <figcaption>{caption}</figcaption></figure>"
        );
    }
    if !report.curves.is_empty() {
        body.push_str("<h2>Learning curves</h2>\n<div class=\"curves\">\n");
        report.curves.iter().for_each(|one| curve(&mut body, one));
        body.push_str("</div>\n");
    }
    page(&report.title, &report.summary, &body)
}

/// A whole page around `body`, which is HTML already: the style, the title, and the summary's names and values.
pub fn page(title: &str, summary: &[(String, String)], body: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        include_str!("html.css")
    );
    if !summary.is_empty() {
        page.push_str("<dl class=\"summary\">\n");
        for (name, value) in summary {
            let (name, value) = (escape(name), escape(value));
            let _ = writeln!(page, "<div class=\"card\"><dt>{name}</dt><dd>{value}</dd></div>");
        }
        page.push_str("</dl>\n");
    }
    page.push_str(body);
    let _ = write!(
        page,
        "<footer>Made by evoke {}</footer>\n</main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    page
}

fn gallery(page: &mut String, section: &GallerySection) {
    let marks: Vec<bool> = section.items.iter().filter_map(|item| item.correct).collect();
    let right = marks.iter().filter(|&&right| right).count();
    let count = match marks.len() {
        0 => String::new(),
        shown => format!(" <span class=\"count\">{right} of the {shown} shown are right</span>"),
    };
    let _ = writeln!(page, "<h2>{}{count}</h2>\n<div class=\"gallery\">", escape(&section.title));
    for item in &section.items {
        page.push_str("<article class=\"card\">");
        if let Ok(bytes) = png(&item.pixels, item.height, item.width) {
            // Few pixels look better as sharp squares than as a blur.
            let class = if item.width.max(item.height) <= 128 { " class=\"small\"" } else { "" };
            let _ =
                write!(page, "<img{class} src=\"{}\" alt=\"{}\">", data_uri(&bytes), escape(&item.caption));
        }
        page.push_str("<div class=\"text\">");
        match item.correct {
            Some(true) => page.push_str("<span class=\"mark right\">✓ right</span>"),
            Some(false) => page.push_str("<span class=\"mark wrong\">✗ wrong</span>"),
            None => {}
        }
        let _ = write!(page, "<p class=\"caption\">{}</p>", escape(&item.caption));
        if !item.references.is_empty() {
            // A wrong caption is read beside what would have been right.
            let open = if item.correct == Some(false) { " open" } else { "" };
            let _ =
                write!(page, "<details{open}><summary>{} references</summary><ul>", item.references.len());
            for reference in &item.references {
                let _ = write!(page, "<li>{}</li>", escape(reference));
            }
            page.push_str("</ul></details>");
        }
        page.push_str("</div></article>\n");
    }
    page.push_str("</div>\n");
}

/// Text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

pub(super) fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for letter in 0..4 {
            let index = bits >> (18 - 6 * letter) & 63;
            text.push(if letter <= group.len() { LETTERS[index as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    fn report() -> Report {
        let item = |caption: &str, correct| GalleryItem {
            pixels: vec![9; 2 * 3 * 3],
            height: 2,
            width: 3,
            caption: caption.to_string(),
            references: vec!["a <b>\"bold\"</b> & 'fine' star".to_string()],
            correct,
        };
        Report {
            title: "Demo <script>alert(1)</script>".to_string(),
            summary: vec![("exact & seen".to_string(), "97 %".to_string())],
            curves: vec![Curve {
                title: "loss".to_string(),
                x_label: "step".to_string(),
                series: vec![("train".to_string(), vec![(0.0, 3.0), (10.0, f64::NAN), (20.0, 1.0)])],
            }],
            gallery: vec![GallerySection {
                title: "Never seen".to_string(),
                items: vec![item("a red star", Some(true)), item("a cat", Some(false)), item("?", None)],
            }],
            figures: vec![("attention".to_string(), png(&[0; 12], 2, 2).unwrap())],
        }
    }

    #[test]
    fn everything_is_on_the_page_and_escaped() {
        let page = html(&report());
        assert!(!page.contains("<script") && page.contains("Demo &lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("a &lt;b&gt;&quot;bold&quot;&lt;/b&gt; &amp; &#39;fine&#39; star"));
        assert!(page.contains("exact &amp; seen") && page.contains("97 %"));
        assert_eq!((page.matches("✓ right").count(), page.matches("✗ wrong").count()), (1, 1));
        assert!(page.contains("1 of the 2 shown are right"));
        assert_eq!(page.matches("data:image/png;base64,iVBOR").count(), 4);
        assert!(!page.contains("NaN"));
    }

    /// Opens without a network: no address, import or script anywhere.
    #[test]
    fn nothing_is_loaded_from_outside() {
        let page = html(&report());
        for outside in ["http:", "https:", "@import", "url(", "<script", "<link", "href="] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.matches("src=\"").count() == page.matches("src=\"data:").count());
    }

    #[test]
    fn tags_are_balanced() {
        let page = html(&report());
        for tag in ["div", "dl", "article", "details", "ul", "li", "svg", "figure", "main", "p", "span", "h2"]
        {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert!(opened > 0, "{tag}");
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_picture_of_a_wrong_size_is_left_out() {
        let mut report = report();
        report.gallery[0].items[0].pixels.pop();
        assert_eq!(html(&report).matches("data:image").count(), 3);
    }
}
