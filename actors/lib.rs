//! The actors of alarm-hub.

pub mod alarm;
pub mod archive;
pub mod claim;
pub mod hub;
pub mod language;
pub mod poller;
pub mod sink;
