//! Patterns of result files.
//!
//! `*` stands for any run of characters within a name, `?` for one character, `[a-z]` and `[!a-z]`
//! for one of a set or one outside it, and `**` as a whole component for any run of folders.
//! Everything else stands for itself; names that begin with a dot are no exception. A pattern is
//! matched component by component on the way down, so that folders that cannot hold a match are
//! never entered, and the work is bounded whatever the pattern.

/// The patterns of one job.
pub struct Globs(Vec<Vec<Component>>);

enum Component {
    /// `**`
    Folders,
    Name(Vec<u8>),
}

/// How far each pattern has got on the way to one folder: pattern and component numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<(usize, usize)>);

impl Place {
    /// Nothing beneath this folder can match.
    #[must_use]
    pub fn is_dead_end(&self) -> bool {
        self.0.is_empty()
    }
}

impl Globs {
    #[must_use]
    pub fn new(patterns: &[Vec<u8>]) -> Self {
        Self(patterns.iter().map(|pattern| parse(pattern)).collect())
    }

    /// The place of the working directory itself.
    #[must_use]
    pub fn start(&self) -> Place {
        let mut place = Place(Vec::new());
        for pattern in 0..self.0.len() {
            self.arrive(&mut place, pattern, 0);
        }
        place
    }

    /// Whether a name in the folder at `place` is matched, and the place of that name if it is a
    /// folder.
    #[must_use]
    pub fn step(&self, place: &Place, name: &[u8]) -> (bool, Place) {
        let mut matched = false;
        let mut next = Place(Vec::new());
        for &(pattern, at) in &place.0 {
            let components = &self.0[pattern];
            let is_last = at + 1 == components.len();
            match &components[at] {
                Component::Folders => {
                    matched |= is_last;
                    self.arrive(&mut next, pattern, at);
                }
                Component::Name(wanted) if name_matches(wanted, name) => {
                    matched |= is_last;
                    self.arrive(&mut next, pattern, at + 1);
                }
                Component::Name(_) => {}
            }
        }
        (matched, next)
    }

    /// Whether a whole path is matched.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let (mut matched, mut place) = (false, self.start());
        for name in path.split(|byte| *byte == b'/') {
            (matched, place) = self.step(&place, name);
        }
        matched
    }

    /// Adds a component to be matched next, and the one after it where it may stand for nothing.
    fn arrive(&self, place: &mut Place, pattern: usize, at: usize) {
        let Some(component) = self.0[pattern].get(at) else { return };
        if !place.0.contains(&(pattern, at)) {
            place.0.push((pattern, at));
            if matches!(component, Component::Folders) {
                self.arrive(place, pattern, at + 1);
            }
        }
    }
}

fn parse(pattern: &[u8]) -> Vec<Component> {
    let mut components: Vec<Component> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            // Two in a row stand for the same as one.
            b"**" if matches!(components.last(), Some(Component::Folders)) => {}
            b"**" => components.push(Component::Folders),
            name => components.push(Component::Name(name.to_vec())),
        }
    }
    components
}

/// Matches one name. Only the last `*` is ever gone back to, so the time is at most the product
/// of the lengths.
fn name_matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not match: after it, one character on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((rest, name));
        } else if let (Some(pattern_rest), Some((_, name_rest))) =
            (match_one(pattern, name), first(name))
        {
            (pattern, name) = (pattern_rest, name_rest);
        } else if pattern.is_empty() && name.is_empty() {
            return true;
        } else {
            let Some((after, from)) = retry else { return false };
            let Some((_, from)) = first(from) else { return false };
            retry = Some((after, from));
            (pattern, name) = (after, from);
        }
    }
}

/// Matches the first character of a name; the rest of the pattern where it does.
fn match_one<'p>(pattern: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let (character, _) = first(name)?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => match class(rest, character) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            // Without its end a bracket stands for itself.
            None => (character == u32::from(b'[')).then_some(rest),
        },
        _ => first(pattern).and_then(|(wanted, rest)| (wanted == character).then_some(rest)),
    }
}

/// Whether a character is in the set whose inside begins here, and what follows the set; `None`
/// where the set has no end.
fn class(mut set: &[u8], character: u32) -> Option<(bool, &[u8])> {
    let negated = matches!(set, [b'!' | b'^', ..]);
    if negated {
        set = &set[1..];
    }
    let mut found = false;
    let mut is_first = true;
    loop {
        let (low, rest) = first(set)?;
        if low == u32::from(b']') && !is_first {
            return Some((found != negated, rest));
        }
        is_first = false;
        let (high, rest) = match rest {
            [b'-', end @ ..] if !matches!(end, [b']', ..]) => first(end)?,
            _ => (low, rest),
        };
        found |= (low..=high).contains(&character);
        set = rest;
    }
}

