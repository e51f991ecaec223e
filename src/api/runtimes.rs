//! `GET` and `POST /runtimes`, `GET` and `DELETE /runtimes/{name}`.

pub(super) mod document;
pub(crate) mod file;
pub(super) mod written;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};

use super::execute::json_body;
use super::{Code, Door, Problem};
use crate::execution::runtime::{MAX_REGISTERED, NotRegistered, NotRemoved, Runtime};
use crate::registry::{ChosenBy, quoted};
use document::{RuntimeDocument, RuntimeList};
use written::WrittenRuntime;

pub(super) async fn list(door: web::Data<Door>) -> HttpResponse {
    let now = door.executor.catalogue().now();
    HttpResponse::Ok().json(RuntimeList::from(&*now))
}

pub(super) async fn register(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let _inside = door.enter()?;
    let body = json_body(&request, payload, door.max_body).await?;
    let runtime = Runtime::try_from(WrittenRuntime::from_json(&body)?)?;
    let document = RuntimeDocument::new(&runtime, ChosenBy::Request);
    let location = format!("/runtimes/{}", runtime.name);
    door.runtimes.register(runtime).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).json(document))
}

pub(super) async fn describe(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let now = door.executor.catalogue().now();
    let name = addressed(&request);
    let (runtime, chosen_by) = now.find(name).ok_or_else(|| nowhere(name))?;
    Ok(HttpResponse::Ok().json(RuntimeDocument::new(runtime, chosen_by)))
}

pub(super) async fn remove(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let _inside = door.enter()?;
    let name = addressed(&request);
    match door.runtimes.remove(name).await {
        Ok(()) => Ok(HttpResponse::NoContent().finish()),
        Err(NotRemoved::NotFound) => Err(nowhere(name)),
        Err(NotRemoved::InFile) => Err(in_file()),
        Err(NotRemoved::Store(error)) => Err(error.into()),
    }
}

fn addressed(request: &HttpRequest) -> &str {
    request.match_info().get("name").unwrap_or_default()
}

fn nowhere(name: &str) -> Problem {
    let detail = format!("there is no runtime {}; GET /runtimes lists them", quoted(name));
    Problem::new(Code::RuntimeNotFound, detail)
}

fn in_file() -> Problem {
    let detail =
        "the operator's RUNTIMES_FILE has a runtime of this name, and only he can change it";
    Problem::new(Code::RuntimeInFile, detail)
}

impl From<NotRegistered> for Problem {
    fn from(why: NotRegistered) -> Self {
        match why {
            NotRegistered::Exists => {
                let detail = "there is a runtime of this name; delete it first";
                Self::field(Code::RuntimeExists, "name", detail)
            }
            NotRegistered::InFile => Self { field: Some("name".into()), ..in_file() },
            NotRegistered::TooMany => {
                let detail =
                    format!("{MAX_REGISTERED} runtimes are registered; delete another one");
                Self::new(Code::TooManyRuntimes, detail)
            }
            NotRegistered::Rejected(rejection) => rejection.into(),
            NotRegistered::Image(error) => error.into(),
            NotRegistered::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
