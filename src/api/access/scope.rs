//! What a key may be good for, and what each address asks for.

use std::fmt;
use std::str::FromStr;

use actix_web::http::Method;

/// What a key allows. None of them implies another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Running scripts, and whatever became of them.
    Execute,
    /// Looking at images, pulling and removing them.
    Images,
    /// What the operator looks at.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Execute, Self::Images, Self::Admin];

    /// The word for it in the key file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Images => "images",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|scope| scope.name() == text);
        named.ok_or("write execute, images or admin")
    }
}

/// What an address asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// Any key: there is nothing at this address, and that is nobody else's business.
    Key,
    Scope(Scope),
    /// The same, to change what others run in: never without a key from beyond this machine.
    Change(Scope),
}

impl Needs {
    /// Of a path as the router sees it. Whatever is not known to be public is not.
    #[must_use]
    pub fn of(method: &Method, path: &str) -> Self {
        let beneath = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = beneath.split_once('/').map_or((beneath, None), |(a, b)| (a, Some(b)));
        match (first, rest) {
            ("health" | "ready" | "openapi.json", None) | ("docs", _) => Self::Nothing,
            ("execute" | "executions" | "languages", _) => Self::Scope(Scope::Execute),
            ("runtimes", _) if [Method::POST, Method::DELETE].contains(method) => {
                Self::Change(Scope::Admin)
            }
            ("runtimes", _) => Self::Scope(Scope::Execute),
            ("images", _) => Self::Scope(Scope::Images),
            ("metrics", _) => Self::Scope(Scope::Admin),
            _ => Self::Key,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/health", Needs::Nothing)]
    #[case("/health/", Needs::Key)]
    #[case("/ready", Needs::Nothing)]
    #[case("/openapi.json", Needs::Nothing)]
    #[case("/docs", Needs::Nothing)]
    #[case("/docs/a/b.js", Needs::Nothing)]
    #[case("/docsx", Needs::Key)]
    #[case("/metrics", Needs::Scope(Scope::Admin))]
    #[case("/execute", Needs::Scope(Scope::Execute))]
    #[case("/executions/1/events", Needs::Scope(Scope::Execute))]
    #[case("/languages", Needs::Scope(Scope::Execute))]
    #[case("/runtimes", Needs::Scope(Scope::Execute))]
    #[case("/runtimes/a", Needs::Scope(Scope::Execute))]
    #[case("/images", Needs::Scope(Scope::Images))]
    #[case("/images/a/b:1", Needs::Scope(Scope::Images))]
    #[case("//health", Needs::Key)]
    #[case("/Health", Needs::Key)]
    #[case("/", Needs::Key)]
    #[case("", Needs::Key)]
    #[case("*", Needs::Key)]
    fn only_what_is_known_is_public(#[case] path: &str, #[case] needs: Needs) {
        assert_eq!(Needs::of(&Method::GET, path), needs);
    }

    #[rstest]
    #[case(Method::HEAD, Needs::Scope(Scope::Execute))]
    #[case(Method::PUT, Needs::Scope(Scope::Execute))]
    #[case(Method::POST, Needs::Change(Scope::Admin))]
    #[case(Method::DELETE, Needs::Change(Scope::Admin))]
    fn who_changes_runtimes_needs_more(#[case] method: Method, #[case] needs: Needs) {
        assert_eq!(Needs::of(&method, "/runtimes/a"), needs);
        assert_eq!(Needs::of(&method, "/executions/a"), Needs::Scope(Scope::Execute));
    }
}
