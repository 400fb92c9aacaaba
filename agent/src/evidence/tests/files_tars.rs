//! Tests of the tar of changed files: names, links, sizes, and sources that break off.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tar::{Builder, EntryType, Header};

use super::super::archive::{ArchiveWriter, Content};
use super::super::files_tar::{Added, Extent, FilesTar, Request};
use super::super::manifest::{ContainerEvidence, SavedFile};
use super::super::store::EvidenceStore;
use super::{UNIT, check_archive, decky, noise, open, operation, unpack};

fn header(kind: EntryType, name: &str, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    // Written directly, because the library rejects hostile names.
    let field = &mut header.as_mut_bytes()[..100];
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(0o640);
    header.set_cksum();
    header
}

/// Returns a tar with one file per name and content.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let header = header(EntryType::Regular, name, content.len() as u64);
        builder.append(&header, *content).expect("appended");
    }
    builder.into_inner().expect("finished")
}

fn start(store: &Arc<EvidenceStore>) -> FilesTar {
    let archive = ArchiveWriter::start(store, operation(1), &decky()).expect("started");
    let limit = archive.left();
    FilesTar::start(archive, "containers/web/files.tar", limit).expect("started")
}

/// Adds a path, and returns what became of it and of its entries.
fn add(tar: &mut FilesTar, path: &str, extent: Extent, source: impl Read) -> (Added, Vec<String>) {
    let request = Request {
        path,
        extent,
        is_changed: &|path| path.ends_with("changed"),
    };
    let mut seen = Vec::new();
    let added = tar.add(&request, source, |path, fate| {
        seen.push(format!("{} {fate:?}", path.display()));
    });
    (added.expect("written"), seen)
}

/// Finishes the archive, checks it, and returns the inner tar and its entry in the manifest.
fn finish(tar: FilesTar) -> (Vec<u8>, SavedFile) {
    let (archive, saved) = tar.finish().expect("finished");
    let content = Content {
        containers: vec![ContainerEvidence {
            files: vec![saved.clone()],
            ..ContainerEvidence::default()
        }],
        truncated: saved.truncated,
    };
    let evidence = archive.finish(content).expect("saved");
    check_archive(Path::new(&evidence.path));
    (unpack(Path::new(&evidence.path)).remove(0).1, saved)
}

/// Returns each entry as `name -> link` or `name = length`.
fn list_entries(tar: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(tar);
    let entries = tar.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        if let Some(link) = entry.link_name().expect("a link") {
            return format!("{name} -> {}", link.display());
        }
        let length = io::copy(&mut entry, &mut io::sink()).expect("content");
        assert_eq!(length, entry.size());
        format!("{name} = {length}")
    });
    entries.collect()
}

#[test]
fn entries_get_their_path_in_the_container() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 100 * UNIT).expect("opened"));
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let mut builder = Builder::new(Vec::new());
    builder
        .append(&header(EntryType::Directory, "new/", 0), io::empty())
        .expect("appended");
    let mut file = header(EntryType::Regular, "", 3);
    builder
        .append_pax_extensions([("SCHILY.xattr.user.a", b"1" as &[u8])])
        .expect("appended");
    builder
        .append_data(&mut file, format!("new/{long}"), b"abc" as &[u8])
        .expect("appended");
    let mut link = header(EntryType::Link, "", 0);
    builder
        .append_link(&mut link, "new/hard", "new/file")
        .expect("appended");
    let mut link = header(EntryType::Symlink, "", 0);
    builder
        .append_link(&mut link, "new/soft", "/../../etc/passwd")
        .expect("appended");
    let source = builder.into_inner().expect("finished");
    let (added, seen) = add(&mut tar, "/opt/new", Extent::Tree, source.as_slice());
    assert_eq!((added, seen.len()), (Added::Complete, 4));
    let (inner, _) = finish(tar);
    assert_eq!(
        list_entries(&inner),
        [
            "opt/new = 0".to_owned(),
            format!("opt/new/{long} = 3"),
            "opt/new/hard -> opt/new/file".to_owned(),
            "opt/new/soft -> /../../etc/passwd".to_owned(),
        ]
    );
    let attribute = inner.windows(19).any(|part| part == b"SCHILY.xattr.user.a");
    assert!(attribute, "extended attributes are kept");
}

