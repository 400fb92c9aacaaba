//! An alternative that makes a request durable: the teardown rule over SQLite, with one transaction
//! per request, in the service loop of the echo service.
//!
//! A reply gives the same guarantee as Scuttle's reply: the operation and the shard's state
//! `tearing_down` are durable. With WAL and `synchronous=FULL`, each commit is one append and one
//! fsync.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use scuttle_schemas::teardown::{
    DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted, TeardownRequest,
};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, ErrorReplyBody, OperationId, Timestamp};
use scuttle_tests::wait::current_timestamp;
use uuid::Uuid;

use crate::baselines::echo;
use crate::baselines::echo::ServiceProcess;
use crate::environment::shared::Environment;
use crate::load::spec::{Pace, RequestKind, Targets, decky_id, host_id};
use crate::report::samples::{Sample, Series};

pub(crate) const NAME: &str = "SQLite, WAL, full";
const PROGRAM: &str = "sqlite";

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE hosts (host_uuid TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE operations (
        operation_id TEXT PRIMARY KEY, host_uuid TEXT NOT NULL, decky_id TEXT, state TEXT NOT NULL,
        requested_by TEXT NOT NULL, reason TEXT, accepted_at INTEGER NOT NULL, deadline INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX open_operations ON operations (host_uuid, decky_id) WHERE state IN ('queued', 'running');
    CREATE TABLE shards (
        host_uuid TEXT NOT NULL, decky_id TEXT NOT NULL, state TEXT NOT NULL, operation_id TEXT,
        decky_ip TEXT, services TEXT NOT NULL, PRIMARY KEY (host_uuid, decky_id)
    ) WITHOUT ROWID;
";

/// Measures a new service whose database has at least `shards` shards.
pub(crate) async fn measure(
    environment: &mut Environment,
    in_flight: u16,
    round: u32,
    shards: usize,
) -> Result<Sample> {
    let targets = Targets::with_shards(shards);
    let dir = tempfile::tempdir_in(environment.dir())?;
    let path = dir.path().join("operations.db");
    let filled = [&targets.hosts, &targets.deckies].map(|range| range.end.to_string());
    let path = path.to_str().context("a path in UTF-8")?.to_owned();
    let service =
        ServiceProcess::start(environment, PROGRAM, &[&[path], &filled[..]].concat()).await?;
    let load = environment.load(
        RequestKind::Accept,
        &service.subject,
        targets,
        Pace::InFlight(in_flight),
    )?;
    let series = Series::new(NAME, in_flight);
    environment.run(load, service.id()?, series, round).await
}

/// Replies to requests until the process is killed. [`measure`] starts the process.
pub(crate) async fn serve(
    url: &str,
    subject: String,
    path: &Path,
    hosts: u32,
    deckies: u32,
) -> Result<ExitCode> {
    let mut database = Connection::open(path)?;
    fill(&mut database, hosts, deckies).with_context(|| format!("fill {}", path.display()))?;
    let reply = |payload: Bytes| {
        let reply = match accept(&mut database, &payload)? {
            Ok(accepted) => serde_json::to_vec(&accepted)?,
            Err(error) => serde_json::to_vec(&ErrorReplyBody::from(error))?,
        };
        Ok(reply.into())
    };
    echo::serve(url, subject, reply).await
}

fn fill(database: &mut Connection, hosts: u32, deckies: u32) -> rusqlite::Result<()> {
    database.execute_batch(SCHEMA)?;
    let transaction = database.transaction()?;
    for host in (0..hosts).map(host_id) {
        transaction.execute("INSERT INTO hosts VALUES (?1, ?1)", [host.as_str()])?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO shards VALUES (?, ?, 'running', NULL, '10.0.0.7', '[\"ssh\"]')",
        )?;
        for decky in (0..deckies).map(decky_id) {
            insert.execute([host.as_str(), &decky])?;
        }
    }
    transaction.commit()
}

/// Decides on one teardown request and makes the decision durable. The inner result is the reply.
fn accept(
    database: &mut Connection,
    payload: &[u8],
) -> Result<Result<TeardownAccepted, ErrorReply>> {
    let request: TeardownRequest = match scuttle_schemas::read("teardown request", payload) {
        Ok(request) => request,
        Err(error) => {
            return Ok(Err(ErrorReply::new(
                ErrorCode::BadRequest,
                error.to_string(),
            )));
        }
    };
    let host = request.host_uuid.as_str();
    let decky = request.decky_id.as_ref().map(DeckyId::as_str);
    let transaction = database.transaction()?;
    let name: Option<String> = transaction
        .prepare_cached("SELECT name FROM hosts WHERE host_uuid = ?")?
        .query_row([host], |row| row.get(0))
        .optional()?;
    let Some(name) = name else {
        let error = ErrorReply::new(ErrorCode::HostNotFound, format!("no host {host}"));
        return Ok(Err(error));
    };
    let shards: u32 = transaction
        .prepare_cached(
            "SELECT count(*) FROM shards WHERE host_uuid = ?1 AND (?2 IS NULL OR decky_id = ?2)",
        )?
        .query_row(params![host, decky], |row| row.get(0))?;
    if shards == 0 && decky.is_some() {
        let error = ErrorReply::new(ErrorCode::ShardNotFound, format!("no such decky on {host}"));
        return Ok(Err(error));
    }
    let (open, repeated) = match find_open(&transaction, host, decky)? {
        Some(open) => (open, true),
        None => (insert(&transaction, &request)?, false),
    };
    transaction.commit()?;
    Ok(Ok(TeardownAccepted {
        accepted: true,
        detail: if repeated {
            DETAIL_IN_PROGRESS
        } else {
            DETAIL_QUEUED
        }
        .to_owned(),
        operation_id: OperationId(open.id),
        host_name: name.parse()?,
        host_uuid: request.host_uuid,
        decky_id: request.decky_id,
        shards: shards as usize,
        deadline: open.deadline,
        repeated,
    }))
}

struct OpenOperation {
    id: Uuid,
    deadline: Timestamp,
}

/// Finds the open operation that covers a target.
fn find_open(
    transaction: &Transaction<'_>,
    host: &str,
    decky: Option<&str>,
) -> Result<Option<OpenOperation>> {
    let found: Option<(String, i64)> = transaction
        .prepare_cached(
            "SELECT operation_id, deadline FROM operations
             WHERE host_uuid = ?1 AND state IN ('queued', 'running') AND (decky_id IS NULL OR decky_id = ?2)",
        )?
        .query_row(params![host, decky], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let open = found.map(|(id, deadline)| {
        Ok(OpenOperation {
            id: id.parse()?,
            deadline: Timestamp::from_millis(deadline),
        })
    });
    open.transpose()
}

/// Inserts a new operation and sets its shards to `tearing_down`.
fn insert(transaction: &Transaction<'_>, request: &TeardownRequest) -> Result<OpenOperation> {
    let accepted_at = current_timestamp();
    let open = OpenOperation {
        id: Uuid::now_v7(),
        deadline: accepted_at.plus_millis(i64::from(request.timeout_s) * 1000),
    };
    let id = open.id.to_string();
    let host = request.host_uuid.as_str();
    let decky = request.decky_id.as_ref().map(DeckyId::as_str);
    let times = (accepted_at.as_millis(), open.deadline.as_millis());
    transaction
        .prepare_cached("INSERT INTO operations VALUES (?, ?, ?, 'queued', 'unknown', ?, ?, ?)")?
        .execute(params![id, host, decky, request.reason, times.0, times.1])?;
    transaction
        .prepare_cached(
            "UPDATE shards SET state = 'tearing_down', operation_id = ?3
             WHERE host_uuid = ?1 AND (?2 IS NULL OR decky_id = ?2)",
        )?
        .execute(params![host, decky, id])?;
    Ok(open)
}
