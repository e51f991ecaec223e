//! The keys that are valid now, and how others take their place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use subtle::{Choice, ConditionallySelectable};

use super::file::{self, Key, KeyFileError};
use super::rate::{Limiter, Rate};
use super::token::Presented;
use crate::api::watch::Watched;

/// The keys of one file.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    /// Of keys without one of their own.
    rate: Option<Rate>,
    now: RwLock<Arc<Vec<Held>>>,
}

/// A key, and where its holder stands.
#[derive(Debug, Clone)]
pub struct Held {
    pub key: Key,
    pub limiter: Option<Arc<Limiter>>,
}

impl Keys {
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(path: &Path, rate: Option<Rate>) -> Result<Self, KeyFileError> {
        let now = RwLock::new(Arc::new(held(file::read(path)?, rate, &[])));
        Ok(Self { path: path.to_owned(), rate, now })
    }

    pub fn count(&self) -> usize {
        self.now().len()
    }

    /// Holds what is presented against all keys, so that the time it takes does not tell how near
    /// to which of them it is.
    pub fn find(&self, presented: &Presented) -> Option<Held> {
        let keys = self.now();
        let (mut found, mut at) = (Choice::from(0), 0);
        for (index, held) in (0u64..).zip(keys.iter()) {
            let same = presented.is(&held.key.hash);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let at = usize::try_from(at).ok().filter(|_| found.into())?;
        keys.get(at).cloned()
    }

    fn now(&self) -> Arc<Vec<Held>> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watched for Keys {
    const WHAT: &str = "API keys";

    fn path(&self) -> &Path {
        &self.path
    }

    /// Where a key stays as it was, its holder stands where he stood.
    fn reload(&self) -> Result<usize, String> {
        let keys = file::read(&self.path).map_err(|e| e.to_string())?;
        let keys = held(keys, self.rate, &self.now());
        let count = keys.len();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(count)
    }
}

/// Gives each key its limiter: that of before, where the key is the same.
fn held(keys: Vec<Key>, rate: Option<Rate>, before: &[Held]) -> Vec<Held> {
    let with_limiter = |key: Key| {
        let wanted = key.rate.or(rate);
        let old = before.iter().find(|old| old.key.name == key.name && old.key.hash == key.hash);
        let old = old.and_then(|old| old.limiter.clone());
        let old = old.filter(|old| Some(old.rate) == wanted);
        let limiter = old.or_else(|| wanted.and_then(Limiter::new).map(Arc::new));
        Held { key, limiter }
    };
    keys.into_iter().map(with_limiter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::testing::KeyFile;

    fn find(keys: &Keys, token: &str) -> Option<Held> {
        keys.find(&Presented::new(token.as_bytes()))
    }

    #[test]
    fn each_key_is_found_and_nothing_else() {
        let mut file = KeyFile::new();
        let tokens = ["a", "b", "c"].map(|name| file.add(name, "scopes = [\"execute\"]"));
        let keys = Keys::open(file.path(), None).expect("valid");
        for (name, token) in ["a", "b", "c"].iter().zip(&tokens) {
            assert_eq!(&*find(&keys, token).expect("its key").key.name, *name);
            assert!(find(&keys, &token[..token.len() - 1]).is_none());
            assert!(find(&keys, &format!("{token}x")).is_none());
            assert!(find(&keys, &token.to_lowercase()).is_none());
        }
        assert!(find(&keys, "").is_none());
    }

    #[test]
    fn a_new_file_takes_the_place_of_the_old_one_and_a_bad_one_does_not() {
        let mut file = KeyFile::new();
        let gone = file.add("gone", "scopes = [\"execute\"]");
        let keys = Keys::open(file.path(), None).expect("valid");
        file.clear();
        let new = file.add("new", "scopes = [\"execute\"]");
        assert_eq!(keys.reload(), Ok(1));
        assert!(find(&keys, &gone).is_none() && find(&keys, &new).is_some());
        for bad in ["", "[[keys]]", "keys = 1", "]"] {
            file.write(bad);
            assert!(keys.reload().is_err());
            assert!(find(&keys, &new).is_some(), "{bad}");
        }
        file.remove();
        assert!(keys.reload().is_err());
        assert!(find(&keys, &new).is_some());
    }

    #[test]
    fn only_a_key_that_has_changed_starts_afresh() {
        let mut file = KeyFile::new();
        let scopes = "scopes = [\"execute\"]";
        let same = file.add("same", &format!("{scopes}\nrate = \"1/h\""));
        let common = file.add("common", scopes);
        let before = file.text();
        let keys = Keys::open(file.path(), Some("1/h".parse().expect("a rate"))).expect("valid");
        let allowed = |token: &str| {
            find(&keys, token).expect("known").limiter.expect("a rate").take().allowed
        };
        assert_eq!(
            [&same, &common, &same, &common].map(|t| allowed(t)),
            [true, true, false, false]
        );
        file.add("another", scopes);
        assert_eq!(keys.reload(), Ok(3));
        assert_eq!([&same, &common].map(|token| allowed(token)), [false, false]);
        file.write(&before.replace("1/h", "2/h"));
        assert_eq!(keys.reload(), Ok(2));
        assert_eq!([&same, &common].map(|token| allowed(token)), [true, false]);
    }
}
