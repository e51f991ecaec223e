//! Where a registry has its tokens from, and whether that is its own.

use reqwest::Url;

use super::fault::Fault;
use super::site::Site;
use super::ways::Ways;

/// Registries whose token service is another host of the same people.
const TOKEN_SERVICES: &[(&str, &str)] = &[
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

/// The address of a token service.
pub(super) fn read(site: &Site, realm: &str) -> Result<Url, Fault> {
    let nowhere = || Fault::SignIn("names no address at which to sign in");
    let mut url = Url::parse(realm).map_err(|_| nowhere())?;
    let secret = !url.username().is_empty() || url.password().is_some();
    if secret || url.host_str().is_none() || !matches!(url.scheme(), "https" | "http") {
        return Err(nowhere());
    }
    let beside = site.base.scheme() == "http" && url.host_str() == site.base.host_str();
    if url.scheme() == "http" && !beside {
        return Err(Fault::SignIn("names an address without TLS at which to sign in"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Whether a token service may be told the registry's credentials: it is the same host, one that
/// is known to be of the same people, or the operator has named both as their own.
pub(super) fn belongs(site: &Site, realm: &Url, ways: &Ways) -> bool {
    let (registry, realm_host) = (site.base.host_str(), realm.host_str());
    registry == realm_host
        || TOKEN_SERVICES.iter().any(|(a, b)| Some(*a) == registry && Some(*b) == realm_host)
        || site.trusted && ways.is_private(realm)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::registry::Reference;

    fn site(registry: &str, plain: bool, private: &[&str]) -> (Site, Ways) {
        let private = private.iter().map(|&host| host.to_owned()).collect();
        let ways = Ways::new(b"", vec![], private, Duration::from_secs(60)).unwrap();
        let reference: Reference = format!("{registry}/team/app:v1").parse().unwrap();
        (Site::of(&reference, plain, &ways).unwrap(), ways)
    }

    #[rstest]
    #[case("docker.io", "https://auth.docker.io/token", true)]
    #[case("docker.io", "https://registry-1.docker.io/token", true)]
    #[case("docker.io", "https://auth.docker.io.evil.example/token", false)]
    #[case("docker.io", "https://evil.docker.io/token", false)]
    #[case("ghcr.io", "https://ghcr.io/token", true)]
    #[case("registry.gitlab.com", "https://gitlab.com/jwt/auth", true)]
    #[case("gitlab.com", "https://registry.gitlab.com/", false)]
    #[case("evil.example", "https://auth.docker.io/token", false)]
    #[case("reg.example", "https://auth.reg.example/token", false)]
    #[case("reg.example", "https://reg.example:8443/token", true)]
    #[case("reg.example", "https://REG.example/token", true)]
    #[case("reg.example", "https://reg.example@evil.example/token", false)]
    #[case("reg.corp", "https://auth.corp/token", true)]
    #[case("reg.corp", "https://auth.corp:8443/token", false)]
    // What the operator names is theirs, and no stranger's.
    #[case("evil.example", "https://auth.corp/token", false)]
    fn credentials_are_told_to_the_registrys_own(
        #[case] registry: &str,
        #[case] realm: &str,
        #[case] own: bool,
    ) {
        let (site, ways) = site(registry, false, &["reg.corp", "auth.corp"]);
        assert_eq!(read(&site, realm).is_ok_and(|realm| belongs(&site, &realm, &ways)), own);
    }

    #[test]
    fn a_realm_has_tls_or_is_beside_a_registry_without() {
        let at = |plain, realm| read(&site("reg.example", plain, &[]).0, realm).is_ok();
        assert!(at(true, "http://reg.example:5001/token"));
        assert!(at(true, "https://other.example/token"));
        assert!(!at(true, "http://other.example/token"));
        assert!(!at(false, "http://reg.example/token"));
    }
}
