//! Telling others that an execution has ended: signed (Standard Webhooks 1.0), to hosts that the
//! operator lists, and again for a while where they do not take it.

mod deliver;
mod hosts;
mod secret;

use std::time::Duration;

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::Notify;
use uuid::Uuid;

pub(super) use deliver::deliver;
pub use hosts::WebhookHost;
pub use secret::Secret;

use crate::execution::store::now;
use crate::internet::{PublicOnly, causes, tls};

/// For a connection to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For one try.
const DEADLINE: Duration = Duration::from_secs(15);
/// The longest address, in bytes.
const MAX_URL: usize = 2048;

/// Where webhooks may lead, and how they are signed.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    pub hosts: Vec<WebhookHost>,
    pub secret: Secret,
}

/// Sends webhooks.
pub struct Webhooks {
    options: WebhookOptions,
    client: reqwest::Client,
    /// There is something to send.
    news: Notify,
}

/// Why an address is no webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWebhook {
    #[error("write a whole address, such as https://example.org/hook, without a password in it")]
    Invalid,
    #[error("the operator's WEBHOOK_HOSTS does not list this host")]
    NotListed,
}

impl Webhooks {
    pub(super) fn new(options: WebhookOptions) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(b"")?)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would look names up by itself, and lead to private addresses.
            .no_proxy()
            .dns_resolver(PublicOnly { proxies: vec![] })
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("oncebox/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| format!("no client for webhooks: {e}"))?;
        Ok(Self { options, client, news: Notify::new() })
    }

    /// The address in its usual form, if webhooks may lead there.
    ///
    /// # Errors
    /// Why they may not.
    pub fn allow(&self, text: &str) -> Result<String, NoWebhook> {
        self.url(text).map(String::from)
    }

    fn url(&self, text: &str) -> Result<Url, NoWebhook> {
        let mut url = Url::parse(text).map_err(|_| NoWebhook::Invalid)?;
        let is_web = matches!(url.scheme(), "http" | "https");
        let is_plain = url.username().is_empty() && url.password().is_none();
        if text.len() > MAX_URL || !is_web || !is_plain {
            return Err(NoWebhook::Invalid);
        }
        url.set_fragment(None);
        let listed = self.options.hosts.iter().any(|host| host.has(&url));
        if listed { Ok(url) } else { Err(NoWebhook::NotListed) }
    }

    /// There may be something to send.
    pub(super) fn news(&self) {
        self.news.notify_one();
    }

    /// One try. Nothing of the answer is read but its status.
    async fn send(
        &self,
        url: &str,
        id: Uuid,
        traceparent: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(), String> {
        // The list may have changed since it was accepted.
        let url = self.url(url).map_err(|e| e.to_string())?;
        let (id, time) = (id.to_string(), now() / 1000);
        let signature = self.options.secret.sign(&id, time, &body);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", time)
            .header("webhook-signature", signature)
            .body(body);
        let request = traceparent.into_iter().fold(request, |r, t| r.header("traceparent", t));
        let answer = request.send().await.map_err(|e| causes(&e.without_url()))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

#[cfg(test)]
mod tests;
