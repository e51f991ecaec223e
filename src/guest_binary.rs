//! The guest's program, embedded: `build.rs` builds it, the engines hand it to their containers.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/oncebox-guest"));

/// The whole program: a static ELF executable for the machine the service was built for.
#[must_use]
pub fn bytes() -> &'static [u8] {
    BYTES
}

/// SHA-256 of [`bytes`] in lowercase hex, to name the guest by its content.
#[must_use]
pub fn digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| Sha256::digest(BYTES).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_a_small_program_named_by_its_content() {
        assert!(bytes().starts_with(b"\x7fELF"));
        assert!(bytes().len() < 2 << 20, "{} bytes", bytes().len());
        assert_eq!(digest().len(), 64);
        assert!(digest().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
