//! Requests of operators other than teardown: cancel, plan, enroll, decommission.

mod control;
mod hosts;
