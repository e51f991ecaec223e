//! What registries let us in with, for as long as it is good.

use std::collections::HashMap;
use std::time::Instant;

use reqwest::header::HeaderValue;

use super::fault::Who;
use super::site::Site;

/// The most that are kept; requests may name any number of repositories.
const MOST_KEPT: usize = 256;

/// What is sent with requests to one repository.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    pub(super) who: Who,
    pub(super) until: Instant,
}

/// The grants that are still good, by registry (with its scheme) and repository.
#[derive(Default)]
pub(super) struct Grants(HashMap<(String, String), Grant>);

impl Grants {
    fn key(site: &Site) -> (String, String) {
        (site.base.to_string(), site.repository.clone())
    }

    pub(super) fn get(&self, site: &Site) -> Option<Grant> {
        let kept = self.0.get(&Self::key(site))?;
        (Instant::now() < kept.until).then(|| kept.clone())
    }

    pub(super) fn put(&mut self, site: &Site, grant: Grant) {
        if self.0.len() >= MOST_KEPT {
            let now = Instant::now();
            self.0.retain(|_, kept| now < kept.until);
        }
        if self.0.len() >= MOST_KEPT {
            self.0.clear();
        }
        self.0.insert(Self::key(site), grant);
    }

    pub(super) fn forget(&mut self, site: &Site) {
        self.0.remove(&Self::key(site));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::client::ways::Ways;

    #[test]
    fn what_is_kept_has_a_most() {
        let time = Duration::from_secs(60);
        let ways = Ways::new(b"", vec![], vec![], time).unwrap();
        let reference = "reg.example/team/app:v1".parse().unwrap();
        let mut site = Site::of(&reference, false, &ways).unwrap();
        let header = HeaderValue::from_static("x");
        let grant = Grant { header, who: Who::Known, until: Instant::now() + time };
        let mut grants = Grants::default();
        for number in 0..MOST_KEPT * 3 {
            site.repository = format!("team/{number}");
            grants.put(&site, grant.clone());
            assert!(grants.0.len() <= MOST_KEPT);
            assert!(grants.get(&site).is_some());
        }
        grants.forget(&site);
        assert!(grants.get(&site).is_none());
    }
}
