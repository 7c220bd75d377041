//! `bash`: a command, as a process group that never outlives its call.
//!
//! # Why the command waits for a word
//!
//! Should this process be killed while the command runs, somebody must know what to kill before anything is said of the
//! call. So the group is a durable fact *before* the command begins: a small shell is started that waits for a line on
//! its standard input; the group is recorded; then the line is written and that shell becomes the command. If this process
//! dies before, the input ends and the small shell with it; if it dies afterwards, the fact is there.
//!
//! The word is the group's identity, which the command and all it starts carry in their environment: recovery knows
//! them by it also when the first of them is gone. With it comes where the command's own temporary folder is: that bears
//! the identity in its name from then on, so that recovery finds and removes it, too; before, it bears that of this process.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use ergane_tool::{
    GROUP_VARIABLE, ProcessGroup, ToolContext, ToolError, ToolOutput, group_identity, private_folder_prefix,
    process_started, remove_unclaimed_folders, tool, unclaimed_folder_prefix,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::blocking::blocking;
use crate::capture::{Capture, Ticker};
use crate::handles::Folder;
use crate::paths::Roots;
use crate::sandbox::confine_writes;

/// How long output may still come after the command ended: of what it left in the background, or of what was killed.
const DRAIN: Duration = Duration::from_millis(500);

/// How the names of variables end that a command does not see: what a model can print ends up in the journal and at its
/// provider. Those that the session itself names are hidden, too.
const KEYS: &str = "_API_KEY";

/// Runs a shell command and returns its exit code and its output (stdout and stderr together, cut to 30,000 characters from
/// the middle). There is no input and no terminal. Each call is a new shell in the working folder; processes left in
/// the background are ended with it. Files can be written in the session's folders and under $TMPDIR only.
#[tool(crate = "ergane_tool", effect = "write", timeout = "620s")]
pub async fn bash(
    ctx: &ToolContext,
    /// The command, in bash.
    command: String,
    /// Milliseconds after which the command is killed: 120000 when left out, 600000 at most.
    timeout_ms: Option<u64>,
) -> Result<ToolOutput, ToolError> {
    let wrong = |path: &str, reason: &str| {
        Err(ToolError::Arguments { path: path.to_owned(), reason: reason.to_owned() })
    };
    if command.trim().is_empty() {
        return wrong("command", "it is empty");
    }
    if command.contains('\0') {
        return wrong("command", "it contains a NUL character");
    }
    let limit = timeout_ms.unwrap_or(120_000);
    if !(1..=600_000).contains(&limit) {
        return wrong("timeout_ms", "it must be 1 to 600000");
    }
    let context = ctx.clone();
    let mut place = blocking(ctx, move |_| Place::new(&Roots::of(&context)?)).await?;
    let mut shell = Shell::start(ctx, &mut place, command).await?;
    let end = shell.run(ctx, Duration::from_millis(limit)).await?;
    shell.finish(end, limit).await
}

/// Where a command runs.
struct Place {
    cwd: PathBuf,
    /// Where it may write, by handles: a path could lead elsewhere by then.
    writable: Vec<Arc<Folder>>,
    shell: PathBuf,
    temp: Temp,
}

impl Place {
    fn new(roots: &Roots) -> Result<Self, ToolError> {
        // What processes that were killed have left is looked for once, by whoever comes after them.
        static LOOKED: Once = Once::new();
        LOOKED.call_once(remove_unclaimed_folders);
        let temp = tempfile::Builder::new()
            .prefix(&unclaimed_folder_prefix())
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| ToolError::failed(format!("no temporary folder could be made: {error}")))?;
        let temp = Temp(Some(OnDisk(temp.keep())));
        let shell = find_program("bash").unwrap_or_else(|| PathBuf::from("sh"));
        let opened = Folder::open(temp.path()).map_err(ToolError::failed)?;
        let writable = roots.folders().cloned().chain([Arc::new(opened)]).collect();
        Ok(Self { cwd: roots.cwd().to_owned(), writable, shell, temp })
    }
}

/// A temporary folder, removed when dropped.
struct Temp(Option<OnDisk>);

