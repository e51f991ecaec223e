//! Texts of a request that can only be made valid: each type's constructor holds its rules.

use crate::registry::quoted;

/// Bytes of one argument or of one `NAME=value`, at most: the kernel's `MAX_ARG_STRLEN`, less the
/// closing NUL (execve(2)).
pub const MAX_STRING: usize = 128 * 1024 - 1;
/// Bytes of one path component, at most (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// Bytes of a path, at most (`PATH_MAX`, less the closing NUL).
const MAX_PATH: usize = 4095;
/// Components of a path, at most.
const MAX_DEPTH: usize = 64;

/// A value that breaks the rules of its field; the text completes "`field`: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A program argument: no NUL, less than 128 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg(String);

/// An environment variable's name, as wide as Docker and the kernel take it (`1`, `a.b` and `É` are
/// names): not empty, no `=`, no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvName(String);

/// An environment variable's value: no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvValue(String);

/// A path that stays beneath the working directory whatever it is resolved against.
///
/// Relative, without empty components, `.` and `..`, without control characters. Everything else
/// is literal: `%2e`, a backslash, spaces inside, quotes, `$(id)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

/// A pattern of result files, relative to the working directory: a [`RelativePath`] in which `*`
/// and `?` stand for any characters and any one character of a name, `[abc]`, `[a-z]` and `[!a]`
/// for one of a set, and `**` as a whole component for any number of directories. A backslash is
/// literal here too; `[*]` is a literal star.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

macro_rules! text {
    ($name:ident, $check:expr) => {
        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), String> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(why) => Err(Invalid(why)),
                }
            }
        }
    };
}

text!(Arg, |arg| string("an argument", arg));
text!(EnvName, env_name);
text!(EnvValue, |value| string("a value", value));
text!(RelativePath, path);
text!(Pattern, pattern);

/// Values are not quoted in messages: they may be secrets.
fn string(what: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("{what} cannot hold a NUL character"));
    }
    if text.len() > MAX_STRING {
        return Err(format!(
            "{what} of {} bytes is too long, the most is {MAX_STRING}",
            text.len()
        ));
    }
    Ok(())
}

fn env_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is empty".into());
    }
    if name.contains('=') || name.contains(char::is_control) {
        return Err(format!("the name {} holds = or a control character", quoted(name)));
    }
    string("a name", name)
}

