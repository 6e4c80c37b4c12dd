//! Whether the hub can do its job now, and if not, why: for `/readyz`, for metrics and for whoever watches the process.
//!
//! The actors are asked; one that does not answer is a reason of its own. What they said is judged by a pure function.

use std::time::Duration;

use actors::{
    alarm::Failure,
    archive::ArchiveMessage,
    cluster::{ClusterMessage, Standing},
    hub::HubMessage,
    poller::{Health, PollerMessage},
    tree::Actors,
};
use ractor::{ActorRef, Message, RpcReplyPort, rpc::CallResult};
use serde::Serialize;
use tokio::time::Instant;

/// How long an actor may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long ago the last look may be, however short the interval.
const LOOKED_WITHIN: Duration = Duration::from_secs(5);

/// Whether one thing is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is.
    Ok,
    /// It is not, and the hub does its job all the same.
    Degraded,
    /// It is not, and alarms do not arrive.
    Failed,
}

/// One thing that must be as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it is.
    pub status: Status,
    /// What is wrong; nothing if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Check {
    fn from_reason(reason: Option<String>) -> Self {
        Self { status: reason.as_ref().map_or(Status::Ok, |_| Status::Failed), reason }
    }
}

/// Whether the hub can do its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The worst of the checks.
    pub status: Status,
    /// Each by itself.
    pub checks: Checks,
}

impl Readiness {
    /// Without the others this hub does its job all the same: were it red, all would leave a balancer at once.
    fn among_others(mut self, standing: Option<Standing>) -> Self {
        if standing.as_ref().is_some_and(|standing| standing.fed.is_none()) {
            // Without a database what it reads are the others' alarms.
            for check in [&mut self.checks.database, &mut self.checks.poller] {
                if check.status == Status::Failed {
                    check.status = Status::Degraded;
                }
            }
            self.status = self.checks.worst();
        }
        let reason = match standing {
            None => Some("nobody tells whether it can be reached".to_owned()),
            Some(standing) => standing.away.map(|(_, cause)| cause).or(standing.fed.and_then(|fed| fed.refused)),
        };
        let status = if reason.is_some() { Status::Degraded } else { Status::Ok };
        if self.status == Status::Ok {
            self.status = status;
        }
        self.checks.redis = Some(Check { status, reason });
        self
    }
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// The database can be read.
    pub database: Check,
    /// The triggers that fill the log are there.
    pub triggers: Check,
    /// The poller looked lately.
    pub poller: Check,
    /// The other hubs can be reached; nothing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Check>,
}

impl Checks {
    fn worst(&self) -> Status {
        let all = [&self.database, &self.triggers, &self.poller];
        let any = |status| all.iter().any(|check| check.status == status);
        match () {
            () if any(Status::Failed) => Status::Failed,
            () if any(Status::Degraded) => Status::Degraded,
            () => Status::Ok,
        }
    }
}

/// Asks the actors and judges what they say. `interval` is the longest pause between two looks.
pub async fn readiness(actors: &Actors, interval: Duration) -> Readiness {
    let (poller, triggers) =
        tokio::join!(ask(&actors.poller, PollerMessage::Health), ask(&actors.archive, ArchiveMessage::MissingTriggers));
    let readiness = judge(poller.as_ref(), triggers.as_ref(), interval, Instant::now());
    match &actors.cluster {
        Some(cluster) => readiness.among_others(ask(cluster, ClusterMessage::Standing).await),
        None => readiness,
    }
}

/// Whether the hub answers and the poller looks, whatever it finds. If not, nothing but a new start helps.
pub async fn works(actors: &Actors, interval: Duration) -> bool {
    let (hub, poller) = tokio::join!(
        ask(&actors.hub, |reply| HubMessage::Session("".into(), reply)),
        ask(&actors.poller, PollerMessage::Health)
    );
    hub.is_some() && lacks_looks(poller.as_ref(), interval, Instant::now()).is_none()
}

/// Asks an actor; `None`: it ended, or it did not answer in time.
pub async fn ask<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Option<T> {
    match actor.call(question, Some(DEADLINE)).await {
        Ok(CallResult::Success(answer)) => Some(answer),
        _ => None,
    }
}

/// Why the poller cannot be said to look.
fn lacks_looks(poller: Option<&Health>, interval: Duration, now: Instant) -> Option<String> {
    let within = LOOKED_WITHIN.max(interval * 3);
    match poller {
        None => Some("it does not answer".to_owned()),
        Some(Health { ended: None, .. }) => Some("it has not looked yet".to_owned()),
        Some(Health { ended: Some(ended), .. }) => {
            let ago = now.duration_since(*ended);
            (ago > within).then(|| format!("it last looked {:.1} s ago, more than {within:?}", ago.as_secs_f32()))
        }
    }
}