impl Temp {
    fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new("/"), |folder| &folder.0)
    }

    /// Gives it a name by which it is known to be that group's. What is open of it stays open.
    async fn belongs_to(&mut self, group: i32, leader_started: u64) -> Result<(), ToolError> {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let random = name.rsplit('-').next().unwrap_or_default();
        let name = format!("{}{random}", private_folder_prefix(group, leader_started));
        let to = self.path().with_file_name(name);
        match tokio::fs::rename(self.path(), &to).await {
            Ok(()) => self.0.iter_mut().for_each(|folder| folder.0.clone_from(&to)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ToolError::failed(
                    "the temporary folder of this call was removed before it began; call it again",
                ));
            }
            // It is as good under the name that it has, but for who looks for it after a crash.
            Err(error) => tracing::debug!(%error, "a temporary folder keeps its name"),
        }
        Ok(())
    }
}

/// A command may leave much to remove, so it is not done on a thread that must not block.
impl Drop for Temp {
    fn drop(&mut self) {
        let folder = self.0.take();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(folder))),
            Err(_) => drop(folder),
        }
    }
}

/// A folder that goes with this, on whatever thread that is: also one of a runtime that ends.
struct OnDisk(PathBuf);

impl Drop for OnDisk {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "a temporary folder is not removed");
        }
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A command that runs.
struct Shell {
    /// First, so that it is dropped first: kills the group.
    group: ProcessGroup,
    child: Child,
    output: Receiver,
    capture: Capture,
    ticker: Ticker,
    begun: Instant,
}

/// Why a command stopped.
enum End {
    Exit(ExitStatus),
    TimedOut,
    Cancelled,
}

impl Shell {
    /// Starts the waiting shell, has its group recorded, and gives the word.
    async fn start(ctx: &ToolContext, place: &mut Place, command: String) -> Result<Self, ToolError> {
        let (child, output) = spawn(place, command, ctx.hidden_env()).await?;
        let gone = || ToolError::failed("the shell ended before it could be used");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(gone)?;
        // Other systems than Linux do not tell; there a group left behind is not found again.
        let started = process_started(pid).unwrap_or(0);
        let group = ctx.guard_group(pid, started);
        let mut child = child;
        let word = child.stdin.take().ok_or_else(gone)?;
        let output = Receiver::from_owned_fd(OwnedFd::from(output))
            .map_err(|error| ToolError::failed(format!("the shell's output cannot be read: {error}")))?;
        tokio::select! {
            biased;
            () = ctx.cancelled() => return Err(ToolError::Cancelled),
            recorded = ctx.record_process(pid, started) => recorded?,
        }
        place.temp.belongs_to(pid, started).await?;
        give_word(word, &group_identity(pid, started), place.temp.path())
            .await
            .map_err(|error| ToolError::failed(format!("the shell did not start the command: {error}")))?;
        let (capture, ticker, begun) = (Capture::default(), Ticker::new(), Instant::now());
        Ok(Self { group, child, output, capture, ticker, begun })
    }

    /// Runs until it ends or has to.
    async fn run(&mut self, ctx: &ToolContext, limit: Duration) -> Result<End, ToolError> {
        let deadline = Instant::now() + limit;
        let mut buffer = vec![0; 16 * 1024];
        let mut open = true;
        let end = loop {
            let due = self.ticker.due();
            tokio::select! {
                // In this order, so that a flood of output holds up nothing.
                biased;
                () = ctx.cancelled() => break End::Cancelled,
                () = sleep_until(deadline) => break End::TimedOut,
                status = self.child.wait() => {
                    break End::Exit(status.map_err(|error| ToolError::failed(format!("the shell was lost: {error}")))?);
                }
                () = sleep_until(due.unwrap_or(deadline)), if due.is_some() => self.ticker.show(ctx),
                read = self.output.read(&mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(bytes) => self.take(buffer.get(..bytes).unwrap_or_default()),
                },
            }
        };
        if !matches!(end, End::Exit(_)) {
            self.group.kill();
        }
        if open {
            // What was said until now counts; and what a command left in the background may still have something to say.
            self.drain(&mut buffer).await;
        }
        if self.ticker.due().is_some() {
            self.ticker.show(ctx);
        }
        Ok(end)
    }

