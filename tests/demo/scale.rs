//! The number of hosts that each act of the demo uses.

/// The number of hosts of which one decky is torn down.
pub(crate) const SINGLE_DECKY_HOSTS: usize = 4;

/// The number of whole hosts that are torn down at once.
pub(crate) const WHOLE_HOSTS: usize = 6;

/// The number of hosts with an open teardown when the controller is killed.
pub(crate) const HOSTS_AT_KILL: usize = 7;

/// The number of hosts that the scenario needs, including one that stays untouched.
pub(crate) const MIN_HOSTS: usize = SINGLE_DECKY_HOSTS + WHOLE_HOSTS + HOSTS_AT_KILL + 1;
