//! `GET /images`, `GET` and `DELETE /images/{reference}`, `POST /images/pull`.

pub(crate) mod document;
mod follow;

use std::time::{Duration, Instant};

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use tokio::time::sleep;

use super::dto::PullRequest;
use super::execute::json_body;
use super::request_id::RequestId;
use super::{Code, Door, Problem, events};
use crate::registry::{Image, ImageErrorKind, Pull, Reference};
use document::{DetailsDocument, ImageDocument, Images, PulledDocument, RemovedDocument};
use follow::Follower;

/// For what waits of an image to leave it.
const LEAVING: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Where a reference stands in an address.
const PREFIX: &str = "/images/";

pub(super) async fn list(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    let images = door.executor.registry().images().list().await?;
    let pool = door.executor.pool();
    let images = images.into_iter().map(|image| {
        let waiting = pool.waiting_of(&image.digest);
        ImageDocument { pool: Some(waiting), ..image.into() }
    });
    Ok(HttpResponse::Ok().json(Images { images: images.collect() }))
}

pub(super) async fn describe(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let reference = addressed(&request, &door)?;
    let details = door.executor.registry().images().describe(&reference).await;
    let mut details = DetailsDocument::from(details.map_err(|e| unaddressed(e.into()))?);
    details.image.pool = Some(door.executor.pool().waiting_of(&details.image.digest));
    Ok(HttpResponse::Ok().json(details))
}

pub(super) async fn remove(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let reference = addressed(&request, &door)?;
    let images = door.executor.registry().images();
    let pool = door.executor.pool();
    let began = Instant::now();
    loop {
        // What waits ahead of requests holds nobody's image up.
        if let Ok(Image { digest: Some(digest), .. }) = images.find(&reference).await {
            pool.discard(&digest);
        }
        match images.remove(&reference).await {
            Err(e) if e.kind == ImageErrorKind::InUse && began.elapsed() < LEAVING => {
                sleep(LOOK).await;
            }
            removed => {
                let removed = removed.map_err(|e| unaddressed(e.into()))?;
                return Ok(HttpResponse::Ok().json(RemovedDocument::from(removed)));
            }
        }
    }
}

/// Pulls an image whether it is here or not. A client that leaves loses its interest in the pull.
pub(super) async fn pull(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, Problem> {
    let inside = door.enter()?;
    let body = json_body(&request, payload, door.max_body).await?;
    let reference = PullRequest::from_json(&body)?.reference()?;
    let place = door.pulls.clone().try_acquire_owned().map_err(|_| Problem::too_many_pulls())?;
    let mut pull = door.executor.registry().pull(&reference);
    if !events::wanted(&request) {
        return match door.cancel.run_until_cancelled(pull.outcome).await {
            Some(outcome) => Ok(HttpResponse::Ok().json(PulledDocument::from(&outcome?))),
            None => Err(Problem::draining()),
        };
    }
    // What is known at once, such as that a rule forbids it, has a status of its own.
    let pull = match (&mut pull.outcome).now_or_never() {
        Some(outcome) => finished(pull, outcome?),
        None => pull,
    };
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let follower = Follower::new(pull, door, request_id, (inside, place));
    Ok(events::response(follower.events()))
}

fn finished(pull: Pull, image: Image) -> Pull {
    Pull { outcome: std::future::ready(Ok(image)).boxed(), ..pull }
}

/// The image that the address names, as requests name theirs.
fn addressed(request: &HttpRequest, door: &Door) -> Result<Reference, Problem> {
    let invalid = |why: String| Problem::new(Code::InvalidImage, why);
    let text = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    let text = percent_decode_str(text).decode_utf8().map_err(|e| invalid(e.to_string()))?;
    let reference = text.parse::<Reference>().map_err(|e| invalid(e.to_string()))?;
    door.naming.whole(&reference).map_err(|e| invalid(e.to_string()))
}

/// The address is no field of a body.
fn unaddressed(problem: Problem) -> Problem {
    Problem { field: None, ..problem }
}

#[cfg(test)]
mod tests;
