//! The only warp: one request is one message, one feed is one body. It keeps no state.
//!
//! The way of a request: whether its host is served (else 421), which resource its path names (404), whether that has
//! the method (405), whether the page that asks may (403) and the caller (401, 403), and only then the room that
//! answers it, which is the first to send a message to an actor. Every refusal is a [`Problem`].

pub mod alarms;
mod audit;
mod forward;
pub mod health;
pub mod pages;
pub mod problem;
pub mod publish;
pub mod sessions;
pub mod site;
pub mod stream;
pub mod ticket;

use std::{
    borrow::Cow,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actors::{
    alarm::{Refusal, Write, Written},
    archive::ArchiveMessage,
    language::{Aliases, Tag},
    tree::Actors,
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use percent_encoding::percent_decode_str;
use ractor::{ActorRef, RpcReplyPort, rpc::CallResult};
use tokio::sync::watch;
use warp::{
    Filter, Reply,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{self, AsHeaderName, Entry},
    },
    reply::Response,
};

use crate::{
    auth::{Authority, Caller, Need, Scope},
    config::Config,
    log::Lost,
    server::Excess,
};
use problem::{Kind, Problem};

/// How long an actor may take to answer; whoever asked is then told to ask again.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the handlers need: whom to send messages to, and what was set.
#[derive(Clone)]
pub struct Api {
    /// The actors as they are now.
    pub actors: watch::Receiver<Actors>,
    /// Who says who is asking.
    pub authority: Authority,
    /// What tags mean.
    pub aliases: Aliases,
    /// The hub's own languages.
    pub default: Arc<[Tag]>,
    /// The longest pause between two looks at the database.
    pub poll_interval: Duration,
    /// The path under which everything is served: empty, or with a slash at its beginning and none at its end.
    pub base: Arc<str>,
    /// Names under which the hub is reached without a token.
    pub hosts: Arc<[String]>,
    /// Origins whose pages may read from the hub.
    pub cors_origins: Arc<[String]>,
    /// The `frame-ancestors` of the pages.
    pub frame_ancestors: Arc<str>,
    /// Asks a hub with a database, if this one has none.
    pub forward: Option<reqwest::Client>,
    /// What the log loses.
    pub lost: Lost,
}

impl Api {
    /// Over these actors, with these settings.
    pub fn new(config: &Config, authority: Authority, actors: watch::Receiver<Actors>, lost: Lost) -> Self {
        Self {
            actors,
            authority,
            aliases: config.aliases.clone(),
            default: config.default_languages.clone(),
            poll_interval: config.poll_interval,
            base: config.base_path.as_str().into(),
            hosts: config.hosts.as_slice().into(),
            cors_origins: config.cors_origins.as_slice().into(),
            frame_ancestors: config.frame_ancestors.as_str().into(),
            forward: config.is_edge().then(forward::client),
            lost,
        }
    }

    /// Asks an actor and waits for its answer, not for ever.
    async fn ask<M: ractor::Message, T: Send + 'static>(
        &self,
        actor: &ActorRef<M>,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, Problem> {
        match actor.call(question, Some(DEADLINE)).await {
            Ok(CallResult::Success(answer)) => Ok(answer),
            _ => Err(problem::busy()),
        }
    }

    /// Has something written.
    async fn write(&self, write: Write) -> Result<Result<Written, Refusal>, Problem> {
        let archive = self.actors.borrow().archive.clone();
        self.ask(&archive, |reply| ArchiveMessage::Write(write, reply)).await
    }
}

/// What follows the head of a request.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// The head of a request, taken apart.
pub struct Request {
    /// `HEAD` is told as `GET`; see [`Self::head`].
    pub method: Method,
    /// Whether only the head of the answer is asked for: such a request never has an effect.
    pub head: bool,
    /// The query as it came, without the question mark.
    pub query: String,
    /// All of them, also those that are no text.
    pub headers: HeaderMap,
    /// From where, if the accept loop told.
    pub remote: Option<SocketAddr>,
    /// The limit that it is over.
    pub excess: Option<Excess>,
}

impl Request {
    /// The first query parameter of that name, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        // Most names are written as they are: only what may be the right one is decoded.
        let is_coded = |byte| matches!(byte, b'%' | b'+');
        let may_be = |pair: &&str| pair.starts_with(name) || pair.bytes().any(is_coded);
        let mut found = self.query.split('&').filter(may_be).flat_map(|pair| form_urlencoded::parse(pair.as_bytes()));
        found.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The text of a header in lower case, its lines joined; what is no UTF-8 is replaced.
    pub fn header(&self, name: impl AsHeaderName) -> Option<String> {
        let lines = self.headers.get_all(name).iter();
        let lines = lines.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
        lines.reduce(|joined, line| joined + ", " + &line)
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    File(&'static pages::File),
    Problems(Option<&'static Kind>),
    Alive,
    Ready,
    Counted,
    Stream(Arc<str>),
    History(Arc<str>),
    Acknowledgement(Arc<str>, String),
    Ticket(Arc<str>),
    Alarms,
    Alarm(String),
    Sessions,
    Session(Arc<str>),
}

impl Resource {
    /// Finds it, below the base path; each segment of the path is percent-decoded once.
    fn find(path: &str) -> Result<Self, Problem> {
        let nothing = || Problem::new(&problem::NOT_FOUND, "there is nothing at this path");
        let path = path.strip_prefix('/').ok_or_else(nothing)?;
        if let Some(file) = pages::File::find(path) {
            return Ok(Self::File(file));
        }
        let segments: Result<Vec<Cow<'_, str>>, _> =
            path.split('/').map(|segment| percent_decode_str(segment).decode_utf8()).collect();
        let segments = segments.map_err(|_| Problem::new(&problem::BAD_USER, "the path is not UTF-8"))?;
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        Ok(match segments[..] {
            ["healthz"] => Self::Alive,
            ["readyz"] => Self::Ready,
            ["metrics"] => Self::Counted,
            ["connection", user] => Self::Stream(user_id(user)?),
            ["users", user, "alarms"] => Self::History(user_id(user)?),
            ["users", user, "alarms", id, "ack"] if !id.is_empty() => {
                Self::Acknowledgement(user_id(user)?, id.to_owned())
            }
            ["users", user, "ticket"] => Self::Ticket(user_id(user)?),
            ["alarms"] => Self::Alarms,
            ["alarms", id] if !id.is_empty() => Self::Alarm(id.to_owned()),
            ["sessions"] => Self::Sessions,
            ["sessions", user] => Self::Session(user_id(user)?),
            ["problems"] => Self::Problems(None),
            ["problems", slug] => {
                Self::Problems(Some(problem::KINDS.iter().find(|kind| kind.slug == slug).ok_or_else(nothing)?))
            }
            _ => return Err(nothing()),
        })
    }

    /// Whether it has an answer of its own for whoever is over that limit. A hub that is merely full is healthy, and
    /// whoever watches over its health would end it if he were told otherwise.
    fn is_answered_beyond(&self, excess: Excess) -> bool {
        match self {
            Self::Stream(_) => true,
            Self::Alive | Self::Ready | Self::Counted => excess == Excess::Connections,
            _ => false,
        }
    }

    /// Whether only a hub with a database can answer.
    fn needs_database(&self) -> bool {
        matches!(self, Self::History(_) | Self::Acknowledgement(..) | Self::Alarms | Self::Alarm(_))
    }

    /// The methods that it has; `HEAD` comes with `GET`, `OPTIONS` is everywhere.
    fn methods(&self) -> &'static [Method] {
        match self {
            Self::File(_) | Self::Problems(_) | Self::Alive | Self::Ready => &[Method::GET],
            Self::Counted | Self::Stream(_) | Self::History(_) | Self::Sessions => &[Method::GET],
            Self::Acknowledgement(..) | Self::Alarm(_) => &[Method::PUT, Method::DELETE],
            Self::Ticket(_) | Self::Alarms => &[Method::POST],
            Self::Session(_) => &[Method::GET, Method::DELETE],
        }
    }

    /// What its callers need.
    fn need(&self) -> Need {
        match self {
            Self::File(_) | Self::Problems(_) | Self::Alive | Self::Ready => Need::Nothing,
            Self::Stream(user) | Self::History(user) | Self::Acknowledgement(user, _) | Self::Ticket(user) => {
                Need::User(user.clone())
            }
            Self::Alarms | Self::Alarm(_) => Need::Scope(Scope::Publish),
            Self::Sessions | Self::Session(_) => Need::Scope(Scope::Sessions),
            Self::Counted => Need::Scope(Scope::Metrics),
        }
    }
}

/// A user from a path, decoded.
fn user_id(user: &str) -> Result<Arc<str>, Problem> {
    if may_be_user(user) {
        return Ok(user.into());
    }
    let detail = "a user is 1 to 128 characters of UTF-8, no control characters, not . or ..";
    Err(Problem::new(&problem::BAD_USER, detail))
}

/// Whether a user can be called so.
fn may_be_user(user: &str) -> bool {
    (1..=128).contains(&user.chars().count()) && !user.chars().any(char::is_control) && user != "." && user != ".."
}

/// All routes, with the settings as they are when a request comes.
pub fn routes(api: watch::Receiver<Api>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let request = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or_else(|_| async { Ok::<_, Infallible>((String::new(),)) }))
        .and(warp::header::headers_cloned())
        .and(host())
        .and(warp::ext::optional())
        .and(warp::ext::optional())
        .and(body());
    request.then(
        move |method, path: warp::path::FullPath, query, mut headers: HeaderMap, host, remote, excess, body| {
            let api = api.borrow().clone();
            async move {
                if let (Some(host), Entry::Vacant(vacant)) = (host, headers.entry(header::HOST)) {
                    vacant.insert(host);
                }
                let head = method == Method::HEAD;
                let method = if head { Method::GET } else { method };
                let request = Request { method, head, query, headers, remote, excess };
                let answer = answer(&api, path.as_str(), &request, body).await;
                let mut response = answer.unwrap_or_else(|problem| problem.response(&api.base));
                if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    audit::refused(&request, path.as_str(), response.status());
                }
                site::share(&api, &request, &mut response);
                response
            }
        },
    )
}

/// The host as HTTP/2 names it (RFC 9113 §8.3.1), which has no such header.
fn host() -> impl Filter<Extract = (Option<HeaderValue>,), Error = Infallible> + Copy {
    let value = |host: warp::host::Authority| HeaderValue::from_str(host.as_str()).ok();
    let host = warp::host::optional().map(move |host: Option<_>| host.and_then(value));
    // It is refused to who sends two that differ; the header counts then.
    host.or_else(|_| async { Ok::<_, Infallible>((None,)) })
}

/// The body as a stream, whatever the method.
fn body() -> impl Filter<Extract = (Body,), Error = Infallible> + Copy {
    let parts = warp::body::stream().map(|parts| Box::pin(StreamExt::map(parts, part)) as Body);
    // It is refused only to who takes it a second time.
    parts.or_else(|_| async { Ok::<_, Infallible>((Box::pin(futures_util::stream::empty()) as Body,)) })
}

fn part(part: Result<impl Buf, warp::Error>) -> Result<Bytes, warp::Error> {
    part.map(|mut part| part.copy_to_bytes(part.remaining()))
}

async fn answer(api: &Api, path: &str, request: &Request, body: Body) -> Result<Response, Problem> {
    let resource = find(api, path);
    if let Some(excess) = request.excess
        && !matches!(&resource, Ok(Some(resource)) if resource.is_answered_beyond(excess))
    {
        return Err(problem::excess(excess));
    }
    site::host(api, &request.headers)?;
    let Some(resource) = resource? else { return Ok(pages::moved(api, request)) };
    let methods = resource.methods();
    if request.method == Method::OPTIONS {
        return Ok(site::options(api, request, methods));
    }
    if !methods.contains(&request.method) {
        return Err(problem::method_not_allowed(methods));
    }
    let caller = admit(api, &resource, request)?;
    if let Some(client) = api.forward.as_ref().filter(|_| resource.needs_database()) {
        let writes = matches!(resource, Resource::Alarms | Resource::Alarm(_)) && request.method != Method::DELETE;
        let body = if writes { publish::read(request, body).await? } else { Bytes::new() };
        return forward::forward(api, client, path, request, body).await;
    }
    let add = request.method == Method::PUT;
    match resource {
        Resource::File(file) => Ok(pages::file(api, file, request)),
        Resource::Problems(kind) => Ok(pages::html(api, problem::page(kind))),
        Resource::Alive => Ok(health::alive()),
        Resource::Ready => Ok(health::ready(api).await),
        Resource::Counted => Ok(health::counted(api).await),
        Resource::Stream(user) => stream::open(api, user, caller, request).await,
        Resource::History(user) => alarms::history(api, user, request).await,
        Resource::Acknowledgement(user, id) => alarms::acknowledge(api, user, id, add).await,
        Resource::Ticket(user) => ticket::issue(api, user, &caller).await,
        Resource::Alarms => publish::publish(api, request, &caller, body).await,
        Resource::Alarm(id) if add => publish::replace(api, id, request, &caller, body).await,
        Resource::Alarm(id) => publish::clear(api, id, request, &caller).await,
        Resource::Sessions => sessions::all(api).await,
        Resource::Session(user) if request.method == Method::GET => sessions::one(api, user).await,
        Resource::Session(user) => sessions::kick(api, user, request, &caller).await,
    }
}

/// What is asked for, below the base path; `None`: the base path without its last slash.
fn find(api: &Api, path: &str) -> Result<Option<Resource>, Problem> {
    match path.strip_prefix(&*api.base) {
        Some("") => Ok(None),
        Some(path) => Resource::find(path).map(Some),
        None => Err(Problem::new(&problem::NOT_FOUND, format!("everything is below {}/", api.base))),
    }
}

/// Who is asking, if that one may; no actor has heard of the request yet.
fn admit(api: &Api, resource: &Resource, request: &Request) -> Result<Caller, Problem> {
    let need = resource.need();
    if need == Need::Nothing {
        return Ok(Caller::Anyone);
    }
    site::page(api, request)?;
    let streams = matches!(resource, Resource::Stream(_));
    let ticket = request.parameter("ticket").filter(|_| streams);
    let caller = api.authority.caller(&request.headers, request.remote, ticket.as_deref(), SystemTime::now());
    let caller = caller.map_err(|denied| problem::denied(&api.authority, denied))?;
    if let Caller::Known { ambient: true, .. } = caller {
        site::meant(request)?;
    }
    if let Caller::Ticket(_) = caller {
        return Ok(caller); // the stream, which looks it up
    }
    caller.may(&need).map_err(|denied| problem::denied(&api.authority, denied))?;
    Ok(caller)
}

/// JSON that is nobody's but the caller's.
fn json(status: StatusCode, body: String) -> Response {
    let mut response = warp::reply::with_status(body, status).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
