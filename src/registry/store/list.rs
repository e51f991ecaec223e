//! The store's images, for people.

use std::cmp::Reverse;
use std::sync::Arc;

use super::catalog::{Catalog, last_used};
use super::index::{self, Index, Record};
use super::{blocking, failed, find};
use crate::registry::{Details, ImageError, LayerDetails, Reference, Summary};

pub(super) async fn list(catalog: &Arc<Catalog>) -> Result<Vec<Summary>, ImageError> {
    let catalog = Arc::clone(catalog);
    blocking(move || {
        let index = catalog.current().map_err(failed::at("the index"))?.index;
        let images = index.images.iter();
        let mut list: Vec<Summary> =
            images.map(|(digest, record)| summary(&catalog, &index, digest, record)).collect();
        list.sort_by_key(|image| Reverse(image.last_used));
        Ok(list)
    })
    .await
}

pub(super) async fn describe(
    catalog: &Arc<Catalog>,
    reference: &Reference,
) -> Result<Details, ImageError> {
    let (catalog, reference) = (Arc::clone(catalog), reference.clone());
    blocking(move || {
        let index = catalog.current().map_err(failed::at("the index"))?.index;
        let found = index.manage(&reference);
        let (digest, record) = found.ok_or_else(|| ImageError::not_found(&reference))?;
        let config = find::config(&catalog, &record.config)?;
        let layer =
            |id| LayerDetails { diff_id: format!("{id:?}"), size: index.layers.get(id).copied() };
        Ok(Details {
            summary: summary(&catalog, &index, digest, record),
            os: config.os,
            architecture: config.architecture,
            config: config.config,
            layers: config.diff_ids.iter().map(layer).collect(),
            history: config.history,
        })
    })
    .await
}

fn summary(catalog: &Catalog, index: &Index, digest: &str, record: &Record) -> Summary {
    Summary {
        digest: digest.to_owned(),
        references: record.references.iter().map(|name| index::familiar(name)).collect(),
        size: index.size(record),
        created: record.created,
        last_used: last_used(&catalog.folder, digest),
    }
}
