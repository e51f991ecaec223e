//! Short names for layers. The options of an overlay have to fit into one page (mount(2)), and 127
//! whole digests do not.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::template::LAYERS;
use crate::registry::LayerId;

/// Links in the spawner's view to the folders of the store. One stays for as long as the spawner
/// lives: a container that is being born may be about to follow it.
#[derive(Debug, Default)]
pub struct LayerNames(HashMap<LayerId, usize>);

impl LayerNames {
    /// A name for each layer, in the same order.
    ///
    /// # Errors
    /// When a layer is not in the store, with its digest.
    pub fn names(&mut self, layers: &[LayerId]) -> io::Result<Vec<String>> {
        layers.iter().map(|layer| self.name(layer)).collect()
    }

    fn name(&mut self, layer: &LayerId) -> io::Result<String> {
        let folder = format!("{LAYERS}/{layer}");
        if !Path::new(&folder).is_dir() {
            return Err(io::Error::other(format!("the layer {layer:?} is not in the store")));
        }
        let next = self.0.len();
        let number = *self.0.entry(*layer).or_insert(next);
        let link = format!("/{number}");
        if number == next {
            symlink(folder, &link)?;
        }
        Ok(link)
    }
}
