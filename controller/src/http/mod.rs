//! HTTP: the server with its routes, and the files of the web page.

mod response;
pub mod server;
pub mod static_files;
