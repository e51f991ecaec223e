//! Which service is to run the script, and who we are to it.

use std::io::Read;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::internet::is_loopback;

/// The variable that holds the key: whatever is written as an argument, all users can read.
const KEY: &str = "ONCEBOX_API_KEY";
/// No file with a key is larger.
const MAX_KEY_FILE: u64 = 4096;

/// A service.
#[derive(Debug)]
pub(super) struct Server {
    /// Of `POST /execute`.
    pub(super) execute: Url,
    /// `Bearer …`, for no log.
    pub(super) authorization: Option<HeaderValue>,
}

impl Server {
    /// # Errors
    /// A sentence that names the argument, without a key.
    pub(super) fn read(
        url: &str,
        key_file: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (key, from) = match key_file {
            Some(path) => (Some(key_of(path)?), path),
            None => (variable(KEY).filter(|key| !key.is_empty()), KEY),
        };
        let authorization = key.map(|key| {
            let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
            let mut value = value.map_err(|_| format!("what {from} holds is no API key"))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self { execute: execute(url)?, authorization: authorization.transpose()? })
    }

    /// It is on this machine, where no proxy is needed.
    pub(super) fn is_here(&self) -> bool {
        is_loopback(&self.execute)
    }
}

fn key_of(path: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("--api-key-file: {path} can't be read: {e}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Err(format!("--api-key-file: there is no key in {path}")),
        key => Ok(key.to_owned()),
    }
}

/// Where a service whose address is `url` runs scripts.
fn execute(url: &str) -> Result<Url, String> {
    let rule = "--server: write http://HOST[:PORT] or https://HOST[:PORT]";
    let mut url = Url::parse(url).map_err(|_| rule.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(rule.into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "--server: credentials don't belong into an address; {KEY} or --api-key-file holds the key"
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(rule.into());
    }
    let path = format!("{}/execute", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(url: &str, key: Option<&str>) -> Result<Server, String> {
        Server::read(url, None, |_| key.map(str::to_owned))
    }

    #[rstest]
    #[case("http://localhost:8080", "http://localhost:8080/execute", true)]
    #[case("http://127.1/", "http://127.0.0.1/execute", true)]
    #[case("https://[::1]:1", "https://[::1]:1/execute", true)]
    #[case("https://run.example/team/", "https://run.example/team/execute", false)]
    fn a_service_has_an_address(#[case] url: &str, #[case] execute: &str, #[case] here: bool) {
        let server = read(url, None).expect("an address");
        assert_eq!(server.execute.as_str(), execute);
        assert_eq!(server.is_here(), here);
        assert_eq!(server.authorization, None);
    }

    #[rstest]
    #[case("")]
    #[case("localhost:8080")]
    #[case("ftp://x/")]
    #[case("http://x/?a")]
    #[case("http://x/#a")]
    #[case("http://user:open-sesame@x/")]
    #[case("http://open-sesame@x/")]
    fn what_is_no_address_is_refused(#[case] url: &str) {
        let why = read(url, None).expect_err("refused");
        assert!(why.starts_with("--server:") && !why.contains("open-sesame"), "{why}");
    }

    #[test]
    fn a_key_is_taken_from_the_environment_or_a_file_and_never_shown() {
        let server = read("http://x", Some(" obx_open-sesame\n")).expect("a key");
        assert_eq!(server.authorization.as_ref().expect("it"), "Bearer obx_open-sesame");
        assert!(!format!("{server:?}").contains("sesame"), "{server:?}");
        assert!(read("http://x", Some("")).expect("none").authorization.is_none());
        let why = read("http://x", Some("open\nsesame")).expect_err("refused");
        assert!(why.contains(KEY) && !why.contains("sesame"), "{why}");

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let from_file = || {
            let path = path.to_str().expect("text");
            Server::read("http://x", Some(path), |_| Some("other".into()))
        };
        assert!(from_file().expect_err("refused").contains("can't be read"));
        std::fs::write(&path, "\n").expect("a file");
        assert!(from_file().expect_err("refused").contains("no key"));
        std::fs::write(&path, "obx_1\n").expect("a file");
        assert_eq!(from_file().expect("a key").authorization.expect("it"), "Bearer obx_1");
    }
}
