//! The registry of providers, and the port through which actors call them.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ergane_core::{ProviderError, Text, TypedUrl};
use ergane_otp::{
    ChildSpec, DynamicOptions, DynamicSupervisor, DynamicSupervisorRef, Namespace, RestartBudget,
    TaskSupervisor, TaskSupervisorRef,
};
use tokio::time::Instant;

use super::breaker::Circuit;
use super::call::{Call, CallEvent, CallHandle, Line};
use super::door::{Door, Supervisors};
use super::errand::Errand;
use super::lane::{Lane, Ticket};
use super::limits::Limits;
use super::wait::WaitReason;
use super::weight::tokens_of;
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::price::Price;
use crate::provider::{DeltaSink, Endpoint, Provider, ProviderCall, invalid};
use crate::wire::Quota;

/// The supervisor of the providers' actors.
const PROVIDERS: &str = "providers";

/// The supervisor of the requests' actors.
const REQUESTS: &str = "requests";

/// The providers of a system, by name, and the way to call them. Cheap to clone; all clones are the same.
///
/// A call goes to the actor of its provider, which lets a bounded number of calls run and queues the others, and from
/// there to an actor of its own. One provider's queue, hang or death never touches another's.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

/// By what is asked for. Several may be one.
type Lanes = HashMap<(Text, Endpoint), Arc<Lane>>;

struct Inner {
    /// In the order of registration.
    registered: Vec<(Text, Arc<dyn Provider>)>,
    supervisors: Supervisors,
    /// By provider and model.
    prices: Vec<((Text, Text), Price)>,
    lanes: Mutex<Lanes>,
    /// Makes digests of queries, which may be secret: others in every process, so that nobody can find out by them.
    digests: RandomState,
    draining: AtomicBool,
}

/// How one provider stands, at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderStatus {
    /// Its actor's name: `provider/NAME` or `provider/NAME@URL`. A query is told by a digest only.
    pub actor: String,
    /// Its registered name.
    pub provider: Text,
    /// Where it is.
    pub endpoint: String,
    /// How many calls run.
    pub running: usize,
    /// How many wait.
    pub waiting: usize,
    /// The bounds that were set.
    pub limits: Limits,
    /// Where its circuit stands.
    pub circuit: Circuit,
    /// How much longer the circuit lets no call through (the first one then is the probe; while one is under way, so long
    /// until another would be); `None` when it would let one through now.
    pub circuit_for: Option<Duration>,
    /// How much longer the server asked to be left alone, by a `Retry-After` and the like, by all or by those who ask for one of
    /// its models; `None` when it did not.
    pub asked_for: Option<Duration>,
    /// What the server's headers told of its own limits, reckoned to this moment: less what was asked since, and more what
    /// has flowed in. Limits are told for each model: these are of the one that has least left. What is not told is `None`.
    pub told: Quota,
    /// Why a call would have to wait now, of the model that must wait for longest; `None` when none must.
    pub reason: Option<WaitReason>,
    /// How long it would have to wait at least; `None` when nobody knows, as when it waits for another to end.
    pub wait: Option<Duration>,
}

/// Builds [`Providers`].
#[derive(Debug, Default)]
pub struct ProvidersBuilder {
    registered: Vec<(Text, Arc<dyn Provider>)>,
    prices: Vec<((Text, Text), Price)>,
}

impl ProvidersBuilder {
    /// Registers a provider. The first one is the default. A name registered again replaces the former provider.
    pub fn register(mut self, name: impl Into<Text>, provider: impl Provider) -> Self {
        let (name, provider) = (name.into(), Arc::new(provider) as Arc<dyn Provider>);
        match self.registered.iter_mut().find(|(taken, _)| *taken == name) {
            Some((_, former)) => *former = provider,
            None => self.registered.push((name, provider)),
        }
        self
    }

    /// What a model costs at the provider of that name, at whatever endpoint: it goes before the table of known prices
    /// ([`Pricing`](crate::Pricing)). It is looked for by the name that the server gives the model which answered, then by the name
    /// that was asked for. What a server itself says that a call cost goes before both.
    pub fn price(mut self, provider: impl Into<Text>, model: impl Into<Text>, price: Price) -> Self {
        let key = (provider.into(), model.into());
        self.prices.retain(|(known, _)| *known != key);
        self.prices.push((key, price));
        self
    }

    /// The providers, whose actors will live in `namespace` under the supervisors of
    /// [`child_specs`](Providers::child_specs).
    pub fn build(self, namespace: &Namespace) -> Providers {
        Providers(Arc::new(Inner {
            registered: self.registered,
            prices: self.prices,
            supervisors: Supervisors {
                providers: DynamicSupervisorRef::new(namespace, PROVIDERS),
                requests: TaskSupervisorRef::new(namespace, REQUESTS),
            },
            lanes: Mutex::default(),
            digests: RandomState::new(),
            draining: AtomicBool::new(false),
        }))
    }
}

