//! How clients read the record: lists, and the broadcasts that announce each change.

mod broadcasts;
mod large_records;
mod lists;
mod small_payloads;