#[test]
fn of_a_modified_directory_only_what_has_changed_is_copied() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 100 * UNIT).expect("opened"));
    let source = tar_of(&[("etc", b""), ("etc/same", b"x"), ("etc/a/changed", b"y")]);
    let (added, _) = add(&mut tar, "/etc", Extent::Path, source.as_slice());
    assert_eq!(added, Added::Complete);
    let (added, _) = add(&mut tar, "/etc", Extent::Changed, source.as_slice());
    assert_eq!(added, Added::Complete);
    assert_eq!(
        list_entries(&finish(tar).0),
        ["etc = 0", "etc/a/changed = 1"]
    );
}

#[test]
fn hostile_names_are_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 100 * UNIT).expect("opened"));
    for (path, name) in [
        ("/a", "../../etc/passwd"),
        ("/a", "a/../../b"),
        ("/a/../../b", "b"),
        ("/", "x"),
        ("/a", ""),
    ] {
        let (added, _) = add(
            &mut tar,
            path,
            Extent::Tree,
            tar_of(&[(name, b"x")]).as_slice(),
        );
        assert!(
            matches!(added, Added::Failed(_)),
            "{path} {name}: {added:?}"
        );
    }
    // The first part of a name is replaced, so an absolute name is harmless.
    let source = tar_of(&[("/etc/passwd", b"xyz")]);
    let (added, _) = add(&mut tar, "/a", Extent::Tree, source.as_slice());
    assert_eq!(added, Added::Complete);
    assert_eq!(list_entries(&finish(tar).0), ["a/passwd = 3"]);
}

#[test]
fn a_file_that_does_not_fit_is_left_out_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 16 * UNIT).expect("opened"));
    let big = noise(5 * UNIT);
    let source = tar_of(&[("d/a", b"1"), ("d/big", &big), ("d/z", b"2")]);
    let (added, seen) = add(&mut tar, "/d", Extent::Tree, source.as_slice());
    assert_eq!(added, Added::Complete);
    assert_eq!(seen, ["d/a Copied", "d/big TooLarge", "d/z Copied"]);
    assert!(!tar.is_full());
    let (inner, saved) = finish(tar);
    assert_eq!(list_entries(&inner), ["d/a = 1", "d/z = 1"]);
    assert!(saved.truncated);
}

#[test]
fn a_sparse_file_is_not_read_to_its_end() {
    const TIB: u64 = 1 << 40;
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 16 * UNIT).expect("opened"));
    for (extent, name, expected) in [
        (Extent::Tree, "d/sparse", Added::Stopped),
        (Extent::Changed, "d/same", Added::Stopped),
        (Extent::Path, "d", Added::Complete),
    ] {
        let header = header(EntryType::Regular, name, TIB);
        let source = header.as_bytes().chain(io::repeat(0).take(TIB));
        assert_eq!(add(&mut tar, "/d", extent, source).0, expected);
    }
    assert_eq!(list_entries(&finish(tar).0), Vec::<String>::new());
}

#[test]
fn the_tar_stays_valid_if_a_source_breaks_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut tar = start(&open(dir.path(), 100 * UNIT).expect("opened"));
    let whole = tar_of(&[("a", &noise(100_000))]);
    for length in [0, 100, 512, 1000, 60_000] {
        let (added, _) = add(&mut tar, "/a", Extent::Path, whole.as_slice().take(length));
        let is_failed = matches!(added, Added::Failed(_));
        assert_eq!(is_failed, length > 0, "{length}: {added:?}");
    }
    let (added, _) = add(
        &mut tar,
        "/b",
        Extent::Path,
        tar_of(&[("b", b"1")]).as_slice(),
    );
    assert_eq!(added, Added::Complete);
    let entries = list_entries(&finish(tar).0);
    assert_eq!(entries.last().map(String::as_str), Some("b = 1"));
    let broken = &entries[..entries.len() - 1];
    assert!(
        broken.iter().all(|entry| entry == "a = 100000"),
        "{entries:?}"
    );
}