    /// Reads to the end of the output, at most [`DRAIN`].
    async fn drain(&mut self, buffer: &mut [u8]) {
        let read = async {
            while let Ok(bytes @ 1..) = self.output.read(buffer).await {
                self.take(buffer.get(..bytes).unwrap_or_default());
            }
        };
        if timeout(DRAIN, read).await.is_err() {
            tracing::debug!("a command left a process behind that holds its output");
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.capture.push(bytes);
        self.ticker.push(bytes);
    }

    /// Ends what is left of the group and tells how it went.
    async fn finish(mut self, end: End, limit: u64) -> Result<ToolOutput, ToolError> {
        let ended = self.group.end().await;
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let bytes = self.capture.total();
        let ui =
            |how: &str, code: Option<i32>| json!({ "ended": how, "code": code, "ms": ms, "bytes": bytes });
        let mut rest = self.capture.finish();
        if !ended.gone {
            note(&mut rest, "[a process of the command does not end although it was killed]");
        }
        Ok(match end {
            End::Exit(status) => {
                let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
                if let Some(signal) = status.signal() {
                    note(&mut rest, &format!("[killed by signal {signal}]"));
                }
                if ended.lived {
                    note(&mut rest, "[processes left in the background were ended]");
                }
                ToolOutput::text(format!("exit {code}\n{rest}")).with_ui("command", ui("exit", Some(code)))
            }
            End::TimedOut | End::Cancelled => {
                // Killed above, so this is the reaping only; what is not reaped here is when it is dropped.
                if timeout(DRAIN, self.child.wait()).await.is_err() {
                    tracing::debug!("a killed shell does not end");
                }
                let (how, why) = match end {
                    End::TimedOut => ("timeout", format!("timed out after {limit} ms and was")),
                    _ => ("interrupt", "interrupted and".to_owned()),
                };
                let text = format!(
                    "{why} killed with its process group; what it had done until then stays done\n{rest}"
                );
                ToolOutput::error(text).with_ui("command", ui(how, None))
            }
        })
    }
}

fn note(text: &mut String, note: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(note);
}

async fn give_word(mut input: ChildStdin, identity: &str, temp: &Path) -> io::Result<()> {
    let word = [identity.as_bytes(), b"\n", temp.as_os_str().as_bytes(), b"\n"].concat();
    input.write_all(&word).await?;
    input.shutdown().await
}

/// Starts the waiting shell on a thread of its own, which confines itself first.
async fn spawn(place: &Place, command: String, hidden: &[String]) -> Result<(Child, PipeReader), ToolError> {
    let wait = format!(
        "IFS= read -r {GROUP_VARIABLE} && IFS= read -r TMPDIR || exit 125; export {GROUP_VARIABLE} TMPDIR; \
         exec \"$0\" -c \"$1\" </dev/null"
    );
    let (reader, writer) = io::pipe().map_err(ToolError::failed)?;
    let errors = writer.try_clone().map_err(ToolError::failed)?;
    // `sh` and not `bash`: it reads no file that a variable names before it waits.
    let mut shell = Command::new("sh");
    shell
        .args([OsStr::new("-c"), OsStr::new(&wait), place.shell.as_os_str(), OsStr::new(&command)])
        .current_dir(&place.cwd)
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true);
    let is_key = |name: &OsString| name.to_str().is_some_and(|name| name.ends_with(KEYS));
    let keys = std::env::vars_os().map(|(name, _)| name).filter(is_key);
    for name in keys.chain(hidden.iter().map(OsString::from)) {
        shell.env_remove(name);
    }
    let writable = place.writable.clone();
    let runtime = Handle::current();
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("ergane-spawn".to_owned()).spawn(move || {
        let _runtime = runtime.enter();
        let started = confine_writes(&writable)
            .map_err(|error| format!("the shell could not be confined: {error}"))
            .and_then(|_| shell.spawn().map_err(|error| cannot_start(&error)));
        // If nobody waits any more, the child is dropped with this and killed.
        drop(sender.send(started));
    });
    thread.map_err(|error| ToolError::failed(format!("no thread to start a shell on: {error}")))?;
    match receiver.await {
        Ok(Ok(child)) => Ok((child, reader)),
        Ok(Err(reason)) => Err(ToolError::Failed(reason)),
        Err(_) => Err(ToolError::failed("the thread that starts the shell ended early")),
    }
}

fn cannot_start(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            "the command is too long; write it to a file and run that".to_owned()
        }
        _ => format!("the shell could not be started: {error}"),
    }
}
