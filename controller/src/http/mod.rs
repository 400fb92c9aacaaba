//! HTTP: the server with its routes, and the files of the web page.

mod connection;
mod connection_pool;
mod response;
pub mod server;
pub mod static_files;
mod write_timeout;
