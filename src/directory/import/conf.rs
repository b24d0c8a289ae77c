//! The grammar of Asterisk's configuration files: sections, templates, inclusions, comments.
//!
//! Reads what Asterisk reads, and tells what it would pass over in silence. What an `#include`
//! names is handed in by the caller; what an `#exec` names is told, and never run.

use std::collections::HashMap;

/// A file or what was included into it: name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Answers an `#include` or `#tryinclude` with the files that it names, in order.
pub type Include<'a> = dyn FnMut(&str) -> Result<Vec<Source>, String> + 'a;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// In the order of their first appearance; templates among them.
    pub sections: Vec<Section>,
    /// What could not be understood, with file and line.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    /// Only to be inherited from.
    pub template: bool,
    /// Inherited entries first, so that the last of a name is the section's own.
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// File and line.
    pub place: String,
}

impl Section {
    /// The value that counts where only one can.
    pub fn last(&self, key: &str) -> Option<&str> {
        let named = |entry: &&Entry| entry.key.eq_ignore_ascii_case(key);
        self.entries.iter().rev().find(named).map(|entry| entry.value.as_str())
    }
}

impl Conf {
    pub fn parse(source: &Source, include: &mut Include<'_>) -> Self {
        let mut reader = Reader { conf: Self::default(), places: HashMap::new(), current: None };
        reader.file(source, include, 0);
        reader.conf
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && !section.template)
    }
}

struct Reader {
    conf: Conf,
    places: HashMap<String, usize>,
    current: Option<usize>,
}

impl Reader {
    fn file(&mut self, source: &Source, include: &mut Include<'_>, depth: usize) {
        let text = text(&source.bytes);
        let mut comment = Comment::default();
        for (n, line) in text.lines().enumerate() {
            let place = format!("{}:{}", source.name, n + 1);
            let line = comment.strip(line);
            let line = line.trim();
            if let Some(rest) = line.strip_prefix('#') {
                self.directive(rest, &place, include, depth);
            } else if let Some(rest) = line.strip_prefix('[') {
                self.section(rest, &place);
            } else if !line.is_empty() {
                self.entry(line, &place);
            }
        }
        if comment.depth > 0 {
            self.problem(&source.name, "a comment begun with ;-- is never ended");
        }
    }

    fn directive(&mut self, rest: &str, place: &str, include: &mut Include<'_>, depth: usize) {
        let (word, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let name = name.trim();
        let bare = name
            .strip_prefix('"')
            .and_then(|name| name.split_once('"'))
            .or_else(|| name.strip_prefix('<').and_then(|name| name.split_once('>')));
        let name = bare.map_or(name, |(name, _)| name);
        let must = word.eq_ignore_ascii_case("include");
        if word.eq_ignore_ascii_case("exec") {
            self.problem(place, &format!("#exec is not run: {}", name.escape_debug()));
        } else if !must && !word.eq_ignore_ascii_case("tryinclude") {
            self.problem(place, &format!("unknown directive #{}", word.escape_debug()));
        } else if name.is_empty() {
            self.problem(place, &format!("#{word} without a file"));
        } else if depth >= DEEPEST {
            self.problem(place, &format!("{} is included too deeply", name.escape_debug()));
        } else {
            match include(name) {
                Ok(sources) => {
                    if sources.is_empty() && must {
                        self.problem(place, &format!("no file is {}", name.escape_debug()));
                    }
                    for source in &sources {
                        self.file(source, include, depth + 1);
                    }
                }
                Err(_) if !must => {}
                Err(why) => self.problem(place, &why),
            }
        }
    }

    /// `name]`, and perhaps `(!)`, `(+)` or `(template,template)`.
    fn section(&mut self, rest: &str, place: &str) {
        let Some((name, options)) = rest.split_once(']') else {
            self.current = None;
            return self.problem(place, "a section without `]`: what follows is left out");
        };
        let name = name.trim();
        let options = options.trim();
        let options = options.strip_prefix('(').and_then(|list| list.split_once(')'));
        let options = options.map_or("", |(list, _)| list);
        let mut section = Section { name: name.to_owned(), ..Section::default() };
        let mut more = false;
        for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match option {
                "!" => section.template = true,
                "+" => more = true,
                template => {
                    if let Some(&at) = self.places.get(template) {
                        let inherited = self.conf.sections[at].entries.iter().cloned();
                        section.entries.extend(inherited.take(MOST_INHERITED));
                    } else {
                        let template = template.escape_debug();
                        self.problem(place, &format!("there is no template {template}"));
                    }
                }
            }
        }
        let name_told = name.escape_debug().to_string();
        if let Some(&at) = self.places.get(name) {
            if !more {
                self.problem(place, &format!("[{name_told}] stands twice: both are read"));
            }
            let room = MOST_ENTRIES.saturating_sub(self.conf.sections[at].entries.len());
            self.conf.sections[at].entries.extend(section.entries.into_iter().take(room));
            self.current = Some(at);
        } else {
            if more {
                self.problem(place, &format!("there is no [{name_told}] to add to"));
            }
            self.places.insert(name.to_owned(), self.conf.sections.len());
            self.current = Some(self.conf.sections.len());
            self.conf.sections.push(section);
        }
    }

