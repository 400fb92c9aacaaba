//! Reads rows and batches of format 3, which controllers up to version 0.1 wrote, and encodes them
//! in the current format.
//!
//! Format 4 added fields at the end of the meta row and of the rows of hosts, shards and
//! operations. A row of format 3 is decoded as the first fields of the row, and the added fields
//! get their defaults.

use std::sync::Arc;

use scuttle_core::{Change, HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};
use scuttle_schemas::{DeckyId, HostId, OperationId};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, forward_to_deserialize_any};

use crate::store::disk_format::encode;

/// The number of the format.
pub(super) const FORMAT_3: u32 = 3;

/// The numbers of fields that the rows of format 3 have.
const META_FIELDS: usize = 2;
const HOST_FIELDS: usize = 11;
const SHARD_FIELDS: usize = 13;
const OPERATION_FIELDS: usize = 18;

/// Encodes the meta row in the current format.
pub(super) fn upgrade_meta(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
    upgrade(bytes, |from| meta(from))
}

/// Encodes the row of a host in the current format.
pub(super) fn upgrade_host(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
    upgrade(bytes, |from| host(from))
}

/// Encodes the row of a shard in the current format.
pub(super) fn upgrade_shard(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
    upgrade(bytes, |from| shard(from))
}

/// Encodes the row of an operation in the current format.
pub(super) fn upgrade_operation(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
    upgrade(bytes, |from| operation(from))
}

/// Encodes a batch of the journal in the current format.
pub(super) fn upgrade_batch(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
    upgrade(bytes, |from| {
        let changes = Vec::<Change3>::deserialize(from)?;
        Ok(changes.into_iter().map(Change::from).collect::<Vec<_>>())
    })
}

/// Decodes a value, which must have no bytes left over, and encodes it again.
fn upgrade<T: Serialize>(
    bytes: &[u8],
    decode: impl FnOnce(&mut Postcard<'_>) -> Result<T, postcard::Error>,
) -> Result<Vec<u8>, postcard::Error> {
    let mut from = postcard::Deserializer::from_bytes(bytes);
    let value = decode(&mut from)?;
    if !from.finalize()?.is_empty() {
        return Err(postcard::Error::DeserializeBadEncoding);
    }
    let mut buffer = Vec::new();
    encode(&value, &mut buffer)?;
    Ok(buffer)
}

type Postcard<'b> = postcard::Deserializer<'b, postcard::de_flavors::Slice<'b>>;

/// A change as format 3 has it. The order of the variants is that of [`Change`].
#[derive(Deserialize)]
enum Change3 {
    #[serde(deserialize_with = "meta")]
    Meta(Meta),
    #[serde(deserialize_with = "host")]
    Host(Box<HostRow>),
    #[serde(deserialize_with = "shard")]
    Shard(Arc<ShardRow>),
    ShardRemoved {
        host: HostId,
        decky: DeckyId,
    },
    #[serde(deserialize_with = "operation")]
    Operation(Arc<OperationRow>),
    OperationRemoved {
        id: OperationId,
    },
    Key(Box<KeyRow>),
    KeyRemoved {
        id: KeyId,
    },
}

impl From<Change3> for Change {
    fn from(change: Change3) -> Self {
        match change {
            Change3::Meta(row) => Self::Meta(row),
            Change3::Host(row) => Self::Host(row),
            Change3::Shard(row) => Self::Shard(row),
            Change3::ShardRemoved { host, decky } => Self::ShardRemoved { host, decky },
            Change3::Operation(row) => Self::Operation(row),
            Change3::OperationRemoved { id } => Self::OperationRemoved { id },
            Change3::Key(row) => Self::Key(row),
            Change3::KeyRemoved { id } => Self::KeyRemoved { id },
        }
    }
}

fn meta<'de, D: Deserializer<'de>>(from: D) -> Result<Meta, D::Error> {
    let fields = META_FIELDS;
    Meta::deserialize(FirstFields { from, fields })
}

fn host<'de, D: Deserializer<'de>>(from: D) -> Result<Box<HostRow>, D::Error> {
    let fields = HOST_FIELDS;
    HostRow::deserialize(FirstFields { from, fields }).map(Box::new)
}

fn shard<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<ShardRow>, D::Error> {
    let fields = SHARD_FIELDS;
    ShardRow::deserialize(FirstFields { from, fields }).map(Arc::new)
}

fn operation<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<OperationRow>, D::Error> {
    let fields = OPERATION_FIELDS;
    OperationRow::deserialize(FirstFields { from, fields }).map(Arc::new)
}

/// Deserializes a struct of which only the first fields are encoded.
struct FirstFields<D> {
    from: D,
    /// The number of fields that are encoded.
    fields: usize,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for FirstFields<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let first = fields.get(..self.fields).unwrap_or(fields);
        self.from.deserialize_struct(name, first, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, D::Error> {
        Err(D::Error::custom("a row is a struct"))
    }

    fn is_human_readable(&self) -> bool {
        self.from.is_human_readable()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
