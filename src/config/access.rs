//! Where to listen, and who may come in there.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::images::parsed;
use super::values::Values;
use super::{Flags, SettingsError, layers};
use crate::api::access::AccessOptions;

/// Beyond loopback only with API keys, or when the operator says that he wants none.
pub(super) fn address(values: &Values) -> Result<SocketAddr, SettingsError> {
    let host: IpAddr = values.need("host", |text| match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => text.parse().map_err(|_| "write an IP address, or localhost".into()),
    })?;
    let port = values
        .need("port", |text| text.parse().map_err(|_| "write a number from 0 to 65535".into()))?;
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
    if !host.is_loopback() && !keys && !anonymous {
        return Err(values.refused(
            "host",
            "anyone who reaches this address could run scripts; name a file of API keys in \
             API_KEYS_FILE, listen on 127.0.0.1, or set ALLOW_ANONYMOUS=true",
        ));
    }
    Ok(SocketAddr::new(host, port))
}

/// The keys themselves are read by the user that serves HTTP, not here.
pub(super) fn access(values: &Values, address: SocketAddr) -> Result<AccessOptions, SettingsError> {
    Ok(AccessOptions {
        keys_file: values.text("api_keys_file").map(PathBuf::from),
        rate: values.get("rate_limit", parsed)?,
        proxies: values.get("trusted_proxies", parsed)?.unwrap_or_default(),
        origins: values.get("cors_origins", parsed)?,
        beyond_loopback: !address.ip().is_loopback(),
    })
}

/// Where the API keys are, for whoever makes the first of them: no other setting need be right yet.
pub(crate) fn keys_file(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<PathBuf>, SettingsError> {
    Ok(Values(layers::read(flags, variable)?).text("api_keys_file").map(PathBuf::from))
}
