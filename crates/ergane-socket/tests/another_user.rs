//! Processes of another user, where file modes do not keep them out: neither side has anything to do with them. Only root can play
//! two users, and not in every container, so elsewhere there is nothing to do here; the decision itself is tested in `place`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail
#![cfg(target_os = "linux")] // there a thread may have a user of its own

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ergane::prelude::*;
use ergane::socket::{Process, SocketStatus, processes};
use rustix::thread::set_thread_res_uid;

const LONG: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65534;

fn become_nobody() -> rustix::io::Result<()> {
    let user = rustix::process::Uid::from_raw(NOBODY);
    set_thread_res_uid(user, user, user)
}

fn can_play_two() -> bool {
    thread::spawn(become_nobody).join().unwrap().is_ok()
}

/// In a thread that ends with it.
fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        become_nobody().unwrap();
        work()
    })
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
}

/// A system, its journal, and the socket that it has beside it.
async fn system(folder: &Path) -> (System, PathBuf, PathBuf) {
    let journal = folder.join("j.db");
    let system = System::builder().provider("scripted", Scripted::builtin());
    let system = system.journal(Sqlite::open(&journal).unwrap()).start().await.unwrap();
    let tree = system.tree().await.unwrap();
    let socket = tree.find("socket").and_then(|node| node.socket.clone());
    let Some(SocketStatus::Open { path }) = socket else { panic!("it has one: {socket:?}") };
    (system, journal, path)
}

fn complaint(process: &Process) -> &str {
    &process.error.as_ref().expect("it is not believed").message
}

#[tokio::test]
async fn who_listens_as_another_user_is_told_nothing() {
    if !can_play_two() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let (system, journal, socket) = system(folder.path()).await;
    let sockets = socket.parent().unwrap().to_owned();
    open_to_all(&sockets);
    let theirs = sockets.join("1.sock");
    let listener = as_nobody({
        let unborn = sockets.join("1.new");
        move || UnixListener::bind(unborn).unwrap()
    });
    let listener = listener.join().unwrap();
    // Only now, or the system, which sweeps after its start, could find it before it is listened on.
    fs::rename(sockets.join("1.new"), &theirs).unwrap();
    // The sweep may come too, before or after.
    let over = Arc::new(AtomicBool::new(false));
    let heard = thread::spawn({
        let over = over.clone();
        move || {
            let mut heard = Vec::new();
            while !over.load(Ordering::SeqCst) {
                listener.accept().unwrap().0.read_to_end(&mut heard).unwrap();
            }
            heard
        }
    });
    let found = processes(&journal, LONG).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].pid, Some(1));
    assert!(complaint(&found[0]).contains("runs as user 65534"), "{found:?}");
    assert_eq!((found[1].pid, &found[1].error), (Some(std::process::id()), &None));
    over.store(true, Ordering::SeqCst);
    drop(UnixStream::connect(&theirs)); // so that it looks, if it has not
    assert_eq!(heard.join().unwrap(), b"");
    fs::remove_file(theirs).unwrap();
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn who_asks_as_another_user_is_not_answered() {
    if !can_play_two() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let (system, journal, socket) = system(folder.path()).await;
    open_to_all(socket.parent().unwrap());
    open_to_all(&socket);
    let ask = |path: PathBuf| {
        move || {
            let mut stream = UnixStream::connect(path).unwrap();
            let mut heard = Vec::new();
            // It may be closed already, and with something unread.
            drop(stream.write_all(b"{}\n"));
            drop(stream.read_to_end(&mut heard));
            heard
        }
    };
    let theirs = as_nobody(ask(socket.clone()));
    let theirs = tokio::task::spawn_blocking(move || theirs.join().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&theirs), "");
    let ours = tokio::task::spawn_blocking(ask(socket)).await.unwrap();
    assert!(!ours.is_empty(), "our user is told what is wrong with it");
    assert_eq!(processes(&journal, LONG).await.unwrap().len(), 1);
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn who_may_not_enter_the_folder_is_told_whose_it_is() {
    if !can_play_two() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let (system, journal, _) = system(folder.path()).await;
    let asked = as_nobody(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(processes(&journal, LONG)).unwrap_err().to_string()
    });
    let told = tokio::task::spawn_blocking(move || asked.join().unwrap()).await.unwrap();
    assert!(told.contains("belongs to user 0, and this process runs as user 65534: run it as"), "{told}");
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_system_does_not_serve_in_the_folder_of_another_user_and_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = folder.path().join("j.db.sockets");
    fs::create_dir(&sockets).unwrap();
    fs::set_permissions(&sockets, Permissions::from_mode(0o700)).unwrap();
    if std::os::unix::fs::chown(&sockets, Some(NOBODY), None).is_err() {
        return;
    }
    let journal = folder.path().join("j.db");
    let system = System::builder().journal(Sqlite::open(&journal).unwrap()).start().await.unwrap();
    let tree = system.tree().await.unwrap();
    let socket = tree.find("socket").and_then(|node| node.socket.clone());
    let Some(SocketStatus::Failed { reason }) = socket else { panic!("it is told: {socket:?}") };
    assert!(reason.contains("belongs to user 65534"), "{reason}");
    let error = processes(&journal, LONG).await.unwrap_err();
    assert!(error.to_string().contains("belongs to user 65534"), "{error}");
    system.shutdown(LONG).await.unwrap();
}
