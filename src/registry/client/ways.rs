//! The two ways to a registry: the one for everybody, and the one for those that the operator has
//! named.

use std::time::Duration;

use reqwest::Url;

use super::fault::Fault;
use crate::internet::{PublicOnly, is_public, literal, tls};

/// Connections that are kept to one host while nothing is asked.
const IDLE_CONNECTIONS: usize = 4;

pub(super) struct Ways {
    /// To public addresses, through the environment's proxies.
    open: reqwest::Client,
    /// To any address, directly.
    direct: reqwest::Client,
    /// Hosts of those proxies, whose names lead to private addresses.
    proxies: Vec<String>,
    plain_http: Vec<String>,
    private: Vec<String>,
}

impl Ways {
    pub(super) fn new(
        authorities: &[u8],
        plain_http: Vec<String>,
        private: Vec<String>,
        connect: Duration,
    ) -> Result<Self, String> {
        let tls = tls(authorities)?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(connect)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .user_agent(concat!("oncebox/", env!("CARGO_PKG_VERSION")))
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| format!("no client for registries: {error}"))
        };
        let proxies = proxies(|name| std::env::var(name).ok());
        let public = PublicOnly { proxies: proxies.clone() };
        let open = build(builder().dns_resolver(public))?;
        let direct = build(builder().no_proxy())?;
        Ok(Self { open, direct, proxies, plain_http, private })
    }

    /// The way to a URL, where a registry leads that is `trusted` to lead to private addresses.
    pub(super) fn to(&self, url: &Url, trusted: bool) -> Result<&reqwest::Client, Fault> {
        if trusted && self.is_private(url) {
            return Ok(&self.direct);
        }
        match literal(url) {
            Some(address) if !is_public(address) => Err(Fault::NotPublic),
            None if self.proxies.iter().any(|proxy| Some(proxy.as_str()) == url.host_str()) => {
                Err(Fault::NotPublic)
            }
            _ => Ok(&self.open),
        }
    }

    /// The operator has named this host and port as one that may be at a private address.
    pub(super) fn is_private(&self, url: &Url) -> bool {
        listed(&self.private, url)
    }

    /// The operator has named this host and port as one that is asked without TLS.
    pub(super) fn is_plain(&self, url: &Url) -> bool {
        listed(&self.plain_http, url)
    }
}

/// Whether a list of `host[:port]` holds a URL's; without a port it is the scheme's own.
fn listed(list: &[String], url: &Url) -> bool {
    list.iter().any(|entry| {
        let same = format!("{}://{}/", url.scheme(), super::site::host_of(entry));
        Url::parse(&same).is_ok_and(|same| same.origin() == url.origin())
    })
}

/// Hosts of the proxies that an environment names.
fn proxies(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
    let names = names.into_iter().flat_map(|name| [name.to_owned(), name.to_lowercase()]);
    let hosts = names.filter_map(|name| {
        let value = variable(&name)?;
        let url = if value.contains("://") { value } else { format!("http://{value}") };
        Url::parse(&url).ok()?.host_str().map(str::to_owned)
    });
    hosts.collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("reg.example", "https://reg.example/v2/", true)]
    #[case("reg.example", "https://REG.example:443/v2/", true)]
    #[case("reg.example", "https://reg.example:5000/v2/", false)]
    #[case("reg.example:5000", "https://reg.example:5000/", true)]
    #[case("reg.example:5000", "http://reg.example:5000/", true)]
    #[case("reg.example:5000", "https://reg.example/", false)]
    #[case("reg.example", "https://a.reg.example/", false)]
    #[case("127.0.0.1:5000", "http://127.1:5000/", true)]
    #[case("[::1]:5000", "http://[::1]:5000/", true)]
    #[case("docker.io", "https://registry-1.docker.io/", true)]
    #[case("", "https://reg.example/", false)]
    fn a_list_names_hosts_with_their_ports(
        #[case] entry: &str,
        #[case] url: &str,
        #[case] same: bool,
    ) {
        assert_eq!(listed(&[entry.into()], &url.parse().unwrap()), same);
    }

    #[test]
    fn only_what_the_operator_names_is_private() {
        let private = vec!["10.0.0.1:5000".into(), "127.0.0.1:5000".into()];
        let ways = Ways::new(b"", vec![], private, Duration::from_secs(1)).unwrap();
        let way = |url: &str, trusted| ways.to(&url.parse().unwrap(), trusted).is_ok();
        assert!(way("https://10.0.0.1:5000/v2/", true));
        assert!(way("https://8.8.8.8/v2/", false));
        // A stranger's registry may not lead to where the operator's own are.
        assert!(!way("https://10.0.0.1:5000/v2/", false));
        for other in ["10.0.0.1:22", "10.0.0.1", "10.0.0.2:5000", "169.254.169.254", "[::1]:5000"] {
            assert!(!way(&format!("https://{other}/v2/"), true), "{other}");
        }
    }

    #[test]
    fn a_proxy_is_no_registry() {
        let mut ways = Ways::new(b"", vec![], vec![], Duration::from_secs(1)).unwrap();
        let url: Url = "https://proxy.corp:8443/v2/".parse().unwrap();
        assert!(ways.to(&url, false).is_ok());
        ways.proxies = vec!["proxy.corp".into()];
        assert!(matches!(ways.to(&url, false), Err(Fault::NotPublic)));
    }

    #[test]
    fn proxies_are_read_as_they_are_written() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:secret@proxy.corp:3128".into()),
            "http_proxy" => Some("10.0.0.9:3128".into()),
            _ => None,
        };
        assert_eq!(proxies(variable), ["proxy.corp", "10.0.0.9"]);
    }
}