/// What the answers of the poller and the archive mean `now`; `None`: there was none.
pub fn judge(
    poller: Option<&Health>,
    triggers: Option<&Result<Vec<String>, Failure>>,
    interval: Duration,
    now: Instant,
) -> Readiness {
    let reads = match (poller, triggers) {
        (Some(Health { failing: Some((_, failure)), .. }), _) | (_, Some(Err(failure))) => Some(failure.to_string()),
        (Some(Health { at: None, .. }), _) => Some("it has not been opened yet".to_owned()),
        (None, None) => Some("nobody tells whether it can be read".to_owned()),
        _ => None,
    };
    let complete = match triggers {
        Some(Ok(missing)) if missing.is_empty() => None,
        Some(Ok(missing)) => Some(format!("gone from the table alarm: {}", missing.join(", "))),
        Some(Err(_)) => Some("the database cannot be read".to_owned()),
        None => Some("the archive does not answer".to_owned()),
    };
    let checks = Checks {
        database: Check::from_reason(reads),
        triggers: Check::from_reason(complete),
        poller: Check::from_reason(lacks_looks(poller, interval, now)),
        redis: None,
    };
    Readiness { status: checks.worst(), checks }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use actors::alarm::{Fault, FeedName, Position};

    use super::*;

    fn well() -> Health {
        let at = Some(Position { feed: FeedName(1), seq: 0 });
        Health { at, ended: Some(Instant::now()), ..Health::default() }
    }

    fn judged(poller: Option<&Health>, triggers: Option<&Result<Vec<String>, Failure>>, later: Duration) -> Readiness {
        judge(poller, triggers, Duration::from_millis(50), Instant::now() + later)
    }

    #[test]
    fn all_is_well_only_if_all_answer_and_none_complains() {
        let ready = judged(Some(&well()), Some(&Ok(vec![])), Duration::ZERO);
        assert_eq!(ready.status, Status::Ok);
        let body = serde_json::json!({"status": "ok", "checks": {
            "database": {"status": "ok"}, "triggers": {"status": "ok"}, "poller": {"status": "ok"}}});
        assert_eq!(serde_json::to_value(ready).unwrap(), body);
        assert_eq!(judged(None, Some(&Ok(vec![])), Duration::ZERO).checks.poller.status, Status::Failed);
        assert_eq!(judged(Some(&well()), None, Duration::ZERO).checks.triggers.status, Status::Failed);
        assert_eq!(judged(None, None, Duration::ZERO).checks.database.status, Status::Failed);
    }

    #[test]
    fn a_poller_that_has_not_looked_for_the_larger_of_three_intervals_and_five_seconds_is_red() {
        let late = |interval, later| {
            let readiness =
                judge(Some(&well()), Some(&Ok(vec![])), interval, Instant::now() + Duration::from_millis(later));
            readiness.status == Status::Failed
        };
        assert!(!late(Duration::from_millis(50), 4_900));
        assert!(late(Duration::from_millis(50), 5_100));
        assert!(!late(Duration::from_secs(5), 14_900));
        assert!(late(Duration::from_secs(5), 15_100));
    }

    #[test]
    fn each_check_says_what_is_wrong() {
        let failure = Failure { fault: Fault::Unusable, cause: "file is not a database".to_owned() };
        let ill = Health { failing: Some((SystemTime::now(), failure.clone())), ..well() };
        for (poller, triggers) in [(&ill, Ok(vec![])), (&well(), Err(failure))] {
            let database = judged(Some(poller), Some(&triggers), Duration::ZERO).checks.database;
            assert_eq!(database.reason.as_deref(), Some("file is not a database"));
        }
        let gone = Ok(vec!["alarm_hub_insert".to_owned()]);
        let triggers = judged(Some(&well()), Some(&gone), Duration::ZERO).checks.triggers;
        assert_eq!(triggers.reason.as_deref(), Some("gone from the table alarm: alarm_hub_insert"));
        let unread = Health { at: None, ended: None, ..Health::default() };
        let checks = judged(Some(&unread), Some(&Ok(vec![])), Duration::ZERO).checks;
        assert_eq!(checks.database.status, Status::Failed);
        assert_eq!(checks.poller.reason.as_deref(), Some("it has not looked yet"));
    }
}