/// The first character and the rest. A byte that is not part of one counts alone, beyond all
/// characters.
fn first(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let lead = *bytes.first()?;
    let len = match lead {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    };
    let whole = bytes.get(..len).and_then(|head| std::str::from_utf8(head).ok());
    match whole.and_then(|text| text.chars().next()) {
        Some(character) => Some((character.into(), &bytes[len..])),
        None => Some((0x11_0000 + u32::from(lead), &bytes[1..])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Globs::new(&[pattern.as_bytes().to_vec()]).matches(path.as_bytes())
    }

    #[test]
    fn patterns_match_what_they_say() {
        let yes = [
            ("out.txt", "out.txt"),
            ("./out.txt", "out.txt"),
            ("*", ".hidden"),
            ("*.txt", "a.txt"),
            ("*a*b*", "xaxxbx"),
            ("a?c", "aöc"),
            ("a?c", "abc"),
            ("[a-c]1", "b1"),
            ("[!a-c]1", "d1"),
            ("[^a]", "b"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("[", "["),
            ("[a", "[a"),
            ("[*]", "*"),
            ("dir/*", "dir/x"),
            ("**", "a/b/c"),
            ("**/c", "c"),
            ("**/c", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/b/b/c"),
            ("a/**", "a/b/c"),
            ("**/**/c", "c"),
            ("**/b/**", "a/b/c"),
        ];
        let no = [
            ("out.txt", "out_txt"),
            ("*.txt", "dir/a.txt"),
            ("*", "a/b"),
            ("a?c", "ac"),
            ("[a-c]1", "d1"),
            ("[!a-c]1", "b1"),
            ("a/**", "a"),
            ("**/c", "cc"),
            ("a**", "a/b"),
            ("", "a"),
            ("..", "a"),
            ("/tmp/work/a", "a"),
        ];
        for (pattern, path) in yes {
            assert!(matches(pattern, path), "{pattern} should match {path}");
        }
        for (pattern, path) in no {
            assert!(!matches(pattern, path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn folders_without_hope_are_dead_ends() {
        let globs = Globs::new(&[b"a/*.txt".to_vec(), b"b".to_vec()]);
        let start = globs.start();
        assert!(!globs.step(&start, b"a").1.is_dead_end());
        assert_eq!(globs.step(&start, b"b"), (true, Place(vec![])));
        assert!(globs.step(&start, b"c").1.is_dead_end());
    }

    #[test]
    fn a_bomb_of_stars_ends() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(255)));
        let deep = "**/a/".repeat(100) + "b";
        assert!(!matches(&deep, &vec!["a"; 64].join("/")));
    }

    /// The same rules once more, as plainly as they can be said.
    fn plain(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**"], [_, ..]) => true,
            (["**", rest @ ..], _) if !rest.is_empty() => {
                (0..=path.len()).any(|skip| plain(rest, &path[skip..]))
            }
            ([first, pattern @ ..], [name, path @ ..]) => {
                let first: Vec<char> = first.chars().collect();
                let name: Vec<char> = name.chars().collect();
                plain_name(&first, &name) && plain(pattern, path)
            }
            _ => false,
        }
    }

    fn plain_name(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|skip| plain_name(rest, &name[skip..])),
            (['?', rest @ ..], [_, name @ ..]) => plain_name(rest, name),
            ([wanted, rest @ ..], [found, name @ ..]) => wanted == found && plain_name(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_rules(
            pattern in prop::collection::vec("[ab*?ö]{1,4}|\\*\\*", 1..5),
            path in prop::collection::vec("[abö]{1,4}", 1..5),
        ) {
            let mut once: Vec<&str> = pattern.iter().map(String::as_str).collect();
            once.dedup_by(|a, b| a == b && *a == "**");
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            prop_assert_eq!(matches(&pattern.join("/"), &path.join("/")), plain(&once, &path));
        }

        #[test]
        fn any_bytes_are_safe(pattern: Vec<u8>, names: Vec<Vec<u8>>) {
            let globs = Globs::new(&[pattern]);
            let mut place = globs.start();
            for name in &names {
                place = globs.step(&place, name).1;
            }
        }

        #[test]
        fn a_plain_name_matches_itself_alone(name in "[a-z.ö-]{1,20}", other in "[a-z.ö-]{1,20}") {
            prop_assert!(matches(&name, &name) || name == ".");
            prop_assert_eq!(matches(&name, &other), name == other && name != ".");
        }
    }
}
