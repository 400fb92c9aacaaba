//! Tests with a simulated Engine: what is saved, and what happens when the Engine misbehaves.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use flate2::read::MultiGzDecoder;
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::{DeckyId, OperationId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

use super::super::engine::container::Container;
use super::{EvidenceError, EvidenceJob, Timeouts, save_with_timeouts};
use crate::evidence::manifest::Manifest;
use crate::evidence::settings::EvidenceSettings;
use crate::evidence::store::EvidenceStore;

const MIB: u64 = 1024 * 1024;

/// A response of the simulated Engine.
#[derive(Debug, Clone)]
enum Response {
    Whole(u16, Vec<u8>),
    /// The response begins with these bytes, and never ends.
    Stalled(Vec<u8>),
}

/// The responses by path and query, without the version. Any other request gets status 404.
type Responses = BTreeMap<String, Response>;

/// A simulated Engine and an evidence directory.
struct Fixture {
    dir: TempDir,
    docker: Docker,
    store: Arc<EvidenceStore>,
    timeouts: Timeouts,
    responses: Arc<Mutex<Responses>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new(kinds: &str, required: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let responses = Arc::new(Mutex::new(Responses::new()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen) = (responses.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, seen) = (shared.clone(), seen.clone());
                tokio::spawn(async move {
                    let target = read_target(stream, &seen, &shared).await;
                    target.expect("the client reads the response");
                });
            }
        });
        let socket = socket.to_str().expect("UTF-8");
        let docker = Docker::connect_with_unix(socket, 100, API_DEFAULT_VERSION);
        let settings = EvidenceSettings {
            dir: dir.path().join("evidence"),
            kinds: kinds.parse().expect("kinds"),
            max_bytes: 16 * MIB,
            required,
        };
        let host = "worker-a".parse().expect("a host");
        Self {
            docker: docker.expect("a client"),
            store: Arc::new(EvidenceStore::open(settings, &host).expect("opened")),
            timeouts: Timeouts::default(),
            dir,
            responses,
            requests,
        }
    }

    fn respond(&self, target: &str, response: Response) {
        let mut responses = self.responses.lock().expect("no panic");
        responses.insert(format!("/containers/{target}"), response);
    }

    /// Lets the Engine have a container with this log, these changes, and no files.
    fn add_container(&self, id: &str, log: &[u8], changes: &str) {
        let inspected = format!(
            r#"{{ "Id": "{id}", "Name": "/{id}", "Created": "2026-11-30T09:00:00.1Z",
                  "State": {{ "ExitCode": 137, "StartedAt": "2026-11-30T09:00:01Z", "FinishedAt": "2026-11-30T09:30:00Z" }},
                  "Config": {{ "Image": "lure:1", "Tty": false, "Labels": {{ "a": "b" }} }},
                  "Mounts": [ {{ "Destination": "/data" }} ] }}"#
        );
        self.respond(
            &format!("{id}/json"),
            Response::Whole(200, inspected.into()),
        );
        self.respond(
            &format!("{id}/logs?stdout=1&stderr=1&timestamps=1"),
            Response::Whole(200, log.to_vec()),
        );
        let changes = Response::Whole(200, changes.into());
        self.respond(&format!("{id}/changes"), changes);
    }

    async fn save(&self, ids: &[&str]) -> Result<Evidence, EvidenceError> {
        let decky: DeckyId = "trap".parse().expect("a decky");
        let containers: Vec<_> = ids.iter().map(|id| container(id)).collect();
        let job = EvidenceJob {
            docker: &self.docker,
            socket: &self.dir.path().join("docker.sock"),
            store: &self.store,
            operation: OperationId(Uuid::from_u128(7)),
            decky: &decky,
            containers: &containers,
        };
        save_with_timeouts(job, self.timeouts).await
    }

    fn archives(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("evidence")).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
            .collect()
    }
}

