//! What this hub asks the others and is asked by them: about sessions, and to end one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ractor::{ActorRef, RpcReplyPort, rpc::CallResult};
use uuid::Uuid;

use super::ClusterMessage;
use crate::{
    exchange::Note,
    hub::{HubMessage, Session},
};

/// How long another hub may take to answer.
pub(super) const OTHERS: Duration = Duration::from_millis(1_200);

/// Sessions told in one note, at most.
const SESSIONS: usize = 256;

/// What other hubs were asked.
pub(super) enum Question {
    Kick(RpcReplyPort<bool>),
    Sessions { reply: RpcReplyPort<Vec<Session>>, found: Vec<Session>, missing: usize },
    Session(RpcReplyPort<Option<Session>>),
}

impl Question {
    /// For all sessions: those of this hub are missing, and which other hubs there are.
    pub fn sessions(reply: RpcReplyPort<Vec<Session>>) -> Self {
        Self::Sessions { reply, found: Vec::new(), missing: 2 }
    }
}

/// Questions that are not answered yet.
#[derive(Default)]
pub(super) struct Questions(HashMap<u64, Question>);

impl Questions {
    /// Keeps a question; its number.
    pub fn ask(&mut self, question: Question) -> u64 {
        // A random number: a late answer to an earlier start is no answer to this one.
        let number = u64::try_from(Uuid::new_v4().as_u128() >> 64).unwrap_or(0);
        self.0.insert(number, question);
        number
    }

    /// It is known how many other hubs there are: they are to answer.
    pub fn expect(&mut self, question: u64, others: usize) {
        if let Some(Question::Sessions { missing, .. }) = self.0.get_mut(&question) {
            *missing += others;
            self.found(question, Vec::new(), true);
        }
    }

    /// Part of an answer: sessions, and whether these are the last of one hub.
    pub fn found(&mut self, question: u64, sessions: Vec<Session>, last: bool) {
        match self.0.get_mut(&question) {
            Some(Question::Sessions { found, missing, .. }) => {
                found.extend(sessions);
                *missing -= usize::from(last);
                if *missing == 0 {
                    self.answer(question);
                }
            }
            Some(Question::Session(_)) => {
                if let Some(Question::Session(reply)) = self.0.remove(&question) {
                    let _ = reply.send(sessions.into_iter().next()); // whoever asked may have given up
                }
            }
            _ => {}
        }
    }

    /// Whether there was a connection to end.
    pub fn kicked(&mut self, question: u64, done: bool) {
        if let Some(Question::Kick(reply)) = self.0.remove(&question) {
            let _ = reply.send(done); // whoever asked may have given up
        }
    }

    /// Answers with what is known: nothing more will come.
    pub fn answer(&mut self, question: u64) {
        match self.0.remove(&question) {
            Some(Question::Kick(reply)) => {
                let _ = reply.send(false); // whoever asked may have given up
            }
            Some(Question::Sessions { reply, mut found, .. }) => {
                found.sort_unstable_by(|a, b| (&a.user, a.conn).cmp(&(&b.user, b.conn)));
                let _ = reply.send(found); // as above
            }
            Some(Question::Session(reply)) => {
                let _ = reply.send(None); // as above
            }
            None => {}
        }
    }
}

/// Asks this hub for its own sessions, as part of the answer to one of its questions.
pub(super) async fn here(hub: ActorRef<HubMessage>, myself: ActorRef<ClusterMessage>, question: u64) {
    let here = match hub.call(HubMessage::Sessions, Some(OTHERS)).await {
        Ok(CallResult::Success(sessions)) => sessions,
        _ => Vec::new(),
    };
    let _ = myself.cast(ClusterMessage::Here(question, here)); // one that ended answers nothing
}

/// Ends a user's connection because another hub asks for it, and answers that.
pub(super) async fn kick(
    hub: ActorRef<HubMessage>,
    myself: ActorRef<ClusterMessage>,
    user: Arc<str>,
    question: u64,
    from: Arc<str>,
) {
    let kicked = hub.call(|reply| HubMessage::Kick(user.clone(), reply), Some(OTHERS)).await;
    // What the session told the hub of it has passed when the hub answers this: all hubs know by then that the claim
    // is worth nothing.
    let _ = hub.call(|reply| HubMessage::Session(user, reply), Some(OTHERS)).await;
    let done = matches!(kicked, Ok(CallResult::Success(true)));
    let _ = myself.cast(ClusterMessage::Tell(from, Note::Kicked { question, done })); // one that ended tells nothing
}

/// Describes the sessions of this hub, or that of one user, because another hub asks for it.
pub(super) async fn describe(
    hub: ActorRef<HubMessage>,
    myself: ActorRef<ClusterMessage>,
    user: Option<Arc<str>>,
    question: u64,
    from: Arc<str>,
) {
    let sessions = match user {
        None => hub.call(HubMessage::Sessions, Some(OTHERS)).await,
        Some(user) => {
            let session = hub.call(|reply| HubMessage::Session(user, reply), Some(OTHERS)).await;
            session.map(|session| session.map(|session| session.into_iter().collect()))
        }
    };
    let Ok(CallResult::Success(sessions)) = sessions else { return };
    let tell = |sessions: Vec<Session>, last| {
        let part = Note::Sessions { question, sessions, last };
        let _ = myself.cast(ClusterMessage::Tell(from.clone(), part)); // one that ended tells nothing
    };
    if sessions.is_empty() {
        return tell(sessions, true);
    }
    let mut parts = sessions.chunks(SESSIONS).peekable();
    while let Some(part) = parts.next() {
        tell(part.to_vec(), parts.peek().is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_are_told_when_every_hub_has_answered_in_whatever_order() {
        for own_first in [true, false] {
            let (reply, mut told) = ractor::concurrency::oneshot();
            let mut questions = Questions::default();
            let question = questions.ask(Question::sessions(reply.into()));
            if own_first {
                questions.found(question, Vec::new(), true);
            }
            questions.expect(question, 1);
            questions.found(question, Vec::new(), false);
            if !own_first {
                questions.found(question, Vec::new(), true);
            }
            assert!(told.try_recv().is_err(), "another hub has more to tell");
            questions.found(question, Vec::new(), true);
            assert!(told.try_recv().unwrap().is_empty());
        }
    }

    #[test]
    fn without_other_hubs_this_ones_sessions_are_waited_for() {
        let (reply, mut told) = ractor::concurrency::oneshot();
        let mut questions = Questions::default();
        let question = questions.ask(Question::sessions(reply.into()));
        questions.expect(question, 0);
        assert!(told.try_recv().is_err());
        questions.found(question, Vec::new(), true);
        assert!(told.try_recv().unwrap().is_empty());
    }
}
