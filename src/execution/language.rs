//! The catalogue of languages: how to run a script that does not say so itself.

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    pub name: &'static str,
    /// Interpreter argument vectors, tried in order until one's program exists; the script's path
    /// and the request's args follow.
    pub interpreters: &'static [&'static [&'static str]],
    /// The script's file name beneath the working directory.
    pub file_name: &'static str,
}
