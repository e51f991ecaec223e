//! Which of the service's own variables scripts get.

use super::keys::KEYS;
use super::values::Values;
use super::{SettingsError, layers};
use crate::execution::forward::Forwarded;
use crate::execution::request::{EnvName, EnvValue, MAX_STRING};
use crate::registry::{is_hook, quoted};

/// Bytes of all of them, at most, so that there is room for the request's.
const MOST: usize = 256 * 1024;

/// What is read by the service itself beside its settings, and often holds credentials.
const OURS: &[&str] = &["ONCEBOX_", "OTEL_", "DOCKER_"];
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// What `FORWARD_ENV_KEYS` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardSettings {
    /// Read once, when the service starts.
    pub variables: Vec<Forwarded>,
    /// Names that its environment does not have.
    pub missing: Vec<String>,
}

pub(super) fn forward(
    values: &Values,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ForwardSettings, SettingsError> {
    let read = |text: &str| {
        let mut settings = ForwardSettings::default();
        let (mut known, mut bytes) = (Vec::new(), 0);
        for name in text.split(',').map(str::trim) {
            refuse(name).map_or(Ok(()), Err)?;
            if known.contains(&name) {
                return Err(format!("{name} is there twice"));
            }
            known.push(name);
            let Some(value) = layers::given(&variable, name) else {
                settings.missing.push(name.to_owned());
                continue;
            };
            let size = name.len() + 1 + value.len();
            bytes += size;
            if size > MAX_STRING || bytes > MOST {
                return Err(format!(
                    "{name} makes them too large: one may have {MAX_STRING} bytes with its name, \
                     and all together {MOST}"
                ));
            }
            let name = EnvName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
            let value = EnvValue::try_from(value).map_err(|e| e.to_string())?;
            settings.variables.push(Forwarded::new(name, value));
        }
        Ok(settings)
    };
    Ok(values.get("forward_env_keys", read)?.unwrap_or_default())
}

/// Why scripts may not get a variable of this name.
fn refuse(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || !name.chars().all(plain) || first_is_digit {
        let rule = "is no name; write names of variables (letters, digits, _) behind commas";
        return Some(format!("{} {rule}", quoted(name)));
    }
    let proxy = PROXIES.contains(&name.to_ascii_uppercase().as_str());
    let ours = OURS.iter().any(|prefix| name.starts_with(prefix)) || proxy;
    if ours || KEYS.iter().any(|key| key.variable() == name) {
        return Some(format!(
            "{name} is for Oncebox itself, and may be a secret of its own; scripts get a value \
             under another name"
        ));
    }
    (name == "PATH" || is_hook(name)).then(|| {
        format!(
            "{name} decides how programs of the image are found or started, and is none of this \
             service's to say; name another"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn what_is_ours_or_changes_how_programs_start_is_refused() {
        for name in ["API_TOKEN", "DATABASE_URL", "lower", "_X1", "LANG", "TZ"] {
            assert_eq!(refuse(name), None, "{name}");
        }
        let cases = [
            ("is no name", &["", "A B", "1A", "A=B", "É", "A.B", "a\n"][..]),
            ("for Oncebox itself", &["API_KEYS_FILE", "WEBHOOK_SECRET_FILE", "FORWARD_ENV_KEYS"]),
            ("for Oncebox itself", &["ONCEBOX_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS"]),
            (
                "for Oncebox itself",
                &["DOCKER_HOST", "DOCKER_AUTH_CONFIG", "https_proxy", "TIMEOUT"],
            ),
            ("how programs", &["PATH", "HOME", "LD_PRELOAD", "PYTHONPATH", "NODE_OPTIONS", "IFS"]),
        ];
        for (told, names) in cases {
            for name in names {
                let why = refuse(name).unwrap_or_default();
                assert!(why.contains(told) && !why.contains('\n'), "{name}: {why}");
            }
        }
    }
}
