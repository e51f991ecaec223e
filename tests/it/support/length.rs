//! How long the suite may take: what must hold many times, or takes minutes by its nature, has a short
//! form that every run has, and its full one for `ONCEBOX_TEST_LENGTH=full`.

/// Whether the full form is asked for.
///
/// # Panics
/// When something else than `full` or `short` is.
pub fn full() -> bool {
    match std::env::var("ONCEBOX_TEST_LENGTH").as_deref() {
        Ok("full") => true,
        Ok("short") | Err(_) => false,
        Ok(other) => panic!("ONCEBOX_TEST_LENGTH is '{other}'; there are short and full"),
    }
}

/// How often something is repeated.
pub fn rounds(few: usize, all: usize) -> usize {
    if full() { all } else { few }
}