impl Providers {
    /// A builder without providers.
    pub fn builder() -> ProvidersBuilder {
        ProvidersBuilder::default()
    }

    /// The registered names, in the order of registration.
    pub fn names(&self) -> Vec<Text> {
        self.0.registered.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The first name registered.
    pub fn default_name(&self) -> Option<Text> {
        self.0.registered.first().map(|(name, _)| name.clone())
    }

    /// The provider registered under that name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Provider>> {
        self.0.registered.iter().find(|(known, _)| **known == *name).map(|(_, provider)| provider.clone())
    }

    /// The environment variables that the keys of the registered providers are read from.
    pub fn key_envs(&self) -> Vec<Text> {
        self.0.registered.iter().filter_map(|(_, provider)| provider.key_env()).collect()
    }

    /// The supervisors `providers` and `requests`, for the root of the tree, in this order: requests end first.
    ///
    /// An actor of a provider may need 20 restarts a minute before it is quarantined; each has a budget of its own. An
    /// actor of a request is never restarted: whoever asked decides whether to ask again.
    pub fn child_specs(&self) -> Vec<ChildSpec> {
        let budget =
            RestartBudget { max_restarts: 20, within: Duration::from_secs(60), ..RestartBudget::default() };
        vec![
            DynamicSupervisor::child_spec(PROVIDERS, DynamicOptions::new().budget(budget)),
            TaskSupervisor::child_spec(REQUESTS),
        ]
    }

    /// Makes a call. Returns at once; everything else comes to `sink`, which must be quick and must not block: send a
    /// message. The last event is [`CallEvent::Done`], exactly once, whatever dies on the way, unless the handle is
    /// dropped first. A call that cannot even be queued is done before this returns.
    ///
    /// Must be called within a tokio runtime.
    pub fn call(&self, call: Call, sink: impl Fn(CallEvent) + Send + Sync + 'static) -> CallHandle {
        let line = Line::new(sink);
        let lane = match self.lane(&call.provider, &call.endpoint) {
            Ok(lane) => lane,
            Err(error) => {
                line.done(Err(error));
                return CallHandle { line, lane: None };
            }
        };
        let waiting = match lane.wait() {
            Ok(waiting) => waiting,
            Err(error) => {
                line.done(Err(error));
                return CallHandle { line, lane: None };
            }
        };
        let Call { provider, request, idle_timeout, asker, max_wait, endpoint: _ } = call;
        let call = ProviderCall { provider, request, idle_timeout, deltas: DeltaSink::none() };
        // One that is beyond the clock's end is none.
        let until = max_wait.and_then(|wait| Instant::now().checked_add(wait));
        let promise = line.promise();
        let weight = OnceCell::new();
        let ticket = Box::new(Ticket { call, weight, asker, until, line: line.clone(), promise, waiting });
        if lane.counts_tokens() {
            // In the caller's time, and under no lock.
            ticket.weight();
        }
        Door::enter(&lane, &self.0.supervisors, ticket);
        CallHandle { line, lane: Some(lane) }
    }

    /// The models that a provider lists, within `deadline`. It is asked in the caller's own task, so no call and no actor
    /// waits for it; dropping the future cancels it.
    ///
    /// # Errors
    /// See [`Provider::list_models`]; [`ErrorKind::Timeout`](ergane_core::ErrorKind::Timeout) at the deadline;
    /// [`ErrorKind::Overloaded`](ergane_core::ErrorKind::Overloaded) or
    /// [`ErrorKind::RateLimited`](ergane_core::ErrorKind::RateLimited), without asking, of a server whose circuit is open or that
    /// asked to wait, beyond the deadline, and while the system is ending.
    pub async fn list_models(
        &self,
        provider: &Text,
        endpoint: &Endpoint,
        deadline: Duration,
    ) -> Result<Vec<ModelInfo>, ProviderError> {
        self.lane(provider, endpoint)?
            .errand(deadline, Errand::Look, None, |provider| provider.list_models())
            .await
    }

    /// What a provider tells of one model, as [`list_models`](Self::list_models).
    ///
    /// # Errors
    /// See [`Provider::model_info`], and [`list_models`](Self::list_models).
    pub async fn model_info(
        &self,
        provider: &Text,
        endpoint: &Endpoint,
        model: Text,
        deadline: Duration,
    ) -> Result<ModelInfo, ProviderError> {
        self.lane(provider, endpoint)?
            .errand(deadline, Errand::Look, None, |provider| provider.model_info(model))
            .await
    }

