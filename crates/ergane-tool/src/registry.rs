//! The tools of a system, by name, and what models are told of them.
//!
//! A tool's own code says what it is once, when it is registered: no session ever waits for it, and a model is told the same
//! at every turn. And a set of tools is encoded once for all requests that offer it:
//! a request must not pay for its tools again at every turn, and providers cache prompts that begin alike.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ergane_core::{Effect, Text, ToolSpec};
use serde_json::Value;

use crate::error::RegistryError;
use crate::permissions::{Reach, Subject};
use crate::tool::Tool;

/// Sets of offered tools that are kept encoded; past it the cache starts anew.
const CACHED_SETS: usize = 64;

/// The tools of a system. Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct ToolRegistry(Arc<Inner>);

struct Inner {
    /// In the order in which they were registered.
    tools: Vec<Registered>,
    by_name: BTreeMap<Text, usize>,
    all: Arc<[ToolSpec]>,
    sets: Mutex<HashMap<Vec<Text>, Arc<[ToolSpec]>>>,
}

/// A registered tool, and what it said of itself then. Whoever decides about calls decides by this: the tool's own code
/// runs when it is registered and when it is called, and nowhere else.
#[derive(Clone)]
#[non_exhaustive]
pub struct Registered {
    /// The tool.
    pub tool: Arc<dyn Tool>,
    /// What models are told of it.
    pub spec: ToolSpec,
    /// What it does to the world.
    pub effect: Effect,
    /// What it gets its hands on.
    pub reach: Reach,
    /// How long a call may take, if it has a limit of its own.
    pub timeout: Option<Duration>,
}

impl Registered {
    /// What is known of it when a call of it is judged.
    pub fn subject(&self) -> Subject<'_> {
        Subject { tool: &self.spec.name, effect: self.effect, reach: self.reach }
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("name", &self.spec.name)
            .field("effect", &self.effect)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Default for ToolRegistry {
    fn default() -> Self {
        Self(Arc::new(Inner {
            tools: Vec::new(),
            by_name: BTreeMap::new(),
            all: Arc::new([]),
            sets: Mutex::default(),
        }))
    }
}

impl ToolRegistry {
    /// A registry of `tools`, in their order.
    ///
    /// # Errors
    /// [`RegistryError`] when a name is illegal or taken, or the parameters are no object schema.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Result<Self, RegistryError> {
        let mut registered = Vec::new();
        let mut by_name = BTreeMap::new();
        for tool in tools {
            let spec = spec_of(tool.as_ref())?;
            if by_name.insert(spec.name.clone(), registered.len()).is_some() {
                return Err(RegistryError::Duplicate { name: spec.name.to_string() });
            }
            let (effect, reach, timeout) = (tool.effect(), tool.reach(), tool.timeout());
            registered.push(Registered { tool, spec, effect, reach, timeout });
        }
        let all = registered.iter().map(|entry| entry.spec.clone()).collect();
        Ok(Self(Arc::new(Inner { tools: registered, by_name, all, sets: Mutex::default() })))
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&Registered> {
        self.0.tools.get(*self.0.by_name.get(name)?)
    }

    /// The names, in the order of registration.
    pub fn names(&self) -> impl Iterator<Item = &Text> {
        self.0.all.iter().map(|spec| &spec.name)
    }

    /// How many tools there are.
    pub fn len(&self) -> usize {
        self.0.tools.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.tools.is_empty()
    }

    /// What a model is told of the tools named, or of all. Always in the order of registration, so that the same set is
    /// the same prompt; the same set is the same allocation, too.
    ///
    /// # Errors
    /// [`RegistryError::Missing`] when a name is not registered.
    pub fn specs(&self, offered: Option<&[Text]>) -> Result<Arc<[ToolSpec]>, RegistryError> {
        let Some(offered) = offered else { return Ok(self.0.all.clone()) };
        let missing: Vec<String> = offered
            .iter()
            .filter(|name| !self.0.by_name.contains_key(*name))
            .map(|name| name.to_string())
            .collect();
        if !missing.is_empty() {
            let known = self.names().map(|name| name.to_string()).collect();
            return Err(RegistryError::Missing { missing, known });
        }
        let chosen = self.0.tools.iter().filter(|entry| offered.contains(&entry.spec.name));
        let key: Vec<Text> = chosen.clone().map(|entry| entry.spec.name.clone()).collect();
        // A panic elsewhere cannot have left the map half-changed: nothing foreign runs under this lock.
        let mut sets = self.0.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.len() >= CACHED_SETS && !sets.contains_key(&key) {
            sets.clear();
        }
        let specs = sets.entry(key).or_insert_with(|| chosen.map(|entry| entry.spec.clone()).collect());
        Ok(specs.clone())
    }
}

fn spec_of(tool: &dyn Tool) -> Result<ToolSpec, RegistryError> {
    let name = tool.name();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err(RegistryError::IllegalName { name: name.to_owned() });
    }
    let parameters = tool.parameters();
    if parameters.get("type").and_then(Value::as_str) != Some("object") {
        let found = parameters.to_string().chars().take(120).collect();
        return Err(RegistryError::BadParameters { name: name.to_owned(), found });
    }
    Ok(ToolSpec {
        name: name.into(),
        description: tool.description().into(),
        parameters: Arc::new(parameters),
    })
}

impl fmt::Debug for ToolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToolRegistry").field(&self.names().collect::<Vec<_>>()).finish()
    }
}
