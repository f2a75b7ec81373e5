//! Finds where a key of the declaration stands in `charm.lua`: Lua tables know no positions.
//!
//! A small reader of tokens, not a parser: it skips comments and strings and counts braces. What it does not find (a
//! key made by code) has no position; then the error shows the call of `charm` instead.

/// A key `name =` or `["name"] =` in the source.
struct Key {
    name: String,
    line: usize,
    /// Braces that are open around it.
    depth: usize,
    order: usize,
}

pub struct Locator {
    keys: Vec<Key>,
    /// Line of `charm {`.
    charm: usize,
}

impl Locator {
    pub fn new(source: &str) -> Self {
        let mut reader = Reader { rest: source, line: 1 };
        let (mut keys, mut depth, mut charm) = (Vec::new(), 0_usize, 1);
        let mut last: Option<(String, usize)> = None;
        while let Some((token, line)) = reader.next() {
            let mut next = None;
            match token {
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Name(name) => {
                    if name == "charm" && depth == 0 {
                        charm = line;
                    }
                    next = Some((name, line));
                }
                Token::Text(name) => next = Some((name, line)),
                // `["name"]`: the bracket changes nothing.
                Token::Bracket => next = last,
                Token::Assign => {
                    if let Some((name, line)) = last {
                        keys.push(Key { name, line, depth, order: keys.len() });
                    }
                }
                Token::Other => {}
            }
            last = next;
        }
        Locator { keys, charm }
    }

    /// Line of the key at `path`, e.g. `["config", "port", "default"]`; of the nearest that is found otherwise.
    pub fn line(&self, path: &[&str]) -> usize {
        let found = (1..=path.len()).rev().find_map(|length| self.find(&path[..length]));
        found.map_or(self.charm, |key| key.line)
    }

    /// Something to sort keys by in the order in which they stand in the source; unknown ones come last.
    pub fn order(&self, path: &[&str]) -> usize {
        self.find(path).map_or(usize::MAX, |key| key.order)
    }

    fn find(&self, path: &[&str]) -> Option<&Key> {
        let mut from = 0;
        let mut found = None;
        for (level, name) in path.iter().enumerate() {
            let key = self.keys[from..]
                .iter()
                .take_while(|key| key.depth > level)
                .find(|key| key.depth == level + 1 && key.name == *name && (level > 0 || key.line >= self.charm));
            // The first level may come after tables of other things.
            let key = match (key, level) {
                (None, 0) => self.keys.iter().find(|key| key.depth == 1 && key.name == *name && key.line >= self.charm),
                (key, _) => key,
            }?;
            from = key.order + 1;
            found = Some(key);
        }
        found
    }
}

enum Token {
    Open,
    Close,
    Bracket,
    Assign,
    Name(String),
    Text(String),
    Other,
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<(Token, usize)> {
        self.skip_blank();
        let line = self.line;
        let first = self.rest.chars().next()?;
        let token = match first {
            '{' => self.single(Token::Open),
            '}' => self.single(Token::Close),
            '[' if self.long_bracket().is_some() => {
                let level = self.long_bracket().unwrap_or_default();
                self.long_text(level);
                Token::Other
            }
            '[' | ']' => self.single(Token::Bracket),
            '"' | '\'' | '`' => self.quoted(first),
            '=' if self.rest.starts_with("==") => {
                self.advance(2);
                Token::Other
            }
            '=' => self.single(Token::Assign),
            '~' | '<' | '>' | '+' | '-' | '*' | '/' | '.' if self.rest[1..].starts_with('=') => {
                self.advance(2);
                Token::Other
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let name = self.rest[..end].to_owned();
                self.advance(end);
                Token::Name(name)
            }
            other => {
                self.advance(other.len_utf8());
                Token::Other
            }
        };
        Some((token, line))
    }

    fn single(&mut self, token: Token) -> Token {
        self.advance(1);
        token
    }

    fn advance(&mut self, bytes: usize) {
        let (done, rest) = self.rest.split_at(bytes);
        self.line += done.matches('\n').count();
        self.rest = rest;
    }

    fn skip_blank(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if !self.rest.starts_with("--") {
                return;
            }
            self.advance(2);
            match self.long_bracket() {
                Some(level) => self.long_text(level),
                None => self.advance(self.rest.find('\n').unwrap_or(self.rest.len())),
            }
        }
    }

    /// The level of a `[==[` that begins here.
    fn long_bracket(&self) -> Option<usize> {
        let inner = self.rest.strip_prefix('[')?;
        let level = inner.len() - inner.trim_start_matches('=').len();
        inner[level..].starts_with('[').then_some(level)
    }

    fn long_text(&mut self, level: usize) {
        let end = format!("]{}]", "=".repeat(level));
        let length = self.rest.find(&end).map_or(self.rest.len(), |at| at + end.len());
        self.advance(length);
    }

    fn quoted(&mut self, quote: char) -> Token {
        let mut escaped = false;
        let inner = &self.rest[1..];
        let end = inner.find(|c: char| {
            let ends = !escaped && c == quote;
            escaped = !escaped && c == '\\';
            ends
        });
        let text = inner[..end.unwrap_or(inner.len())].to_owned();
        self.advance(end.map_or(self.rest.len(), |end| end + 2));
        Token::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_path() {
        let source = r#"-- summary = "no"
local x = { summary = 1 }
return charm {
  summary = "summary = 2",
  config = {
    ["a-b"] = { type = "int", default = 1 },
    c = { type = "string",
      default = [[ default = ]] },
  },
  hooks = { install = function(unit) unit:exec { "x", check = false } end,
    start = function() end },
}"#;
        let at = Locator::new(source);
        assert_eq!(at.line(&["summary"]), 4);
        assert_eq!(at.line(&["config", "a-b", "default"]), 6);
        assert_eq!(at.line(&["config", "c", "default"]), 8);
        assert_eq!(at.line(&["hooks", "start"]), 11);
        assert_eq!(at.line(&["config", "c", "missing"]), 7);
        assert_eq!(at.line(&["missing"]), 3);
        assert!(at.order(&["config", "a-b"]) < at.order(&["config", "c"]));
    }

    #[test]
    fn broken_source_does_not_upset_it() {
        for source in ["", "\"", "[[", "--[[", "}}}", "charm {", "é = {", "a = '\\"] {
            Locator::new(source).line(&["a", "b"]);
        }
    }
}
