//! Where the image's packages come from: the host's own Debian sources. Pure.

/// One archive of the host that carries Debian itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    address: String,
    suite: String,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's releases: a suite is one of them, or one with `-updates` or `-security`.
const RELEASES: [&str; 8] = ["buster", "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing"];

/// Settings of the host's apt that an image needs as well to reach the same archives.
const CARRIED: [&str; 8] = [
    "Acquire::Check-Valid-Until ",
    "Acquire::Check-Date ",
    "Acquire::Max-ValidTime ",
    "Acquire::ForceIPv4 ",
    "Acquire::Retries ",
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Languages",
];

/// The text of `sources.list` for `series`. `files` are the host's source files (name, content). `None` if the host
/// has no Debian archive and no mirror is set: there is no place that is right for everybody.
pub fn render_sources(series: &str, mirror: Option<&str>, files: &[(String, String)]) -> Option<String> {
    let sources: Vec<Source> = files.iter().flat_map(|(name, text)| parse_file(name, text)).collect();
    let find = |ending: &str| {
        let fits = |source: &&Source| base_release(&source.suite).is_some_and(|(_, found)| found == ending);
        sources.iter().find(fits).map(|source| source.address.clone())
    };
    let archive = mirror.map(str::to_owned).or_else(|| find(""))?;
    let updates = mirror.map(str::to_owned).or_else(|| find("-updates")).unwrap_or_else(|| archive.clone());
    let security = match mirror {
        // By custom the two stand side by side.
        Some(mirror) => Some(format!("{}-security", mirror.trim_end_matches('/'))),
        None => find("-security"),
    };
    let line = |address: &str, suite: &str| format!("deb [signed-by={KEYRING}] {address} {series}{suite} main\n");
    let security = security.map(|address| line(&address, "-security")).unwrap_or_default();
    Some([line(&archive, ""), line(&updates, "-updates"), security].concat())
}

/// The lines of `apt-config dump` that are to be carried over.
pub fn carried_settings(dump: &str) -> Vec<String> {
    let carried = |line: &&str| CARRIED.iter().any(|key| line.starts_with(key)) && !line.ends_with("\"\";");
    dump.lines().filter(carried).map(str::to_owned).collect()
}

fn parse_file(name: &str, text: &str) -> Vec<Source> {
    let found = if name.ends_with(".sources") { parse_deb822(text) } else { parse_lines(text) };
    found.into_iter().filter(|source| is_debian(&source.address) && base_release(&source.suite).is_some()).collect()
}

fn parse_lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let mut fields = rest.split_whitespace();
        if let (Some(address), Some(suite)) = (fields.next(), fields.next())
            && fields.any(|component| component == "main")
        {
            sources.push(Source { address: address.into(), suite: suite.into() });
        }
    }
    sources
}

fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    // A comment inside a stanza does not end it, an empty line does.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |wanted: &str| -> Vec<&str> {
            let mut values = Vec::new();
            let mut inside = false;
            for line in stanza {
                if line.starts_with([' ', '\t']) {
                    if inside {
                        values.extend(line.split_whitespace());
                    }
                } else if let Some((key, value)) = line.split_once(':') {
                    inside = key.eq_ignore_ascii_case(wanted);
                    if inside {
                        values.extend(value.split_whitespace());
                    }
                }
            }
            values
        };
        let enabled = !field("Enabled").iter().any(|value| value.eq_ignore_ascii_case("no"));
        if !enabled || !field("Types").contains(&"deb") || !field("Components").contains(&"main") {
            continue;
        }
        for address in field("URIs") {
            for suite in field("Suites") {
                sources.push(Source { address: address.into(), suite: suite.into() });
            }
        }
    }
    sources
}

/// `("bookworm", "-updates")` of `bookworm-updates`; also of the older `buster/updates`.
fn base_release(suite: &str) -> Option<(&str, &str)> {
    let (release, ending) = suite.find(['-', '/']).map_or((suite, ""), |at| suite.split_at(at));
    let ending = if ending == "/updates" { "-security" } else { ending };
    (RELEASES.contains(&release) && matches!(ending, "" | "-updates" | "-security")).then_some((release, ending))
}

/// Other vendors name suites after Debian's releases as well; their archives are not Debian.
fn is_debian(address: &str) -> bool {
    let last = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    (address.starts_with("http") || address.starts_with("mirror")) && last.starts_with("debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, String) {
        (name.into(), text.into())
    }

    #[test]
    fn deb822_sources_of_debian_are_taken_and_others_left() {
        let debian = "Types: deb\n# a comment\nURIs: http://m.example/debian\nSuites: bookworm\n bookworm-updates\n\
                      Components: main\n\nTypes: deb\nURIs: http://s.example/debian-security\n\
                      Suites: bookworm-security\nComponents: main contrib\n";
        let other = "Types: deb\nURIs: https://php.example/php\nSuites: bookworm\nComponents: main\n";
        let files = [file("a.sources", other), file("b.sources", debian)];
        let text = render_sources("bookworm", None, &files).unwrap();
        let expected = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian bookworm main\n\
             deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian bookworm-updates main\n\
             deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://s.example/debian-security bookworm-security main\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_line_sources_are_read_with_options_and_comments() {
        let text = "# deb http://no.example/debian bookworm main\ndeb-src http://no.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/x] http://m.example/debian/ trixie main contrib # here\n\
                    deb http://docker.example/linux/debian bookworm stable\n";
        let found = parse_file("sources.list", text);
        assert_eq!(found, [Source { address: "http://m.example/debian/".into(), suite: "trixie".into() }]);
    }

    #[test]
    fn a_disabled_stanza_is_not_there() {
        let text = "Enabled: no\nTypes: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n";
        assert!(parse_file("x.sources", text).is_empty());
    }

    #[test]
    fn without_debian_on_the_host_a_mirror_must_be_set() {
        assert_eq!(render_sources("bookworm", None, &[]), None);
        let text = render_sources("bookworm", Some("http://m.example/debian"), &[]).unwrap();
        assert!(text.contains("] http://m.example/debian-security bookworm-security main"));
    }

    #[test]
    fn only_settings_about_reaching_archives_are_carried() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::Check-Date \"false\";\nAcquire::http::Proxy \"http://p:1\";\n\
                    Acquire::Languages \"\";\nAcquire::Languages:: \"none\";\nAcquire::cdrom::mount \"/x\";\n";
        let carried = carried_settings(dump);
        let expected = [
            "Acquire::Check-Date \"false\";",
            "Acquire::http::Proxy \"http://p:1\";",
            "Acquire::Languages:: \"none\";",
        ];
        assert_eq!(carried, expected);
    }
}
