//! Every path that cannot be a journal is a clear error that names it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{fill, stored};
use ergane_journal::{JournalError, Sqlite};

/// The message of the error that opening gives.
fn refused(path: &Path) -> (JournalError, String) {
    let error = Sqlite::open(path).expect_err("it cannot be opened");
    let text = error.to_string();
    assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
    assert_eq!(error.kind(), "journal");
    (error, text)
}

#[test]
fn a_directory_is_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (error, text) = refused(dir.path());
    assert!(matches!(error, JournalError::InvalidPath { .. }), "{error:?}");
    assert!(text.contains("directory") && text.contains("--journal"), "{text}");
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    for content in ["a few words", &"many words, more than a page of them. ".repeat(1_000)] {
        std::fs::write(&path, content).unwrap();
        let (error, text) = refused(&path);
        assert!(matches!(error, JournalError::InvalidPath { .. }), "{error:?}");
        assert!(text.contains("another kind"), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE session(x); PRAGMA user_version = 1;").unwrap();
    let before = std::fs::read(&path).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, JournalError::InvalidPath { .. }), "{error:?}");
    assert!(text.contains("another program"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_path_under_a_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Sqlite::open(file.join("deep").join("j.db")).unwrap_err();
    assert!(matches!(error, JournalError::Io { retryable: false, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("file") && text.contains("may write there"), "{text}");
}

/// The superuser may write anywhere, so then there is nothing to see.
#[cfg(unix)]
#[test]
fn a_folder_or_a_file_that_may_not_be_written_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        return;
    }
    let error = Sqlite::open(folder.join("j.db")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("locked") && text.contains("may write there"), "{text}");
}

#[test]
fn folders_are_made_an_empty_file_becomes_a_journal_and_it_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a").join("b").join("ergane.db");
    fill(&Sqlite::open(&path).unwrap(), "a", &["1"]);
    assert_eq!(stored(&Sqlite::open(&path).unwrap(), "a"), ["1"]);

    let empty = dir.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    fill(&Sqlite::open(&empty).unwrap(), "a", &["1"]);
    assert_eq!(stored(&Sqlite::open(&empty).unwrap(), "a"), ["1"]);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let store = Sqlite::open(&path).unwrap();
        for suffix in ["", "-wal"] {
            let file = store.path().with_file_name(format!("ergane.db{suffix}"));
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{file:?}");
        }
    }
}

#[test]
fn a_path_that_looks_like_a_uri_is_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file:x?mode=memory");
    fill(&Sqlite::open(&path).unwrap(), "a", &["1"]);
    assert_eq!(stored(&Sqlite::open(&path).unwrap(), "a"), ["1"]);
    assert!(path.is_file());
}
