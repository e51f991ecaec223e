//! What the daemon has: listed, described, removed.

use std::collections::{HashMap, HashSet};

use bollard::models::{ImageDeleteResponseItem, ImageInspect, ImageSummary};

use super::daemon::{Daemon, DaemonError};
use super::image;
use crate::engine::EngineError;
use crate::registry::{
    Details, HistoryEntry, ImageError, ImageErrorKind, LayerDetails, Reference, Removed, Summary,
};

/// When each image was last used, by its digest; in seconds since 1970.
type Used = HashMap<String, u64>;

/// All images with a name or without, the latest used first.
pub(super) async fn list(daemon: &Daemon, used: Used) -> Result<Vec<Summary>, ImageError> {
    let found = daemon.images().await.map_err(engine)?;
    let mut all: Vec<Summary> =
        found.into_iter().flat_map(|image| summaries(image, &used)).collect();
    all.sort_by(|a, b| {
        let order = |summary: &Summary| (summary.last_used, summary.created);
        order(b).cmp(&order(a)).then_with(|| a.references.cmp(&b.references))
    });
    Ok(all)
}

/// Everything the daemon tells of one image.
pub(super) async fn describe(
    daemon: &Daemon,
    reference: &Reference,
    used: Used,
) -> Result<Details, ImageError> {
    let found = look(daemon, reference).await?;
    let id = found.id.clone().unwrap_or_default();
    let digest = digest_of(&found, reference);
    let steps = daemon.history(&reference.full()).await.map_err(|e| missing_or(e, reference))?;
    let history = steps.into_iter().rev().map(|step| HistoryEntry {
        created: Some(step.created).filter(|time| *time >= 0).map(rfc3339),
        created_by: Some(step.created_by).filter(|text| !text.is_empty()),
        comment: Some(step.comment).filter(|text| !text.is_empty()),
        // The daemon does not say which steps left no layer; these left no file.
        empty_layer: step.size == 0,
    });
    // Only the list says in numbers when an image was made.
    let listed = daemon.images().await.map_err(engine)?.into_iter().find(|image| image.id == id);
    let listed = listed.ok_or_else(|| ImageError::not_found(reference))?;
    let mut summaries = summaries(listed, &used);
    let own = summaries.iter().position(|summary| summary.digest == digest);
    let summary = summaries.swap_remove(own.unwrap_or_default());
    let layers = found.root_fs.and_then(|root| root.layers).unwrap_or_default();
    Ok(Details {
        summary: Summary { last_used: used.get(&digest).copied(), digest, ..summary },
        os: found.os.unwrap_or_default(),
        architecture: found.architecture.unwrap_or_default(),
        config: serde_json::to_value(found.config).unwrap_or_default(),
        layers: layers.into_iter().map(|diff_id| LayerDetails { diff_id, size: None }).collect(),
        history: history.collect(),
    })
}

/// Removes a name and, with its last one, an image; by a digest, an image with all its names.
pub(super) async fn remove(daemon: &Daemon, reference: &Reference) -> Result<Removed, ImageError> {
    let found = look(daemon, reference).await?;
    let id = found.id.clone().unwrap_or_default();
    let digest = digest_of(&found, reference);
    let mut removed = Removed::default();
    let mut note = |items: Vec<ImageDeleteResponseItem>| {
        let gone = items.iter().any(|item| item.deleted.as_deref() == Some(id.as_str()));
        removed.digests.extend(gone.then(|| digest.clone()));
        removed.references.extend(untagged(items));
    };
    if reference.digest().is_none() {
        let name = reference.full();
        let items = daemon.remove_image(&name).await;
        note(items.map_err(|e| in_use_or(e, reference))?);
        return Ok(removed);
    }
    // The daemon would give up the names one by one and only then say that the image is in use.
    if daemon.uses_image(&id).await.map_err(engine)? {
        return Err(in_use(reference, String::new()));
    }
    let all = [found.repo_tags, found.repo_digests].into_iter().flatten().flatten();
    for name in names(&all.collect::<Vec<_>>()) {
        match daemon.remove_image(&name.full()).await {
            Ok(items) => note(items),
            // With the last tag at a registry go the digests there.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(in_use_or(error, reference)),
        }
    }
    Ok(removed)
}