async fn read_target(
    mut stream: UnixStream,
    seen: &Mutex<Vec<String>>,
    responses: &Mutex<Responses>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let target = request.split(' ').nth(1).unwrap_or_default();
    let target = target
        .find("/containers")
        .map_or(target, |at| &target[at..])
        .to_owned();
    seen.lock().expect("no panic").push(target.clone());
    let response = responses.lock().expect("no panic").get(&target).cloned();
    let missing = || Response::Whole(404, br#"{"message":"no such container"}"#.to_vec());
    let (status, body, is_stalled) = match response.unwrap_or_else(missing) {
        Response::Whole(status, body) => (status, body, false),
        Response::Stalled(body) => (200, body, true),
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // The client may close a connection whose data it does not need.
    let _ = stream.write_all(&body).await;
    if is_stalled {
        let _ = stream.read_u8().await;
    }
    Ok(())
}

fn container(id: &str) -> Container {
    let text = format!(
        r#"{{ "Id": "{id}", "Names": ["/{id}"], "ImageID": "sha256:4c",
              "Labels": {{ "com.docker.compose.project": "trap" }},
              "NetworkSettings": {{ "Networks": {{ "lan": {{ "IPAddress": "10.0.0.2" }} }} }} }}"#
    );
    let listed = serde_json::from_str(&text).expect("a listing's entry");
    Container::from_listed(listed).expect("of a project")
}

fn frame(stream: u8, text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_be_bytes();
    [&[stream, 0, 0, 0], &length as &[u8], text.as_bytes()].concat()
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    builder
        .append_data(&mut header, name, content)
        .expect("appended");
    builder.into_inner().expect("finished")
}

/// Unpacks an archive, and returns its files as text, and its manifest.
fn unpack(archive: &Path) -> (BTreeMap<String, String>, Manifest) {
    let file = std::fs::File::open(archive).expect("an archive");
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        let name = entry.path().expect("a path").display().to_string();
        files.insert(name, String::from_utf8_lossy(&content).into_owned());
    }
    let manifest = files.remove("manifest.json").expect("a manifest");
    (files, serde_json::from_str(&manifest).expect("a manifest"))
}

#[tokio::test]
async fn logs_and_changes_of_all_containers_are_saved() {
    let fixture = Fixture::new("logs,changes", true);
    let log = [frame(1, "T1 in\n"), frame(2, "T2 err\n")].concat();
    fixture.add_container("a", &log, r#"[{"Path":"/tmp/x","Kind":1}]"#);
    fixture.add_container("b", b"", "null");
    let saved = fixture.save(&["a", "b", "gone"]).await.expect("saved");
    let (files, manifest) = unpack(Path::new(&saved.path));
    let expected = [
        (
            "containers/a/changes.jsonl",
            "{\"kind\":\"added\",\"path\":\"/tmp/x\"}\n",
        ),
        ("containers/a/log.txt", "T1 stdout in\nT2 stderr err\n"),
        ("containers/b/changes.jsonl", ""),
        ("containers/b/log.txt", ""),
    ];
    let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
    assert_eq!(files, BTreeMap::from(expected));
    let [a, _, gone] = manifest.containers.as_slice() else {
        panic!("{manifest:?}");
    };
    assert_eq!(
        (a.id.as_str(), a.exit_code, a.gone),
        ("a", Some(137), false)
    );
    assert_eq!(a.stopped_at.as_deref(), Some("2026-11-30T09:30:00Z"));
    assert_eq!(a.image.as_deref(), Some("lure:1"));
    assert_eq!(a.addresses[0].address, "10.0.0.2");
    assert!(gone.gone && gone.files.is_empty());
    assert_eq!(gone.image_id.as_deref(), Some("sha256:4c"));
}

#[tokio::test]
async fn changed_files_are_saved_with_their_paths() {
    let fixture = Fixture::new("files", true);
    let changes = r#"[{"Path":"/etc","Kind":0},{"Path":"/etc/a b","Kind":0},{"Path":"/new","Kind":1},
        {"Path":"/new/f","Kind":1},{"Path":"/gone","Kind":2},{"Path":"/data","Kind":1}]"#;
    fixture.add_container("a", b"", changes);
    for (target, name, content) in [
        ("a/archive?path=/etc/a%20b", "a b", "changed"),
        ("a/archive?path=/new", "new/f", "added"),
    ] {
        fixture.respond(
            target,
            Response::Whole(200, tar_of(name, content.as_bytes())),
        );
    }
    let saved = fixture.save(&["a"]).await.expect("saved");
    let (files, manifest) = unpack(Path::new(&saved.path));
    assert!(!manifest.truncated);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["containers/a/changes.jsonl", "containers/a/files.tar"]
    );
    let inner = files["containers/a/files.tar"].as_bytes();
    let mut inner = tar::Archive::new(inner);
    let paths: Vec<_> = (inner.entries().expect("a tar"))
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .expect("a path")
                .display()
                .to_string()
        })
        .collect();
    assert_eq!(paths, ["etc/a b", "new/f"]);
}

