//! Recipes for tests.

use oncebox_guest::wire::Prestart;

use super::{Ahead, Recipe};
use crate::engine::ContainerSpec;

pub(crate) fn recipe(image: &str, language: &'static str) -> Recipe {
    let image = crate::registry::testing::image(&image.parse().unwrap());
    let spec = ContainerSpec { image, memory: 64 << 20, cpu_millis: 500, pids: 64, tmp: 1 << 20 };
    Recipe { spec, ahead: Some(Ahead { language, order: Prestart::default() }) }
}
