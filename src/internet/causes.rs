//! Errors with what is beneath them.

use std::error::Error;

/// An error and its causes in one line, as the outermost alone often says no more than "client
/// error"; a cause that the text before it ends with is said once.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
        next = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Above {
        said: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_said_once() {
        let above = |said| Above { said, source: io::Error::other("no route") };
        assert_eq!(causes(&above("not connected")), "not connected: no route");
        assert_eq!(causes(&above("not connected: no route")), "not connected: no route");
    }
}
