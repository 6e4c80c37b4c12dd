//! The only warp: one request is one message, one feed is one body. It keeps no state.
//!
//! The way of a request: which resource its path names (else 404), whether that has the method (405), and then the
//! room that answers it. Every refusal is a [`Problem`].

pub mod health;
pub mod pages;
pub mod problem;
pub mod stream;

use std::{borrow::Cow, convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use actors::{
    language::{Aliases, Tag},
    tree::Actors,
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use warp::{
    Filter, Reply,
    http::{HeaderMap, Method, StatusCode, header},
    reply::Response,
};

use crate::{config::Config, server::Excess};
use problem::Problem;

/// How long an actor may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// What the handlers need: whom to send messages to, and what was set.
#[derive(Clone)]
pub struct Api {
    /// The actors as they are now.
    pub actors: watch::Receiver<Actors>,
    /// What tags mean.
    pub aliases: Aliases,
    /// The hub's own languages.
    pub default: Arc<[Tag]>,
    /// The longest pause between two looks at the database.
    pub poll_interval: Duration,
    /// The `frame-ancestors` of the pages.
    pub frame_ancestors: Arc<str>,
}

impl Api {
    /// Over these actors, with these settings.
    pub fn new(config: &Config, actors: watch::Receiver<Actors>) -> Self {
        Self {
            actors,
            aliases: config.aliases.clone(),
            default: config.default_languages.clone(),
            poll_interval: config.poll_interval,
            frame_ancestors: config.frame_ancestors.as_str().into(),
        }
    }
}

/// What follows the head of a request.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A request, taken apart.
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
        let found = form_urlencoded::parse(self.query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// The text of a header, in lower case; what is no UTF-8 is replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    /// A page or one of its files, by its path without the first slash.
    File(&'static pages::File),
    Alive,
    Ready,
    Counted,
    /// The stream of a user.
    Stream(Arc<str>),
}

impl Resource {
    /// Finds it; each segment of the path is percent-decoded once.
    fn find(path: &str) -> Result<Self, Problem> {
        let nothing = || Problem::new(&problem::NOT_FOUND, "there is nothing at this path");
        let path = path.strip_prefix('/').ok_or_else(nothing)?;
        if let Some(file) = pages::File::find(path) {
            return Ok(Self::File(file));
        }
        let segments: Result<Vec<Cow<'_, str>>, _> =
            path.split('/').map(|segment| percent_decode_str(segment).decode_utf8()).collect();
        let segments = segments.map_err(|_| nothing())?;
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        match segments[..] {
            ["healthz"] => Ok(Self::Alive),
            ["readyz"] => Ok(Self::Ready),
            ["metrics"] => Ok(Self::Counted),
            ["connection", user] => Ok(Self::Stream(user_id(user)?)),
            _ => Err(nothing()),
        }
    }

    /// Whether it has an answer of its own for whoever is over that limit. A hub that is merely full is healthy, and
    /// whoever watches over its health would end it if he were told otherwise.
    fn is_answered_beyond(&self, excess: Excess) -> bool {
        match self {
            Self::Stream(_) => true,
            Self::Alive | Self::Ready | Self::Counted => excess == Excess::Connections,
            Self::File(_) => false,
        }
    }

    /// The methods that it has; `HEAD` comes with `GET`.
    fn methods(&self) -> &'static [Method] {
        match self {
            Self::File(_) | Self::Alive | Self::Ready | Self::Counted | Self::Stream(_) => &[Method::GET],
        }
    }
}

/// A user, decoded.
fn user_id(user: &str) -> Result<Arc<str>, Problem> {
    let fits = (1..=128).contains(&user.chars().count()) && !user.chars().any(char::is_control);
    if fits && user != "." && user != ".." {
        return Ok(user.into());
    }
    let detail = "a user is 1 to 128 characters of UTF-8, no control characters, not . or ..";
    Err(Problem::new(&problem::BAD_USER, detail))
}

/// All routes, with the settings as they are when a request comes.
pub fn routes(api: watch::Receiver<Api>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let request = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or_else(|_| async { Ok::<_, Infallible>((String::new(),)) }))
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .and(warp::ext::optional())
        .and(body());
    request.then(move |method, path: warp::path::FullPath, query, headers, remote, excess, body| {
        let api = api.borrow().clone();
        async move {
            let head = method == Method::HEAD;
            let method = if head { Method::GET } else { method };
            let request = Request { method, head, query, headers, remote, excess };
            answer(&api, path.as_str(), request, body).await.unwrap_or_else(|problem| problem.response())
        }
    })
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

async fn answer(api: &Api, path: &str, request: Request, _body: Body) -> Result<Response, Problem> {
    let resource = Resource::find(path);
    if let Some(excess) = request.excess
        && !resource.as_ref().is_ok_and(|resource| resource.is_answered_beyond(excess))
    {
        return Err(problem::excess(excess));
    }
    let resource = resource?;
    if request.method == Method::OPTIONS {
        let mut options = StatusCode::NO_CONTENT.into_response();
        options.headers_mut().insert(header::ALLOW, problem::allow(resource.methods()));
        return Ok(options);
    }
    if !resource.methods().contains(&request.method) {
        return Err(problem::method_not_allowed(resource.methods()));
    }
    match resource {
        Resource::File(file) => Ok(pages::file(api, file, &request)),
        Resource::Alive => Ok(health::alive()),
        Resource::Ready => Ok(health::ready(api).await),
        Resource::Counted => Ok(health::counted(api).await),
        Resource::Stream(user) => stream::open(api, user, &request).await,
    }
}
