//! The floors of ARCHITECTURE.md: a module uses its own floor and those below, and no file grows
//! beyond what one can read.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is surprised shall fail")]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first.
const FLOORS: [&str; 9] =
    ["reactor", "net", "codec", "relay", "config", "observe", "daemon", "tui", "cli"];
/// Files that stand on top of the house and see all of it.
const ROOF: [&str; 2] = ["lib", "main"];
/// Lines of a file in front of its tests, at most.
const MAX_LINES: usize = 500;

#[test]
fn no_module_uses_a_floor_above_its_own() {
    let files = source_files();
    assert!(files.len() > 20, "the sources are not where they are looked for");
    let faults: Vec<_> = files.iter().flat_map(|file| faults_in(file, &read(file))).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let homeless: Vec<_> = source_files()
        .into_iter()
        .filter(|file| floor(&module(file)).is_none() && !is_roof(&module(file)))
        .collect();
    assert!(homeless.is_empty(), "not a floor of the house: {homeless:?}");
}

#[test]
fn no_file_grows_beyond_what_one_can_read() {
    let lengths = source_files().into_iter().map(|file| (lines_before_tests(&read(&file)), file));
    let long: Vec<_> = lengths
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, file)| format!("{}: {lines} lines before its tests", file.display()))
        .collect();
    assert!(long.is_empty(), "at most {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn paths_upwards_are_found_however_they_are_written() {
    let faults = |file: &str, text: &str| faults_in(Path::new(file), text);
    let in_net = |text: &str| faults("src/net/dial.rs", text);
    assert_eq!(
        in_net("//! Dials.\n\nuse crate::relay::Peer;\n"),
        ["src/net/dial.rs:3: `crate::relay` is on floor 3 (relay), above floor 1 (net)"]
    );
    assert_eq!(
        in_net("use crate::{\n    config::Error,\n    reactor::{self, table::Key},\n};\n"),
        ["src/net/dial.rs:2: `crate::config` is on floor 4 (config), above floor 1 (net)"]
    );
    assert_eq!(in_net("use super::super::cli;\n").len(), 1);
    assert_eq!(in_net("fn f() -> super::super::codec::Error {}\n").len(), 1);
    assert_eq!(in_net("mod tests {\n    use super::super::stream;\n}\n"), [""; 0]);
    assert_eq!(in_net("mod tests {\n    use super::super::super::cli;\n}\n").len(), 1);
    assert_eq!(in_net("mod tests {\n}\nuse super::super::cli;\n").len(), 1);
    assert_eq!(faults("src/net/mod.rs", "use super::codec;\n").len(), 1);
    assert_eq!(in_net("pub(in crate::net) use super::url; // crate::cli\n"), [""; 0]);
    assert_eq!(in_net("const A: (&str, char) = (\"crate::cli\", '\"'); // \"\n"), [""; 0]);
    assert_eq!(in_net("const B: &[u8] = br#\"crate::cli \"quoted\"\"#;\n"), [""; 0]);
    assert_eq!(in_net("/* crate::cli */ fn f<'a>(b: &'a str) {} use crate::tui;\n").len(), 1);
    assert_eq!(faults("src/cli/mod.rs", "use crate::daemon::Daemon;\n"), [""; 0]);
    assert_eq!(faults("src/lib.rs", "pub use crate::cli::main;\n"), [""; 0]);
    assert_eq!(faults("src/reactor/mod.rs", "use crate::gossip;\n").len(), 1, "no floor at all");
}

fn source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

