//! What there is to say about images, in JSON: over HTTP, and by `oncebox image` with `--json`.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::api::openapi::fields as schema;
use crate::registry::{
    Details, HistoryEntry, Image, LayerDetails, LayerPhase, LayerState, PullState, Removed, Summary,
};

/// The body of `GET /images`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Images {
    pub(crate) images: Vec<ImageDocument>,
}

/// One image. Sizes are in bytes, times as in RFC 3339.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Image)]
pub(crate) struct ImageDocument {
    pub(crate) digest: String,
    pub(crate) references: Vec<String>,
    pub(crate) size: u64,
    /// `null` where the engine does not know.
    #[schema(required = true, format = DateTime)]
    pub(crate) created: Option<String>,
    /// `null` where it never was used, or the engine does not count.
    #[schema(required = true, format = DateTime)]
    pub(crate) last_used: Option<String>,
    /// Containers of it that wait; absent where there is no service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize, required = true)]
    pub(crate) pool: Option<usize>,
}

/// The body of `GET /images/{reference}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImageDetails)]
pub(crate) struct DetailsDocument {
    #[serde(flatten)]
    pub(crate) image: ImageDocument,
    os: String,
    architecture: String,
    /// The image's own words (OCI image spec, config.md).
    #[schema(value_type = Value)]
    config: serde_json::Value,
    /// The lowest first.
    layers: Vec<Layer>,
    /// The oldest first.
    history: Vec<History>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Layer {
    diff_id: String,
    /// `null` where the engine does not know.
    #[schema(required = true)]
    size: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct History {
    #[schema(required = true)]
    created: Option<String>,
    #[schema(required = true)]
    created_by: Option<String>,
    #[schema(required = true)]
    comment: Option<String>,
    empty_layer: bool,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovedImages)]
pub(crate) struct RemovedDocument {
    references: Vec<String>,
    digests: Vec<String>,
    /// Bytes.
    freed: u64,
}

/// An image that was pulled, in the words of an execution's answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PulledImage)]
pub(crate) struct PulledDocument {
    image: String,
    /// `null` for the image `host`.
    #[schema(required = true)]
    image_digest: Option<String>,
}

/// How far a pull has come.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PullProgress)]
pub(crate) struct ProgressDocument {
    attempt: u32,
    layers: Vec<LayerProgress>,
    /// Compressed bytes of all layers.
    done: u64,
    /// `null` as long as that of any layer is not known.
    #[schema(required = true)]
    total: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct LayerProgress {
    digest: String,
    #[schema(schema_with = schema::phase)]
    phase: &'static str,
    done: u64,
    #[schema(required = true)]
    total: Option<u64>,
}

impl From<Summary> for ImageDocument {
    fn from(image: Summary) -> Self {
        Self {
            digest: image.digest,
            references: image.references,
            size: image.size,
            created: image.created.and_then(rfc3339),
            last_used: image.last_used.and_then(rfc3339),
            pool: None,
        }
    }
}

impl From<Details> for DetailsDocument {
    fn from(details: Details) -> Self {
        let layer = |LayerDetails { diff_id, size }| Layer { diff_id, size };
        let entry = |HistoryEntry { created, created_by, comment, empty_layer }| History {
            created,
            created_by,
            comment,
            empty_layer,
        };
        Self {
            image: details.summary.into(),
            os: details.os,
            architecture: details.architecture,
            config: details.config,
            layers: details.layers.into_iter().map(layer).collect(),
            history: details.history.into_iter().map(entry).collect(),
        }
    }
}

impl From<Removed> for RemovedDocument {
    fn from(Removed { references, digests, freed }: Removed) -> Self {
        Self { references, digests, freed }
    }
}

impl From<&Image> for PulledDocument {
    fn from(image: &Image) -> Self {
        Self { image: image.reference.to_string(), image_digest: image.digest.clone() }
    }
}

impl From<&PullState> for ProgressDocument {
    fn from(state: &PullState) -> Self {
        let layer = |LayerState { digest, done, total, phase }: &LayerState| LayerProgress {
            digest: digest.clone(),
            phase: phase_name(*phase),
            done: *done,
            total: *total,
        };
        let total = state.layers.iter().map(|layer| layer.total).sum::<Option<u64>>();
        Self {
            attempt: state.attempt,
            layers: state.layers.iter().map(layer).collect(),
            done: state.layers.iter().map(|layer| layer.done).sum(),
            total: total.filter(|_| !state.layers.is_empty()),
        }
    }
}

/// The word for a phase, for programs and for people.
pub(crate) fn phase_name(phase: LayerPhase) -> &'static str {
    match phase {
        LayerPhase::Waiting => "waiting",
        LayerPhase::Downloading => "downloading",
        LayerPhase::Unpacking => "unpacking",
        LayerPhase::Done => "done",
    }
}

/// A time in seconds since 1970; `None` beyond the year 9999.
fn rfc3339(seconds: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_rfc_3339() {
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339(951_782_400).as_deref(), Some("2000-02-29T00:00:00Z"));
        assert_eq!(rfc3339(u64::MAX), None);
    }

    #[test]
    fn all_of_it_is_known_once_every_layer_is() {
        let layer = |done, total| LayerState {
            digest: "sha256:0".into(),
            done,
            total,
            phase: LayerPhase::Downloading,
        };
        let sum = |layers| {
            let document = ProgressDocument::from(&PullState { attempt: 1, layers });
            (document.done, document.total)
        };
        assert_eq!(sum(vec![]), (0, None));
        assert_eq!(sum(vec![layer(1, Some(2)), layer(3, None)]), (4, None));
        assert_eq!(sum(vec![layer(1, Some(2)), layer(3, Some(4))]), (4, Some(6)));
    }
}
