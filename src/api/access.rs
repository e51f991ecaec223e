//! Who may come in, and how often: callers are told apart by API key, or by address where there are
//! no keys. Asked before anything else is read of a request than its head.

mod address;
mod cors;
pub(crate) mod file;
mod keys;
mod rate;
pub(crate) mod scope;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod token;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderName};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use tokio::sync::watch::Receiver;

pub use address::Proxies;
pub use cors::{Origins, browsers};
pub use file::{Fault, KeyFileError};
pub use rate::Rate;

use super::watch::watch;
use super::{Code, Door, Problem};
use crate::execution::admission::Caller;
use keys::{Held, Keys};
use rate::{Addresses, Standing};
use scope::Needs;
use token::Presented;

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How keys are presented (RFC 6750).
const SCHEME: &str = "Bearer";

/// Who may come in, as the operator says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessOptions {
    /// `None`: whoever reaches the service.
    pub keys_file: Option<PathBuf>,
    /// Of a caller for whom no key says another one.
    pub rate: Option<Rate>,
    pub proxies: Proxies,
    /// Pages that may call; `None` are those of no other origin.
    pub origins: Option<Origins>,
    /// Others than this machine reach the service.
    pub beyond_loopback: bool,
}

/// Lets requests in.
#[derive(Debug)]
pub struct Access {
    keys: Option<Arc<Keys>>,
    /// For whoever has no valid key.
    addresses: Option<Addresses>,
    proxies: Proxies,
    beyond_loopback: bool,
}

impl Access {
    /// Reads the keys. To be called by the user that serves HTTP, who must be able to do it again.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(options: &AccessOptions) -> Result<Self, KeyFileError> {
        let keys = options.keys_file.as_deref().map(|path| Keys::open(path, options.rate));
        Ok(Self {
            keys: keys.transpose()?.map(Arc::new),
            addresses: options.rate.and_then(Addresses::new),
            proxies: options.proxies.clone(),
            beyond_loopback: options.beyond_loopback,
        })
    }

    /// How many keys there are; `None` where none are asked for.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        self.keys.as_ref().map(|keys| keys.count())
    }

    /// Keeps the keys as their file is, for as long as this is awaited; whoever changes `asked`
    /// has it read at once.
    pub async fn watch(&self, asked: Receiver<()>) {
        match &self.keys {
            Some(keys) => watch(Arc::clone(keys), asked).await,
            None => std::future::pending().await,
        }
    }

    /// Whether many callers come from this address.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address.to_canonical())
    }

    /// Who asks, and where he stands after this request, whether he may come in or not.
    fn ask(&self, request: &ServiceRequest) -> (Option<Standing>, Result<Caller, Problem>) {
        let needs = Needs::of(request.method(), request.match_info().as_str());
        let anonymous = self.address(request).map_or(Caller::SERVICE, Caller::at);
        if needs == Needs::Nothing {
            return (None, Ok(anonymous));
        }
        let held = self.keys.as_ref().map(|keys| authenticate(keys, request)).transpose();
        let standing = match &held {
            Ok(Some(Held { limiter, .. })) => limiter.as_ref().map(|limiter| limiter.take()),
            // Whoever tries keys out is counted by his address.
            Ok(None) | Err(_) => self.addresses.as_ref().map(|all| all.take(&anonymous.who)),
        };
        if let Some(refused) = standing.filter(|standing| !standing.allowed) {
            return (standing, Err(Problem::rate_limited(refused.retry_after())));
        }
        let caller = held.and_then(|held| match held {
            // What others would run in is nobody's to change whom nobody knows.
            None if self.beyond_loopback && matches!(needs, Needs::Change(_)) => Err(Problem::new(
                Code::ScopeMissing,
                "without API keys only this machine's own may change runtimes",
            )),
            None => Ok(anonymous),
            Some(Held { key, .. }) => match needs {
                Needs::Scope(scope) | Needs::Change(scope) if !key.scopes.contains(&scope) => {
                    Err(Problem::new(
                        Code::ScopeMissing,
                        format!("this API key has not the scope {scope}"),
                    ))
                }
                _ => Ok(Caller::with_key(key.name, key.allowance)),
            },
        });
        (standing, caller)
    }

    /// Where a request comes from.
    fn address(&self, request: &ServiceRequest) -> Option<IpAddr> {
        let forwarded: Vec<_> = request.headers().get_all(FORWARDED).collect();
        let forwarded = forwarded.iter().map(|line| line.to_str().unwrap_or_default());
        Some(self.proxies.client(request.peer_addr()?.ip(), forwarded))
    }
}

/// The key of a request. All that is wrong with one is answered alike.
fn authenticate(keys: &Keys, request: &ServiceRequest) -> Result<Held, Problem> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let first = headers.next();
    if headers.next().is_some() {
        let detail = "there is more than one Authorization header";
        return Err(Problem::new(Code::ConflictingCredentials, detail));
    }
    let text = first.map(|value| value.as_bytes()).unwrap_or_default();
    let (scheme, token) = text.split_at(text.len().min(SCHEME.len()));
    let presented = match token {
        [b' ', token @ ..] if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) => token,
        _ => b"",
    };
    keys.find(&Presented::new(presented.trim_ascii())).ok_or_else(Problem::unauthorized)
}

/// Lets a request in, with its [`Caller`] among its extensions, or answers it.
pub async fn middleware(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(door) = request.app_data::<web::Data<Door>>().cloned() else {
        return Ok(request.error_response(Problem::internal("there is no door")));
    };
    let (standing, caller) = door.access.ask(&request);
    let mut response = match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(problem) => request.error_response(problem),
    };
    if let Some(standing) = standing {
        standing.say(response.headers_mut());
    }
    Ok(response)
}

/// Who sent this request.
pub(super) fn caller(request: &HttpRequest) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or(Caller::SERVICE)
}
