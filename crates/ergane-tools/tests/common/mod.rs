//! A folder with files, and calls of tools in it.
#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ergane_tool::{Part, Tool, ToolContext, ToolError, ToolOutput};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Folder {
    _temp: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) ctx: ToolContext,
}

impl Folder {
    /// An empty folder, with a context in it.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        // One level down, so that there is a place outside of it that goes with it.
        let path = temp.path().canonicalize().unwrap().join("in");
        fs::create_dir(&path).unwrap();
        let ctx = ToolContext::for_test(&path);
        Self { _temp: temp, path, ctx }
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a file look as if it was changed so many seconds after 2020.
    pub(crate) fn date(&self, name: &str, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800 + seconds);
        fs::File::options().write(true).open(self.path.join(name)).unwrap().set_modified(time).unwrap();
    }

    pub(crate) fn outside(&self) -> &Path {
        self.path.parent().unwrap()
    }

    pub(crate) async fn call(&self, tool: &dyn Tool, arguments: Value) -> Result<ToolOutput, ToolError> {
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        tool.call(self.ctx.clone(), arguments).await
    }

    pub(crate) async fn text(&self, tool: &dyn Tool, arguments: Value) -> String {
        text(&self.call(tool, arguments).await.unwrap())
    }

    pub(crate) async fn error(&self, tool: &dyn Tool, arguments: Value) -> String {
        self.call(tool, arguments).await.unwrap_err().to_string()
    }
}

pub(crate) fn text(output: &ToolOutput) -> String {
    let text = |part: &Part| match part {
        Part::Text { text } => text.to_string(),
        other => panic!("{other:?}"),
    };
    output.content.iter().map(text).collect()
}
