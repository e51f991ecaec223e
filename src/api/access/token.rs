//! API keys as their holders have them, and the hashes that are kept of them.

use std::fmt;
use std::io;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// How every key begins, so that one that has leaked is found by whoever looks for it.
const PREFIX: &str = "obx_";
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Characters of the shortest key that is ever let in, whatever the key file says.
const SHORTEST: usize = 32;
/// How a hash is written.
const SHA256: &str = "sha256:";

/// A key in plain, never shown by `Debug`.
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; RANDOM];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// To be shown once, to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// There may be a key in plain in this text, so it must not be repeated.
pub fn may_hold_a_key(text: &str) -> bool {
    text.contains(PREFIX)
}

/// What a request presents as its key.
pub struct Presented {
    hash: Hash,
    long_enough: Choice,
}

impl Presented {
    pub fn new(text: &[u8]) -> Self {
        let long_enough = Choice::from(u8::from(text.len() >= SHORTEST));
        Self { hash: Hash::of(text), long_enough }
    }

    /// How long this takes says nothing of either.
    pub fn is(&self, hash: &Hash) -> Choice {
        self.hash.0.ct_eq(&hash.0) & self.long_enough
    }
}

/// The SHA-256 of a key. A key is 256 random bits, so a slow hash would protect nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHA256)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    /// Errors never repeat the text: it may be a key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if may_hold_a_key(text) {
            return Err("that is a key, and only its hash belongs here; it may have been read by \
                        others, so make a new one by `oncebox key new`");
        }
        let rule = "write sha256: and the 64 hex digits that `oncebox key new` says";
        let digits = text.strip_prefix(SHA256).filter(|digits| digits.len() == 64).ok_or(rule)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(rule)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_random_and_url_safe() {
        let keys = [(); 2].map(|()| Token::new().expect("random bytes"));
        assert_ne!(keys[0].reveal(), keys[1].reveal());
        for key in keys {
            let random = key.reveal().strip_prefix("obx_").expect("its prefix");
            assert_eq!(URL_SAFE_NO_PAD.decode(random).expect("base64url").len(), 32);
            assert_eq!(random.len(), 43);
            assert!(!format!("{key:?}").contains(random));
            assert!(bool::from(Presented::new(key.reveal().as_bytes()).is(&key.hash())));
        }
    }

    #[test]
    fn a_hash_is_written_as_sha256sum_does() {
        // printf %s abc | sha256sum
        let written = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(b"abc").to_string(), written);
        assert_eq!(written.parse(), Ok(Hash::of(b"abc")));
        assert_eq!(written.to_uppercase().replace("SHA", "sha").parse(), Ok(Hash::of(b"abc")));
    }

    #[test]
    fn anything_else_is_no_hash_and_is_not_repeated() {
        let zeros = "0".repeat(64);
        for text in [
            "",
            "secret7",
            &zeros,
            &format!("sha256:{}", "0".repeat(63)),
            &format!("sha256:{zeros}0"),
            &format!("sha256:+{}", "0".repeat(63)),
            &format!("sha256:é{}", "0".repeat(62)),
            &format!("sha512:{zeros}"),
            &format!("obx_{}", "A".repeat(43)),
        ] {
            let rule = text.parse::<Hash>().expect_err(text);
            assert!(text.is_empty() || !rule.contains(text), "{rule}");
        }
    }

    #[test]
    fn what_is_short_matches_nothing() {
        for (length, matches) in [(0, false), (7, false), (31, false), (32, true)] {
            let text = "x".repeat(length);
            let presented = Presented::new(text.as_bytes());
            assert_eq!(bool::from(presented.is(&Hash::of(text.as_bytes()))), matches, "{length}");
        }
        let long = "x".repeat(47);
        assert!(!bool::from(Presented::new(long.as_bytes()).is(&Hash::of(b"y"))));
    }
}