    /// Vectors of texts, as [`list_models`](Self::list_models).
    ///
    /// # Errors
    /// See [`Provider::embed`], and [`list_models`](Self::list_models).
    pub async fn embed(
        &self,
        provider: &Text,
        endpoint: &Endpoint,
        request: EmbedRequest,
        deadline: Duration,
    ) -> Result<Embeddings, ProviderError> {
        let tokens = tokens_of(request.input.iter().map(|text| text.len()).sum());
        let lane = self.lane(provider, endpoint)?;
        let model = Some(request.model.clone());
        lane.errand(deadline, Errand::Vectors(tokens), model, |provider| provider.embed(request)).await
    }

    /// Makes no new calls from here on, and waits for those that run, but not longer than `patience`. Returns how many
    /// run still. A call that is not made waits, and is told so. Lists of models and vectors count as calls do; what is asked
    /// of these later is refused.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.0.draining.store(true, Ordering::SeqCst);
        let lanes = self.distinct_lanes();
        lanes.iter().for_each(|lane| lane.drain());
        let all_still = async {
            for lane in &lanes {
                lane.still().await;
            }
        };
        // Either way it is looked at what is left.
        drop(tokio::time::timeout(patience, all_still).await);
        lanes.iter().map(|lane| lane.open()).sum()
    }

    /// How each provider stands that was called: by the name of its actor.
    pub fn status(&self) -> Vec<ProviderStatus> {
        let mut all: Vec<ProviderStatus> = self.distinct_lanes().iter().map(|lane| lane.status()).collect();
        all.sort_by(|one, other| one.actor.cmp(&other.actor));
        all
    }

    fn distinct_lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut distinct: Vec<Arc<Lane>> = Vec::new();
        for lane in lanes.values() {
            if !distinct.iter().any(|known| Arc::ptr_eq(known, lane)) {
                distinct.push(lane.clone());
            }
        }
        distinct
    }

    fn lane(&self, name: &Text, endpoint: &Endpoint) -> Result<Arc<Lane>, ProviderError> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), endpoint.clone());
        if let Some(lane) = lanes.get(&key) {
            return Ok(lane.clone());
        }
        let registered = self.get(name).ok_or_else(|| self.unknown(name))?;
        let (mut named, mut provider) = (endpoint.clone(), registered.clone());
        if !endpoint.is_default() {
            provider = registered.with_endpoint(endpoint)?;
            // One that is spelt out and is the usual one is that, with its bounds and its circuit.
            if provider.place().is_some_and(|place| registered.place() == Some(place)) {
                (named, provider) = (Endpoint::default(), registered);
            }
        }
        let place = provider.place();
        let is_same = |lane: &&Arc<Lane>| {
            lane.provider_name == *name
                && if named.is_default() { lane.is_usual } else { place.is_some() && lane.place == place }
        };
        let lane = match lanes.values().find(is_same) {
            Some(lane) => lane.clone(),
            None => {
                let actor = self.actor_of(name, &named, provider.as_ref(), &lanes);
                let of_this = self.0.prices.iter().filter(|((provider, _), _)| provider == name);
                let prices = of_this.map(|((_, model), price)| (model.clone(), *price)).collect();
                Arc::new(Lane::new(actor, (name.clone(), named.is_default()), provider, prices))
            }
        };
        if self.0.draining.load(Ordering::SeqCst) {
            lane.drain();
        }
        lanes.insert(key, lane.clone());
        Ok(lane)
    }

    /// The name of the actor of a lane: no two have the same.
    fn actor_of(&self, name: &str, endpoint: &Endpoint, provider: &dyn Provider, lanes: &Lanes) -> String {
        let mut actor = format!("provider/{name}");
        if let Some(url) = &endpoint.base_url {
            actor.push('@');
            actor.push_str(&provider.endpoint());
            // A key may stand there: two of them are two lanes, and neither is told.
            if let Some(query) = TypedUrl::new(url).query() {
                actor.push_str(&format!("?{:016x}", self.0.digests.hash_one(query)));
            }
        }
        if let Some(variable) = &endpoint.api_key_env {
            actor.push('#');
            actor.push_str(variable);
        }
        if lanes.values().any(|lane| lane.actor == actor) {
            // Two places that are shown alike.
            actor.push_str(&format!("~{:016x}", self.0.digests.hash_one(endpoint)));
        }
        actor
    }

    fn unknown(&self, name: &str) -> ProviderError {
        let known = self.names();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        invalid(format!("there is no provider {name:?}; registered are: {known}"))
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("registered", &self.0.registered).finish_non_exhaustive()
    }
}
