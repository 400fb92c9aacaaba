//! The full-screen view of `scuttle watch`.

mod app;
mod draw;
mod filter;
pub(crate) mod screen;
#[cfg(test)]
mod tests;