#[tokio::test]
async fn a_sparse_file_does_not_hide_the_others_of_its_directory() {
    let fixture = Fixture::new("files", true);
    let changes =
        r#"[{"Path":"/new","Kind":1},{"Path":"/new/big","Kind":1},{"Path":"/new/z","Kind":1}]"#;
    fixture.add_container("a", b"", changes);
    let mut header = tar::Header::new_gnu();
    header.set_path("big").expect("a short name");
    header.set_size(1 << 40);
    header.set_cksum();
    let sparse = Response::Stalled(header.as_bytes().to_vec());
    fixture.respond("a/archive?path=/new", sparse.clone());
    fixture.respond("a/archive?path=/new/big", sparse);
    let small = Response::Whole(200, tar_of("z", b"small"));
    fixture.respond("a/archive?path=/new/z", small);
    let saved = fixture.save(&["a"]).await;
    let saved = saved.expect("cut, which is not a failure");
    let (files, manifest) = unpack(Path::new(&saved.path));
    assert!(manifest.truncated);
    let problem = manifest.containers[0].problems.join("; ");
    assert!(problem.contains("a limit was reached"), "{problem}");
    assert!(files["containers/a/files.tar"].contains("small"));
}

#[tokio::test]
async fn a_name_that_the_engine_does_not_find_is_not_a_failure() {
    let fixture = Fixture::new("files", true);
    fixture.add_container("a", b"", "[{\"Path\":\"/tmp/\u{fffd}\",\"Kind\":1}]");
    let saved = fixture.save(&["a"]).await.expect("saved");
    let (_, manifest) = unpack(Path::new(&saved.path));
    let problem = manifest.containers[0].problems.join("; ");
    assert!(problem.contains("is its name UTF-8?"), "{problem}");
}

#[tokio::test]
async fn a_source_that_stalls_ends_by_a_timeout_and_what_was_read_is_kept() {
    for required in [false, true] {
        let mut fixture = Fixture::new("logs,changes", required);
        fixture.timeouts.chunk = Duration::from_secs(1);
        fixture.add_container("a", b"", "null");
        let log = Response::Stalled(frame(1, "T1 before\n"));
        fixture.respond("a/logs?stdout=1&stderr=1&timestamps=1", log);
        let saved = fixture.save(&["a"]).await;
        let path = match saved {
            Ok(saved) if !required => PathBuf::from(saved.path),
            Err(EvidenceError::Incomplete { path, problem }) if required => {
                assert!(
                    problem.contains("cannot read the log of container a: no data"),
                    "{problem}"
                );
                path
            }
            other => panic!("{other:?}"),
        };
        let (files, manifest) = unpack(&path);
        assert_eq!(files["containers/a/log.txt"], "T1 stdout before\n");
        assert_eq!(manifest.containers[0].problems.len(), 1);
    }
}

