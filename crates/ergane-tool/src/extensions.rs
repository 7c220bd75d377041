//! What a program gives to its tools, by type.
//!
//! # Why it is made by a function
//!
//! A session is data, and a connection or a credential is none: it cannot be in a journal. So a send carries data that says
//! *who* asks (`meta`), which is kept; and the program registers a function that makes the live things of it. A process that
//! takes over a turn makes the same of the same data. The function is the program's own code, so it runs where the tool
//! runs, not in the session's actor.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ergane_core::SessionName;
use serde_json::Value;

use crate::context::ToolContext;
use crate::error::ToolError;

/// Values by their types, at most one of each. Cheap to clone.
///
/// ```
/// use ergane_tool::Extensions;
///
/// let extensions = Extensions::new().with("acme".to_owned()).with(7_u32);
/// assert_eq!(extensions.get::<u32>(), Some(&7));
/// assert_eq!(extensions.get::<i64>(), None);
/// ```
#[derive(Clone, Default)]
pub struct Extensions(HashMap<TypeId, (&'static str, Arc<dyn Any + Send + Sync>)>);

impl Extensions {
    /// None.
    ///
    /// ```
    /// assert_eq!(ergane_tool::Extensions::new().get::<u32>(), None);
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// With `value`, in place of another one of its type.
    ///
    /// ```
    /// use ergane_tool::Extensions;
    ///
    /// #[derive(Debug, PartialEq)]
    /// struct Tenant(&'static str);
    ///
    /// let extensions = Extensions::new().with(Tenant("acme")).with(Tenant("umbrella"));
    /// assert_eq!(extensions.get(), Some(&Tenant("umbrella")), "one of each type");
    /// ```
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.with_shared(Arc::new(value))
    }

    /// The same for a value that the program shares: `get` finds a `T`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use ergane_tool::Extensions;
    ///
    /// struct Pool; // expensive: made once, beside the system
    ///
    /// let pool = Arc::new(Pool);
    /// let extensions = Extensions::new().with_shared(pool.clone());
    /// assert!(extensions.get::<Pool>().is_some());
    /// ```
    #[must_use]
    pub fn with_shared<T: Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.0.insert(TypeId::of::<T>(), (type_name::<T>(), value));
        self
    }

    /// The value of that type.
    ///
    /// ```
    /// use ergane_tool::Extensions;
    ///
    /// let extensions = Extensions::new().with("acme".to_owned());
    /// assert_eq!(extensions.get::<String>().map(String::as_str), Some("acme"));
    /// assert!(extensions.get::<&str>().is_none(), "it is found by its own type only");
    /// ```
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref())
    }

    fn shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).and_then(|(_, value)| Arc::clone(value).downcast().ok())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The types only: a value may be a secret.
        f.debug_set().entries(self.0.values().map(|(name, _)| name)).finish()
    }
}

/// What makes the [`Extensions`] of a call: a function of the session and of the JSON given with the send.
///
/// ```
/// use ergane_tool::{ContextFn, ContextParts, Extensions, ToolContext};
///
/// struct User(String);
///
/// let who = ContextFn::new(|session, meta| {
///     let user = meta["user"].as_str().unwrap_or(session.as_str());
///     Extensions::new().with(User(user.to_owned()))
/// });
/// let mut parts = ContextParts::for_test("/tmp");
/// parts.extend = who;
/// let ctx = ToolContext::new(parts);
/// assert_eq!(ctx.extension::<User>().map(|user| user.0.as_str()), Some("test"));
/// ```
#[derive(Clone)]
pub struct ContextFn(Arc<Make>);

type Make = dyn Fn(&SessionName, &Value) -> Extensions + Send + Sync;

impl ContextFn {
    /// That function.
    ///
    /// ```
    /// use ergane_tool::{ContextFn, Extensions};
    ///
    /// let same_for_all = ContextFn::new(|_session, _meta| Extensions::new().with(7_u32));
    /// # let _ = same_for_all;
    /// ```
    pub fn new(make: impl Fn(&SessionName, &Value) -> Extensions + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn make(&self, session: &SessionName, meta: &Value) -> Extensions {
        (self.0)(session, meta)
    }
}

/// Makes none.
impl Default for ContextFn {
    fn default() -> Self {
        Self::new(|_, _| Extensions::new())
    }
}

impl fmt::Debug for ContextFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextFn")
    }
}

/// A parameter of a `#[tool]` function that the program fills and not the model: what it gives to its tools, of the type
/// `T`. When it gives none, the call is an error result and the function is not run.
///
/// ```
/// use ergane_tool::{ContextFn, ContextParts, Extension, Extensions, Tool, ToolContext, tool};
///
/// struct Tenant(String);
///
/// /// Counts the orders of today.
/// #[tool(crate = "ergane_tool", effect = "read")]
/// async fn orders(tenant: Extension<Tenant>) -> String {
///     format!("{} has 3 orders", tenant.0)
/// }
///
/// assert_eq!(orders.parameters()["properties"], serde_json::json!({}), "the model does not see it");
/// ```
#[derive(Debug)]
pub struct Extension<T> {
    value: Arc<T>,
}

impl<T: Send + Sync + 'static> Extension<T> {
    /// Takes it from the context of a call: what `#[tool]` does for a parameter.
    ///
    /// ```
    /// use ergane_tool::{ContextFn, ContextParts, Extension, Extensions, ToolContext};
    ///
    /// let mut parts = ContextParts::for_test("/tmp");
    /// parts.extend = ContextFn::new(|_session, _meta| Extensions::new().with("acme".to_owned()));
    /// let ctx = ToolContext::new(parts);
    /// assert_eq!(*Extension::<String>::from_context(&ctx)?, "acme");
    /// assert!(Extension::<u32>::from_context(&ctx).is_err(), "the program gives none");
    /// # Ok::<(), ergane_tool::ToolError>(())
    /// ```
    ///
    /// # Errors
    /// [`ToolError::Failed`] when the program gives none.
    pub fn from_context(ctx: &ToolContext) -> Result<Self, ToolError> {
        let value = ctx.extensions().shared().ok_or_else(|| {
            let wanted = type_name::<T>();
            ToolError::failed(format!(
                "this tool needs a {wanted} from the program that runs it, which gives none to this session; calling it \
                 again will not change that"
            ))
        })?;
        Ok(Self { value })
    }
}

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Extension<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value) }
    }
}
