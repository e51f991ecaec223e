//! Where to listen, and who may come in there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::images::parsed;
use super::values::Values;
use super::{Flags, SettingsError, layers};
use crate::api::access::AccessOptions;

/// Beyond loopback only with API keys, or when the operator says that he wants none. In a container
/// that listens for Docker, it is where Docker publishes its port that counts.
pub(super) fn address(values: &Values) -> Result<SocketAddr, SettingsError> {
    let address = listens_at(values)?;
    let anonymous = values.need("allow_anonymous", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write true or false".into()),
    })?;
    let keys = values.text("api_keys_file").is_some();
    if keys && anonymous {
        let rule = format!(
            "with API_KEYS_FILE {} nobody is let in without a key; set one of the two",
            values.describe("api_keys_file")
        );
        return Err(values.refused("allow_anonymous", &rule));
    }
    let (name, reached, way_out) = match values.get("published_on", ip)? {
        Some(published) => ("published_on", published, "publish the port on 127.0.0.1 and say so"),
        None => (
            "host",
            address.ip(),
            "listen on 127.0.0.1 (or say by PUBLISHED_ON=127.0.0.1 that Docker publishes this \
             container's port only there)",
        ),
    };
    if !reached.is_loopback() && !keys && !anonymous {
        let rule = format!(
            "anyone who reaches this address could run scripts; name a file of API keys in \
             API_KEYS_FILE, {way_out}, or set ALLOW_ANONYMOUS=true"
        );
        return Err(values.refused(name, &rule));
    }
    Ok(address)
}

fn listens_at(values: &Values) -> Result<SocketAddr, SettingsError> {
    let port = values
        .need("port", |text| text.parse().map_err(|_| "write a number from 0 to 65535".into()))?;
    Ok(SocketAddr::new(values.need("host", ip)?, port))
}

fn ip(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => text.parse().map_err(|_| "write an IP address, or localhost".into()),
    }
}

/// Where a service with these settings is found from beside it: no other setting need be right.
pub(crate) fn address_to_ask(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SocketAddr, SettingsError> {
    let values = Values(layers::read(flags, variable)?);
    let mut address = listens_at(&values)?;
    if address.port() == 0 {
        let rule = "nobody can know which port the service took; name one";
        return Err(values.refused("port", rule));
    }
    match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

/// The keys themselves are read by the user that serves HTTP, not here.
pub(super) fn access(values: &Values) -> Result<AccessOptions, SettingsError> {
    Ok(AccessOptions {
        keys_file: values.text("api_keys_file").map(PathBuf::from),
        rate: values.get("rate_limit", parsed)?,
        proxies: values.get("trusted_proxies", parsed)?.unwrap_or_default(),
        origins: values.get("cors_origins", parsed)?,
    })
}

/// Where the API keys are, for whoever makes the first of them: no other setting need be right yet.
pub(crate) fn keys_file(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<PathBuf>, SettingsError> {
    Ok(Values(layers::read(flags, variable)?).text("api_keys_file").map(PathBuf::from))
}