#[tokio::test]
async fn an_engine_that_does_not_respond_is_an_error_and_leaves_no_archive() {
    let mut fixture = Fixture::new("logs", false);
    fixture.timeouts.response = Duration::from_millis(100);
    fixture.respond("a/json", Response::Stalled(Vec::new()));
    let error = fixture.save(&["a"]).await.expect_err("no response");
    assert!(matches!(error, EvidenceError::Source(_)), "{error}");
    assert_eq!(fixture.archives(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_container_that_the_engine_cannot_describe_is_saved_all_the_same() {
    for required in [false, true] {
        let fixture = Fixture::new("logs", required);
        fixture.add_container("good", &frame(1, "2026-11-30T09:00:02Z hello\n"), "[]");
        fixture.add_container("bad", &frame(1, "2026-11-30T09:00:02Z hello\n"), "[]");
        let broken = br#"{"message":"the layer is damaged"}"#.to_vec();
        fixture.respond("bad/json", Response::Whole(500, broken));
        let saved = fixture.save(&["good", "bad"]).await;
        assert_eq!(saved.is_err(), required, "{saved:?}");
        let (files, manifest) = unpack(&fixture.archives()[0]);
        assert!(files.contains_key("containers/bad/log.txt"), "{files:?}");
        let problems: Vec<_> = (manifest.containers.iter())
            .map(|container| container.problems.join("; "))
            .collect();
        assert_eq!(problems[0], "");
        assert!(problems[1].contains("the layer is damaged"), "{problems:?}");
    }
}

#[tokio::test]
async fn a_log_driver_that_keeps_no_log_is_not_a_failure() {
    let fixture = Fixture::new("logs", true);
    fixture.add_container("a", b"", "null");
    let message = br#"{"message":"configured logging driver does not support reading"}"#;
    let log = "a/logs?stdout=1&stderr=1&timestamps=1";
    fixture.respond(log, Response::Whole(501, message.to_vec()));
    let saved = fixture.save(&["a"]).await.expect("saved");
    let (files, manifest) = unpack(Path::new(&saved.path));
    assert!(files.is_empty());
    assert!(manifest.containers[0].problems[0].contains("no log to save"));
}

#[tokio::test]
async fn a_container_that_vanishes_during_the_saving_is_noted() {
    let fixture = Fixture::new("logs,changes", true);
    fixture.add_container("a", b"", "null");
    fixture
        .responses
        .lock()
        .expect("no panic")
        .remove("/containers/a/changes");
    let saved = fixture.save(&["a"]).await.expect("saved");
    let (files, manifest) = unpack(Path::new(&saved.path));
    assert!(files.is_empty() && manifest.containers[0].gone);
}

#[tokio::test]
async fn a_repeated_attempt_uses_the_complete_archive_of_the_first() {
    let fixture = Fixture::new("logs,changes", true);
    fixture.add_container("a", b"", "null");
    fixture.add_container("b", b"", "null");
    let first = fixture.save(&["a", "b"]).await.expect("saved");
    fixture
        .responses
        .lock()
        .expect("no panic")
        .remove("/containers/a/json");
    assert_eq!(fixture.save(&["a", "b"]).await.expect("saved"), first);
    assert_eq!(fixture.save(&["b"]).await.expect("saved"), first);
    // Another container, or a container that has run again, has new evidence.
    fixture.add_container("c", b"", "null");
    let second = fixture.save(&["b", "c"]).await.expect("saved");
    assert_ne!(second, first);
    assert_eq!(fixture.archives().len(), 2);
    let requests = fixture.requests.lock().expect("no panic");
    let logs = requests
        .iter()
        .filter(|target| target.contains("/logs?"))
        .count();
    assert_eq!(logs, 4);
}

#[tokio::test]
async fn a_save_that_is_dropped_leaves_no_archive() {
    let fixture = Fixture::new("logs", false);
    fixture.add_container("a", b"", "null");
    let log = Response::Stalled(frame(1, "T1 before\n"));
    fixture.respond("a/logs?stdout=1&stderr=1&timestamps=1", log);
    let stopped = tokio::time::timeout(Duration::from_millis(150), fixture.save(&["a"])).await;
    assert!(stopped.is_err());
    let dir = fixture.dir.path().join("evidence");
    // The writing thread notices the end, and removes the partial file.
    while std::fs::read_dir(&dir).expect("a directory").count() > 1 {
        tokio::task::yield_now().await;
    }
}