    /// `key = value`, `key => value`, `key += value`.
    fn entry(&mut self, line: &str, place: &str) {
        let Some((key, value)) = line.split_once('=') else {
            return self.problem(place, &format!("no `=` in: {}", shown(line)));
        };
        let Some(at) = self.current else {
            return self.problem(place, &format!("outside of any section: {}", shown(key)));
        };
        let value = value.strip_prefix('>').unwrap_or(value).trim();
        let (key, more) = match key.strip_suffix('+') {
            Some(key) => (key.trim(), true),
            None => (key.trim(), false),
        };
        let section = &mut self.conf.sections[at];
        let before = if more { section.last(key).unwrap_or_default() } else { "" };
        let value = format!("{before}{value}");
        section.entries.push(Entry { key: key.to_owned(), value, place: place.to_owned() });
    }

    fn problem(&mut self, place: &str, what: &str) {
        if self.conf.problems.len() < MOST_PROBLEMS {
            self.conf.problems.push(format!("{place}: {what}"));
        }
    }
}

/// `;` to the end of the line, and `;-- … --;` over lines, one within another.
#[derive(Default)]
struct Comment {
    depth: usize,
}

impl Comment {
    /// The line without comments; `\;` is a semicolon.
    fn strip(&mut self, line: &str) -> String {
        let mut kept = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(';') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            let begins = after.starts_with("--") && !after.starts_with("---");
            if self.depth > 0 {
                if begins {
                    self.depth += 1;
                    rest = &after[2..];
                } else {
                    if before.ends_with("--") {
                        self.depth -= 1;
                    }
                    rest = after;
                }
            } else if let Some(before) = before.strip_suffix('\\') {
                kept.push_str(before);
                kept.push(';');
                rest = after;
            } else {
                kept.push_str(before);
                if !begins {
                    return kept;
                }
                self.depth = 1;
                rest = &after[2..];
            }
        }
        if self.depth == 0 {
            kept.push_str(rest);
        }
        kept
    }
}

/// Old files are in Latin-1, where every byte is a character.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// A line may hold a password: only its beginning is told.
fn shown(line: &str) -> String {
    let end = |c: char| matches!(c, '=' | '>' | ',') || c.is_whitespace();
    let start: String = line.trim().chars().take_while(|c| !end(*c)).take(20).collect();
    start.escape_debug().to_string()
}

