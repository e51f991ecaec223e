//! Executions that outlive their requests: where they are kept, for how long, and whom they are told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::values::{Values, above_zero};
use super::{Origin, SettingsError, count, seconds, size};
use crate::execution::background::webhook::{Secret, WebhookHost};
use crate::execution::background::{BackgroundOptions, WebhookOptions};
use crate::execution::store::StoreOptions;

/// Everything about executions that outlive their requests.
#[derive(Debug, Clone)]
pub struct ExecutionSettings {
    /// The file; `None` where none is named and there is no home for one.
    pub store: Option<PathBuf>,
    /// The operator has named that file, and nothing may stand for it.
    pub store_is_named: bool,
    pub kept: StoreOptions,
    pub background: BackgroundOptions,
}

/// Reads them.
pub(super) fn executions(values: &Values) -> Result<ExecutionSettings, SettingsError> {
    let kept = StoreOptions {
        ttl: values.need("result_ttl", |text| {
            seconds(text).and_then(|ttl| above_zero(!ttl.is_zero(), ttl))
        })?,
        size_limit: values.need("result_store_size", |text| {
            size(text).and_then(|bytes| above_zero(bytes > 0, bytes))
        })?,
    };
    let hosts = values.get("webhook_hosts", |text| {
        let hosts = text.split(',').map(|host| host.trim().parse::<WebhookHost>());
        hosts.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())
    })?;
    let secret = values.get("webhook_secret_file", secret)?;
    let webhooks = match (hosts, secret) {
        (Some(hosts), Some(secret)) => Some(WebhookOptions { hosts, secret }),
        (None, _) => None,
        (Some(_), None) => {
            let rule = "webhooks are signed; name a file with the secret by WEBHOOK_SECRET_FILE";
            return Err(values.refused("webhook_hosts", rule));
        }
    };
    let max_background = values.need("max_background", count)?;
    Ok(ExecutionSettings {
        store: values.get("execution_store", file)?,
        store_is_named: values.origin("execution_store").is_some_and(|o| *o != Origin::Default),
        kept,
        background: BackgroundOptions {
            max_background: usize::try_from(max_background).unwrap_or(usize::MAX),
            webhooks,
        },
    })
}

fn file(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err("write a file's whole path, from / on".into());
    }
    if path.is_dir() { Err("that is a folder; name a file".into()) } else { Ok(path.to_owned()) }
}

fn secret(path: &str) -> Result<Secret, String> {
    let unread = |e: std::io::Error| format!("that file can't be read: {e}");
    let mode = fs::metadata(path).map_err(unread)?.mode();
    if mode & 0o007 != 0 {
        return Err("anybody may read that file; chmod 600 it".into());
    }
    let text = fs::read_to_string(path).map_err(unread)?;
    text.trim().parse::<Secret>().map_err(|e| e.to_string())
}
