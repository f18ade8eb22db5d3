//! Publishes images as a static appc site, and their tags as image tags files.

pub mod discovery;
pub mod publish;
mod site;
pub mod tags;