/// Asterisk's own limit.
const DEEPEST: usize = 10;
const MOST_PROBLEMS: usize = 10_000;
/// A template that inherits from itself again and again ends here.
const MOST_INHERITED: usize = 10_000;
const MOST_ENTRIES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Conf {
        let source = Source { name: "voicemail.conf".into(), bytes: text.into() };
        Conf::parse(&source, &mut |name| match name {
            "more.conf" => {
                let bytes = b"2000 => 1,Two\n[late]\n3000 => 1,Three\n".to_vec();
                Ok(vec![Source { name: name.into(), bytes }])
            }
            "loop.conf" => {
                Ok(vec![Source { name: name.into(), bytes: b"#include loop.conf\n".to_vec() }])
            }
            _ => Err(format!("cannot read {name}")),
        })
    }

    fn entries(conf: &Conf, section: &str) -> Vec<(String, String)> {
        let section = conf.section(section).unwrap_or_else(|| panic!("[{section}]"));
        section.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn keys_and_values_come_in_every_spelling() {
        let conf = parse(
            "\u{feff}[general]\n a=1\nb => 2 \n c\t=\t3 ; why\nd = x\\;y\nd += z\n\n;e=5\n[default] ; box\n\
             1234 => 4242,Jane = Doe,j@x.org\n",
        );
        assert_eq!(
            entries(&conf, "general"),
            pairs(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "x;y"), ("d", "x;yz")])
        );
        assert_eq!(entries(&conf, "default"), pairs(&[("1234", "4242,Jane = Doe,j@x.org")]));
        assert_eq!(conf.section("general").unwrap().last("D"), Some("x;yz"));
        assert_eq!(conf.problems, Vec::<String>::new());
    }

    #[test]
    fn comments_of_several_lines_nest() {
        let conf = parse(
            "[a]\none=1 ;-- gone\ntwo=2\n;-- deeper --; three=3\nfour=4 --; five=5\nsix=6 ;-- x --;\n\
             ;--- an ordinary one\nseven=7\neight=8 --; x\n",
        );
        assert_eq!(
            entries(&conf, "a"),
            pairs(&[("one", "1"), ("five", "5"), ("six", "6"), ("seven", "7"), ("eight", "8 --")])
        );
        let conf = parse("[a]\none=1\n;-- never ended\ntwo=2\n");
        assert_eq!(entries(&conf, "a").len(), 1);
        assert_eq!(conf.problems, ["voicemail.conf: a comment begun with ;-- is never ended"]);
    }

    #[test]
    fn templates_are_inherited_and_overridden() {
        let conf = parse(
            "[base](!)\nmaxmsg=5\ntz=central\n[loud](!)\ntz=madrid\n[general](base,loud)\nmaxmsg=9\n\
             [general](+)\nattach=no\n[odd](none)\n",
        );
        let general = conf.section("general").unwrap();
        assert_eq!((general.last("maxmsg"), general.last("tz")), (Some("9"), Some("madrid")));
        assert_eq!(general.last("attach"), Some("no"));
        assert!(conf.section("base").is_none(), "a template is no section");
        assert_eq!(conf.problems, ["voicemail.conf:10: there is no template none"]);
    }

    #[test]
    fn what_is_included_belongs_to_the_section_that_includes_it() {
        let conf = parse(
            "[default]\n1000 => 1,One\n#include \"more.conf\"\n4000 => 1,Four\n\
             #tryinclude <none.conf>\n#include none.conf\n#exec \"/bin/rm -rf /\"\n#strange\n",
        );
        assert_eq!(entries(&conf, "default"), pairs(&[("1000", "1,One"), ("2000", "1,Two")]));
        assert_eq!(entries(&conf, "late"), pairs(&[("3000", "1,Three"), ("4000", "1,Four")]));
        assert_eq!(
            conf.problems,
            [
                "voicemail.conf:6: cannot read none.conf",
                "voicemail.conf:7: #exec is not run: /bin/rm -rf /",
                "voicemail.conf:8: unknown directive #strange",
            ]
        );
        assert_eq!(conf.section("default").unwrap().entries[1].place, "more.conf:1");
    }

    #[test]
    fn what_includes_itself_ends() {
        let conf = parse("#include loop.conf\n");
        assert_eq!(conf.problems, ["loop.conf:1: loop.conf is included too deeply"]);
    }

    #[test]
    fn what_cannot_be_understood_is_told_without_its_secrets() {
        let conf = parse("a=1\n[open\n[x]\n1000 4242,Jane\n");
        assert_eq!(
            conf.problems,
            [
                "voicemail.conf:1: outside of any section: a",
                "voicemail.conf:2: a section without `]`: what follows is left out",
                "voicemail.conf:4: no `=` in: 1000",
            ]
        );
    }

    #[test]
    fn latin_1_is_read_as_such() {
        let source = Source { name: "v".into(), bytes: b"[d]\n1 => 1,Zo\xeb\n".to_vec() };
        let conf = Conf::parse(&source, &mut |_| Err(String::new()));
        assert_eq!(entries(&conf, "d"), pairs(&[("1", "1,Zoë")]));
    }
}
