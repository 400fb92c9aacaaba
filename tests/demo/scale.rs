//! The number of hosts that each step of the scenario uses.

/// The number of hosts on which a single decky is torn down.
pub(crate) const SINGLE_DECKY_HOSTS: usize = 4;

/// The number of hosts that are torn down completely, all at once.
pub(crate) const WHOLE_HOSTS: usize = 6;

/// The number of hosts that have an open teardown when the controller is killed.
pub(crate) const HOSTS_AT_KILL: usize = 7;

/// The number of hosts that the scenario needs, including one that no teardown touches.
pub(crate) const MIN_HOSTS: usize = SINGLE_DECKY_HOSTS + WHOLE_HOSTS + HOSTS_AT_KILL + 1;
