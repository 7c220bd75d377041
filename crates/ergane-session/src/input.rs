//! What a user says.

use ergane_core::Part;

/// What a user says: text, or parts (text and images).
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// use ergane::core::ImageSource;
///
/// alice.send_message("hello").await?; // from a text
/// let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
/// alice.send_message(vec![Part::text("What is this?"), image]).await?; // from parts
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Input(pub(crate) Vec<Part>);

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<Vec<Part>> for Input {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

impl From<Input> for Vec<Part> {
    fn from(input: Input) -> Self {
        input.0
    }
}