/// Removes the daemon's dangling images.
pub(super) async fn prune(daemon: &Daemon) -> Result<Removed, ImageError> {
    let before = daemon.images().await.map_err(engine)?;
    let pruned = daemon.prune_images().await.map_err(engine)?;
    let items = pruned.images_deleted.unwrap_or_default();
    let deleted: HashSet<&str> = items.iter().filter_map(|item| item.deleted.as_deref()).collect();
    // Layers are among what was deleted.
    let digests = before.into_iter().filter(|image| deleted.contains(image.id.as_str()));
    let digests = digests.flat_map(|image| summaries(image, &Used::new()));
    Ok(Removed {
        digests: digests.map(|summary| summary.digest).collect(),
        references: untagged(items.clone()).collect(),
        freed: bytes(pruned.space_reclaimed.unwrap_or_default()),
    })
}

/// One image of the daemon's is several to us where its names at several registries have different
/// digests.
fn summaries(image: ImageSummary, used: &Used) -> Vec<Summary> {
    let mut all: Vec<Summary> = Vec::new();
    let summary = |digest: String| Summary {
        references: Vec::new(),
        size: bytes(image.size),
        created: u64::try_from(image.created).ok(),
        last_used: used.get(&digest).copied(),
        digest,
    };
    for name in names(&image.repo_tags) {
        let digest = image::digest(&image.repo_digests, &name, None);
        let digest = digest.unwrap_or_else(|| image.id.clone());
        match all.iter_mut().find(|summary| summary.digest == digest) {
            Some(summary) => summary.references.push(name.to_string()),
            None => all.push(Summary { references: vec![name.to_string()], ..summary(digest) }),
        }
    }
    if all.is_empty() {
        let digest = image::digests(&image.repo_digests).next();
        all.push(summary(digest.unwrap_or(&image.id).to_owned()));
    }
    all
}

async fn look(daemon: &Daemon, reference: &Reference) -> Result<ImageInspect, ImageError> {
    if reference.is_host() {
        return Err(ImageError::not_found(reference));
    }
    daemon.inspect_image(&reference.full()).await.map_err(|e| missing_or(e, reference))
}

fn digest_of(found: &ImageInspect, reference: &Reference) -> String {
    let repo_digests = found.repo_digests.as_deref().unwrap_or_default();
    let digest = image::digest(repo_digests, reference, None);
    digest.or_else(|| found.id.clone()).unwrap_or_default()
}

/// Those that are names: the daemon says `<none>:<none>` where there is none.
fn names(texts: &[String]) -> impl Iterator<Item = Reference> {
    texts.iter().filter_map(|text| text.parse().ok())
}

fn untagged(items: Vec<ImageDeleteResponseItem>) -> impl Iterator<Item = String> {
    let names = items.into_iter().filter_map(|item| item.untagged);
    names.filter_map(|name| Some(name.parse::<Reference>().ok()?.to_string()))
}

fn bytes(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn engine(error: DaemonError) -> ImageError {
    EngineError::from(error).into()
}

fn missing_or(error: DaemonError, reference: &Reference) -> ImageError {
    match error.status() {
        // The daemon has no image by a name that it does not take.
        Some(400 | 404) => ImageError::not_found(reference),
        _ => engine(error),
    }
}

fn in_use_or(error: DaemonError, reference: &Reference) -> ImageError {
    match error.status() {
        Some(409) => in_use(reference, error.to_string()),
        _ => missing_or(error, reference),
    }
}

fn in_use(reference: &Reference, cause: String) -> ImageError {
    let detail = format!(
        "image {reference} is in use: there are containers of it, or images built upon it; \
         containers that wait for scripts are among them"
    );
    ImageError::new(ImageErrorKind::InUse, detail, cause)
}

/// Seconds since 1970 as RFC 3339 writes them, in UTC.
fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The calendar repeats every 400 years; here a year begins in March, so that a leap day is its
    // last.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
#[path = "manage_tests.rs"]
mod tests;
