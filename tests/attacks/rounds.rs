//! How often an attack is repeated.

/// All of the rounds that a row asks for with `ONCEBOX_ATTACKS=full`, a few otherwise.
pub fn rounds(few: usize, all: usize) -> usize {
    match std::env::var("ONCEBOX_ATTACKS").as_deref() {
        Ok("full") => all,
        Ok(other) => panic!("ONCEBOX_ATTACKS is {other:?}; there is \"full\""),
        Err(_) => few,
    }
}