fn path(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{} {why}", quoted(text)));
    if text.trim().is_empty() {
        return Err("a path is empty".into());
    }
    if text.starts_with('/') {
        return refuse("is absolute; paths are relative to the working directory");
    }
    if text.contains(char::is_control) {
        return refuse("holds a control character");
    }
    if text.len() > MAX_PATH {
        return refuse(&format!("has {} bytes, the most is {MAX_PATH}", text.len()));
    }
    let depth = text.split('/').count();
    if depth > MAX_DEPTH {
        return refuse(&format!("has {depth} components, the most is {MAX_DEPTH}"));
    }
    for component in text.split('/') {
        match component {
            "" => return refuse("has an empty component; leave out the extra /"),
            "." | ".." => return refuse("has a component . or ..; write the path without it"),
            long if long.len() > MAX_COMPONENT => {
                return refuse(&format!("has a component of more than {MAX_COMPONENT} bytes"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn pattern(text: &str) -> Result<(), String> {
    path(text)?;
    for component in text.split('/') {
        if component.contains("**") && component != "**" {
            return Err(format!("in {} the ** must stand alone between /", quoted(text)));
        }
        if !balanced(component) {
            return Err(format!("{} has a [ without its ]", quoted(text)));
        }
    }
    Ok(())
}

/// Whether every set is closed. A `]` first in a set, also after `!` or `^`, is its member.
fn balanced(mut component: &str) -> bool {
    while let Some((_, set)) = component.split_once('[') {
        let members = set.strip_prefix(['!', '^']).unwrap_or(set);
        let Some(end) = members.char_indices().skip(1).find(|(_, c)| *c == ']') else {
            return false;
        };
        component = &members[end.0 + 1..];
    }
    true
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn path(text: &str) -> Result<RelativePath, Invalid> {
        text.to_owned().try_into()
    }

    fn pattern(text: &str) -> Result<Pattern, Invalid> {
        text.to_owned().try_into()
    }

    #[rstest]
    #[case("a")]
    #[case("a/b.txt")]
    #[case("..x/x../...")]
    #[case("%2e%2e/x")]
    #[case(r"..\x")]
    #[case("$(id)")]
    #[case(";id;")]
    #[case("-rf")]
    #[case("a b/`c`/\"d\"/*")]
    #[case("\u{202e}txt/e\u{301}/\u{e9}/🦀")]
    fn literal_names_are_kept_as_they_are(#[case] text: &str) {
        assert_eq!(path(text).unwrap().as_str(), text);
    }

    #[rstest]
    #[case("", "empty")]
    #[case("  ", "empty")]
    #[case("/etc/x", "absolute")]
    #[case("../x", "..")]
    #[case("a/../../x", "..")]
    #[case("./../x", "..")]
    #[case("./x", ".")]
    #[case(".", ".")]
    #[case("..", "..")]
    #[case("a/.", ".")]
    #[case("a//b", "empty component")]
    #[case("a/", "empty component")]
    #[case("a\0b", "control")]
    #[case("a\nb", "control")]
    #[case("a\u{7f}", "control")]
    #[case("a\u{85}", "control")]
    fn paths_that_could_leave_or_confuse_are_refused(#[case] text: &str, #[case] reason: &str) {
        let Invalid(why) = path(text).unwrap_err();
        assert!(why.contains(reason), "{why}");
        assert!(!why.contains(char::is_control), "{why}");
    }

    #[test]
    fn paths_are_capped_in_length_and_depth() {
        assert!(path(&"a".repeat(255)).is_ok());
        assert!(path(&"a".repeat(256)).is_err());
        assert!(path(&"é".repeat(128)).is_err());
        assert!(path(&["a"; 64].join("/")).is_ok());
        assert!(path(&["a"; 65].join("/")).is_err());
        let long = vec!["a".repeat(255); 16].join("/");
        assert_eq!(long.len(), 4095);
        assert!(path(&long).is_ok());
        assert!(path(&format!("{long}a")).is_err());
    }

    #[rstest]
    #[case("*.txt", true)]
    #[case("**/*.txt", true)]
    #[case("out/**", true)]
    #[case("a?[a-c][!x]", true)]
    #[case("[]]", true)]
    #[case("[!]]", true)]
    #[case("[*]", true)]
    #[case("a]", true)]
    #[case(r"a\b", true)]
    #[case("a**", false)]
    #[case("***", false)]
    #[case("[", false)]
    #[case("[]", false)]
    #[case("[!]", false)]
    #[case("[a]b[c", false)]
    #[case("[a/b]", false)]
    #[case("../*", false)]
    #[case("/tmp/*", false)]
    fn patterns_are_paths_with_closed_sets(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(pattern(text).is_ok(), valid);
    }

    #[rstest]
    #[case("A", true)]
    #[case("1", true)]
    #[case("a.b-c d", true)]
    #[case("BASH_FUNC_x%%", true)]
    #[case("LD_PRELOAD", true)]
    #[case("", false)]
    #[case("A=B", false)]
    #[case("A\0", false)]
    #[case("A\n", false)]
    fn env_names(#[case] name: &str, #[case] valid: bool) {
        assert_eq!(EnvName::try_from(name.to_owned()).is_ok(), valid);
    }

    #[test]
    fn args_and_values_hold_anything_but_nul() {
        assert!(Arg::try_from("a\nb\u{1b}".to_owned()).is_ok());
        assert!(Arg::try_from(String::new()).is_ok());
        assert!(Arg::try_from("a".repeat(MAX_STRING)).is_ok());
        assert!(Arg::try_from("a".repeat(MAX_STRING + 1)).is_err());
        assert!(EnvValue::try_from("a\nb".to_owned()).is_ok());
        let Invalid(why) = EnvValue::try_from("secret\0".to_owned()).unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}
