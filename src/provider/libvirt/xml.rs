//! What little of XML is needed to tell libvirt something and to understand its answers.

use roxmltree::{Document, Node};

/// Text as it may stand in an element or between quotes of either kind.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What is asked of a description; nothing is found in what is none.
pub fn ask<T>(xml: &str, question: impl FnOnce(Node<'_, '_>) -> Option<T>) -> Option<T> {
    let document = Document::parse(xml).inspect_err(|error| tracing::error!("libvirt described something: {error}"));
    question(document.ok()?.root_element())
}

/// All elements of this name, however deep.
pub fn elements<'a, 'i>(within: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    within.descendants().filter(move |node| node.has_tag_name(name))
}

/// What an element directly within this one says.
pub fn said<'a>(within: Node<'a, '_>, element: &str, attribute: &str) -> Option<&'a str> {
    within.children().find(|node| node.has_tag_name(element))?.attribute(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_read_back() {
        for text in ["plain", "a&b<c>d\"e'f", "&amp;lt;", "", "größer"] {
            for quote in ['\'', '"'] {
                let xml = format!("<x tag={quote}1{quote} name={quote}{}{quote}/>", escape(text));
                assert_eq!(ask(&xml, |x| x.attribute("name").map(str::to_owned)).as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn only_what_is_there_is_found() {
        let told = |xml: &str| ask(xml, |x| said(x, "disk", "name").map(str::to_owned));
        assert_eq!(told("<x><disk name='a'/></x>").as_deref(), Some("a"));
        for other in
            ["<x><disk rename='a'/></x>", "<x><y><disk name='a'/></y></x>", "<x><!-- <disk name='a'/> --></x>", "<x"]
        {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
