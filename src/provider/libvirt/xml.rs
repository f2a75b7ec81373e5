//! What little of XML is needed to tell libvirt something and to understand its answers.

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

/// The value of the first attribute of this name, in whichever quotes.
pub fn attribute(xml: &str, name: &str) -> Option<String> {
    let mut rest = xml;
    loop {
        let at = rest.find(name)?;
        let begins = rest[..at].ends_with(char::is_whitespace);
        rest = &rest[at + name.len()..];
        let Some(value) = rest.trim_start().strip_prefix('=').filter(|_| begins) else { continue };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        return value[1..].split_once(quote).map(|(value, _)| unescape(value));
    }
}

fn unescape(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (name, c)| text.replace(name, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_read_back() {
        for text in ["plain", "a&b<c>d\"e'f", "&amp;lt;", "", "größer"] {
            for quote in ['\'', '"'] {
                let xml = format!("<x tag={quote}1{quote} name={quote}{}{quote}/>", escape(text));
                assert_eq!(attribute(&xml, "name").as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn only_a_whole_attribute_counts() {
        assert_eq!(attribute("<x rename='a'/>", "name"), None);
        assert_eq!(attribute("<name other='name'/>", "name"), None);
        assert_eq!(attribute("<x name='a", "name"), None);
        assert_eq!(attribute("<x name = \"b\"/>", "name").as_deref(), Some("b"));
    }
}