fn lines_before_tests(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

/// The module that a file makes: `src/codec/ws/mod.rs` is `codec::ws`.
fn module(file: &Path) -> Vec<String> {
    let path = file.strip_prefix("src").unwrap().with_extension("");
    let mut module: Vec<_> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn is_roof(module: &[String]) -> bool {
    module.len() == 1 && ROOF.contains(&module[0].as_str())
}

fn floor(module: &[String]) -> Option<usize> {
    FLOORS.iter().position(|floor| module.first().is_some_and(|first| first == floor))
}

/// A line for each path of a file that leads upwards, or out of the house.
fn faults_in(file: &Path, text: &str) -> Vec<String> {
    let own = module(file);
    if is_roof(&own) {
        return Vec::new();
    }
    let own_floor = floor(&own).unwrap_or_else(|| panic!("{} has no floor", file.display()));
    let mut faults = Vec::new();
    for Reached { line, written, top } in paths(&tokens(text), &own) {
        let place = format!("{}:{line}: `{written}`", file.display());
        match FLOORS.iter().position(|floor| **floor == top) {
            None => faults.push(format!("{place} is on no floor")),
            Some(floor) if floor > own_floor => faults.push(format!(
                "{place} is on floor {floor} ({top}), above floor {own_floor} ({})",
                FLOORS[own_floor]
            )),
            Some(_) => {}
        }
    }
    faults
}

/// A path that reaches the top of the crate, and the module that it enters from there.
struct Reached {
    line: usize,
    written: String,
    top: String,
}

/// The paths of a file that begin with `crate` or `super`.
fn paths(tokens: &[Token], file_module: &[String]) -> Vec<Reached> {
    let mut reached = Vec::new();
    let mut module = file_module.to_vec();
    // Braces that are open, and whether each is a module's.
    let mut braces = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| tokens[before].text.as_str());
        match token.text.as_str() {
            "{" => {
                let is_module = at >= 2 && tokens[at - 2].text == "mod";
                braces.push(is_module);
                if is_module {
                    module.push(tokens[at - 1].text.clone());
                }
            }
            "}" if braces.pop() == Some(true) => drop(module.pop()),
            "crate" if before != Some("::") => follow(&tokens[at..], Vec::new(), &mut reached),
            "super" if before != Some("::") => {
                let parent = module[..module.len() - 1].to_vec();
                follow(&tokens[at..], parent, &mut reached);
            }
            _ => {}
        }
    }
    reached
}

/// Follows a path from its first word, which leads to `module`, until it goes down again.
fn follow(tokens: &[Token], mut module: Vec<String>, reached: &mut Vec<Reached>) {
    let mut written = tokens[0].text.clone();
    let mut at = 1;
    while tokens.get(at).is_some_and(|token| token.text == "::") {
        let Some(word) = tokens.get(at + 1) else { return };
        if word.text == "{" {
            for first in group(&tokens[at + 1..]) {
                reach(first, &module, &written, reached);
            }
            return;
        }
        if word.text != "super" {
            reach(word, &module, &written, reached);
            return;
        }
        module.pop();
        written.push_str("::super");
        at += 2;
    }
}

fn reach(word: &Token, module: &[String], written: &str, reached: &mut Vec<Reached>) {
    // What is inside a module is on its floor, whatever it is.
    if module.is_empty() && word.is_word() && word.text != "self" {
        let (line, written) = (word.line, format!("{written}::{}", word.text));
        reached.push(Reached { line, written, top: word.text.clone() });
    }
}

/// The first words of the paths in braces.
fn group(tokens: &[Token]) -> Vec<&Token> {
    let mut firsts = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let begins = matches!(token.text.as_str(), "{" | ",");
        firsts.extend(tokens.get(at + 1).filter(|_| depth == 1 && begins));
    }
    firsts
}

/// A word or a sign of the code.
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The words and signs of a file, without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let length = token_length(rest, first);
            if !first.is_whitespace() {
                tokens.push(Token { line, text: rest[..length].to_owned() });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str, first: char) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if is_word(first) {
        return rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// The length of the comment or literal that a text begins with.
fn skipped(rest: &str) -> Option<usize> {
    let through = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(through(2, "*/"));
    }
    for hashes in ["", "#", "##"] {
        for begin in [format!("r{hashes}\""), format!("br{hashes}\"")] {
            if rest.starts_with(&begin) {
                return Some(through(begin.len(), &format!("\"{hashes}")));
            }
        }
    }
    match rest.strip_prefix('\'') {
        Some(inside) if inside.starts_with('\\') => return Some(through(3, "'")),
        Some(inside) => {
            let mut chars = inside.chars();
            let character = chars.next()?;
            return (chars.next() == Some('\'')).then(|| character.len_utf8() + 2);
        }
        None => {}
    }
    rest.starts_with('"').then(|| string_length(rest))
}

fn string_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    rest.len()
}
